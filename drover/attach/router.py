"""Routing and access control of the ASGI endpoints, which are those outside of Flask."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from drover.core.errors import DroverError, MethodNotAllowed, NotFound, RequestTooLarge
from drover.net import access
from drover.net.asgi import (
    Application,
    Message,
    Receive,
    Response,
    Scope,
    Send,
    caller_of,
    failure_answer,
    last_answer,
    send_answer,
    unexpected,
    with_target,
)

_ANYTHING = re.compile("")

Handler = Callable[..., Awaitable[None]]
"""Handler of one connection, called with scope, receive, send and the named groups of the route's pattern."""


@dataclass(frozen=True, slots=True)
class Route:
    """An ASGI endpoint.

    Attributes:
        kind: `http` or `websocket`.
        pattern: Pattern of the whole path in its one form; its named groups are passed to the handler.
        handler: Answers the connection.
        methods: Allowed HTTP methods; empty means that the handler checks the method.
        needs_token: Whether the token is required if one is configured.
        failure: Builds the response to a request that fails before anything was sent.
    """

    kind: str
    pattern: re.Pattern[str]
    handler: Handler
    methods: frozenset[str] = frozenset({"GET"})
    needs_token: bool = True
    failure: Callable[[DroverError], Response] = field(default=failure_answer)


class Router:
    """ASGI application that passes each connection to the first matching route, or to the REST application.

    Args:
        routes: The routes, in the order in which they are tried.
        policy: What the access check compares requests with.
        otherwise: The application that answers all other connections.
    """

    def __init__(self, routes: Sequence[Route], policy: access.AccessPolicy, otherwise: Application) -> None:
        self._routes = tuple(routes)
        self._policy = policy
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        scope, refusal = with_target(scope)
        found = self._find(scope)
        if refusal is not None:
            found = _refused(found[0] if found else None, scope["type"], refusal), {}
        if found is None:
            if scope["type"] == "websocket":
                await refuse_socket(
                    send, failure_answer(NotFound(f"No WebSocket endpoint at {scope['path']}"))
                )
            else:
                await self._otherwise(scope, receive, send)
            return
        route, arguments = found
        sending = _TrackedSend(send)
        origin = caller_of(scope)
        admitted = False
        try:
            access.authorize(origin, self._policy if route.needs_token else replace(self._policy, token=None))
            _check_method(route, scope)
            admitted = True
            await route.handler(scope, receive, sending, **arguments)
        except DroverError as error:
            answer = route.failure(error)
            unread = not admitted or isinstance(error, RequestTooLarge)
            await _refuse(scope, sending, last_answer(answer) if origin.has_body and unread else answer)
        except Exception as error:  # noqa: BLE001 - any error gets a response and a stack trace in the log
            if sending.client_left:
                return
            await _refuse(scope, sending, route.failure(unexpected(error)))

    def _find(self, scope: Scope) -> tuple[Route, dict[str, str]] | None:
        for route in self._routes:
            if route.kind == scope["type"]:
                match = route.pattern.fullmatch(scope["path"])
                if match is not None:
                    return route, match.groupdict()
        return None


def _refused(resembled: Route | None, kind: str, refusal: DroverError) -> Route:
    """Return a route that refuses the request after the access check, in the form of the one it resembles."""

    async def refuse(*_: object) -> None:
        raise refusal

    failure = failure_answer if resembled is None else resembled.failure
    return Route(kind, _ANYTHING, refuse, frozenset(), failure=failure)


def _check_method(route: Route, scope: Scope) -> None:
    if scope["type"] == "http" and route.methods and scope["method"] not in route.methods:
        raise MethodNotAllowed(
            f"{scope['method']} is not allowed here. Use {', '.join(sorted(route.methods))}."
        )


class _TrackedSend:
    """A `send` that records whether a message was sent, and whether the client had left."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = self.client_left = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        try:
            await self._send(message)
        except OSError:
            self.client_left = True
            raise


async def _refuse(scope: Scope, sending: _TrackedSend, answer: Response) -> None:
    if sending.begun:
        # A response that has begun cannot be replaced: the server closes the connection, so clients notice.
        return
    if scope["type"] == "websocket":
        await refuse_socket(sending, answer)
    else:
        await send_answer(sending, answer)


async def refuse_socket(send: Send, answer: Response) -> None:
    """Answer a WebSocket handshake with an HTTP error."""
    length = (b"content-length", str(len(answer.body)).encode())
    start = {
        "type": "websocket.http.response.start",
        "status": answer.status,
        "headers": [*answer.headers, length],
    }
    await send(start)
    await send({"type": "websocket.http.response.body", "body": answer.body})
