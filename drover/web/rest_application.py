"""The REST routes in Starlette's router: each request runs on a thread of the pool for what it may wait for.

Its body is read first, with a limit, and a future in its call completes when its client disconnects, so that
nothing waits for a client that is gone. What fails is answered by the router in front, in one place for all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from drover.api.key_requests import MAX_STATE_BYTES
from drover.api.session_requests import MAX_BODY_BYTES, MAX_BODY_WITH_EXTENSIONS_BYTES, check_size
from drover.core.deadline import DeadlineExceeded
from drover.core.errors import BrowserUnavailable, MethodNotAllowed, NotFound
from drover.core.threads import ThreadPool
from drover.net.asgi import Application, Receive, Scope, Send, caller_left, on_thread, read_body
from drover.net.request_threads import RequestThreads
from drover.web.calls import Call, Services
from drover.web.rest_routes import RestRoute, RestRoutes

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_CHECKED = re.compile(r"/sessions/[^/]+(/screenshot)?|/keys(/.+/state)?")
_ENDS = frozenset({"/cleanup_orphaned_processes", "/emergency_recovery", "/drain"})


def pool_for(threads: RequestThreads, method: str, path: str) -> ThreadPool:
    """Return the threads for what a request may wait for: a session, an end, or nothing."""
    path = path.rstrip("/")
    if method in _READS:
        return threads.waiting if _CHECKED.fullmatch(path) else threads.reading
    return threads.ending if method == "DELETE" or path in _ENDS else threads.waiting


def rest_application(
    groups: Iterable[RestRoutes], services: Services, threads: RequestThreads
) -> Application:
    """Return the ASGI application of all REST routes; it raises every error that is on purpose."""
    by_path: dict[str, dict[str, RestRoute]] = {}
    for group in groups:
        for route in group.routes:
            by_path.setdefault(route.described.path, {})[route.described.method.upper()] = route
    endpoints = [Route(path, _Endpoint(routes, services, threads)) for path, routes in by_path.items()]
    router = Router(endpoints, redirect_slashes=False, default=_no_route)

    async def without_final_slash(scope: Scope, receive: Receive, send: Send) -> None:
        await router({**scope, "path": scope["path"].rstrip("/") or "/"}, receive, send)

    return without_final_slash


async def _no_route(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NotFound(f"No route {scope['method']} {scope['path']}; see /docs for all routes")


class _Endpoint:
    """ASGI application of one path."""

    def __init__(self, routes: Mapping[str, RestRoute], services: Services, threads: RequestThreads) -> None:
        self._routes = dict(routes)
        if "GET" in routes:
            self._routes["HEAD"] = routes["GET"]
        self._allowed = ", ".join(sorted([*self._routes, "OPTIONS"]))
        self._services = services
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        method = scope["method"]
        route = self._routes.get(method)
        limit = _limit(method, scope["path"])
        body = await read_body(receive, limit)
        if limit == MAX_BODY_WITH_EXTENSIONS_BYTES:
            check_size(body)
        if method == "OPTIONS":
            await Response(headers={"Allow": self._allowed}, media_type="text/html")(scope, receive, send)
            return
        if route is None:
            raise MethodNotAllowed(
                f"{method} is not allowed here. Use {self._allowed}.", allowed=self._allowed
            )
        response = await self._answer(route, Request(scope), body, receive)
        if method == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def _answer(self, route: RestRoute, request: Request, body: bytes, receive: Receive) -> Response:
        gone: Future[None] = Future()
        watch = asyncio.create_task(caller_left(receive, gone))
        call = Call(self._services, request, body, gone)
        pool = pool_for(self._threads, request.method, request.scope["path"])
        try:
            return await on_thread(pool, partial(route.answer, call))
        except DeadlineExceeded as error:
            raise BrowserUnavailable("The browser did not answer in time; retry") from error
        finally:
            watch.cancel()


def _limit(method: str, path: str) -> int:
    if (method, path) == ("POST", "/sessions"):
        return MAX_BODY_WITH_EXTENSIONS_BYTES
    is_login = method == "PUT" and path.startswith("/keys/") and path.endswith("/state")
    return MAX_STATE_BYTES if is_login else MAX_BODY_BYTES
