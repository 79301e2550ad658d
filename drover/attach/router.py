"""Which door a connection goes to, and whether it may pass: for all that is not Flask's."""

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
)

Handler = Callable[..., Awaitable[None]]
"""Handles one connection: scope, receive, send, and the named groups of its route's pattern."""


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of address in this plane.

    Attributes:
        kind: `http` or `websocket`.
        pattern: What the whole path looks like; its named groups are handed to the handler.
        handler: What answers.
        methods: The HTTP methods that it takes; empty means that the handler sees to it.
        needs_token: Whether a token is asked for, where one is configured.
        failure: Gives the answer to a request that fails before anything was sent.
    """

    kind: str
    pattern: re.Pattern[str]
    handler: Handler
    methods: frozenset[str] = frozenset({"GET"})
    needs_token: bool = True
    failure: Callable[[DroverError], Response] = field(default=failure_answer)


class Router:
    """Hands each connection to the route that fits, or else to the REST application.

    Args:
        routes: Looked through in their order.
        policy: For whom the service opens.
        otherwise: What answers everything else.
    """

    def __init__(self, routes: Sequence[Route], policy: access.AccessPolicy, otherwise: Application) -> None:
        self._routes = tuple(routes)
        self._policy = policy
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        found = self._find(scope)
        if found is None:
            if scope["type"] == "websocket":
                await refuse_socket(send, failure_answer(NotFound(f"There is no socket at {scope['path']}")))
            else:
                await self._otherwise(scope, receive, send)
            return
        route, match = found
        sending = _Watched(send)
        caller = caller_of(scope)
        admitted = False
        try:
            access.authorize(caller, self._policy if route.needs_token else replace(self._policy, token=None))
            _check_method(route, scope)
            admitted = True
            await route.handler(scope, receive, sending, **match.groupdict())
        except DroverError as error:
            answer = route.failure(error)
            unread = not admitted or isinstance(error, RequestTooLarge)
            await _refuse(scope, sending, last_answer(answer) if caller.has_body and unread else answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log a trace
            await _refuse(scope, sending, route.failure(unexpected(error)))

    def _find(self, scope: Scope) -> tuple[Route, re.Match[str]] | None:
        for route in self._routes:
            if route.kind == scope["type"]:
                match = route.pattern.fullmatch(scope["path"])
                if match is not None:
                    return route, match
        return None


def _check_method(route: Route, scope: Scope) -> None:
    if scope["type"] == "http" and route.methods and scope["method"] not in route.methods:
        raise MethodNotAllowed(f"This route takes {', '.join(sorted(route.methods))}")


class _Watched:
    """Passes messages on, and knows whether any was sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        await self._send(message)


async def _refuse(scope: Scope, sending: _Watched, answer: Response) -> None:
    if sending.begun:
        # Half an answer cannot be taken back: the server cuts the connection, and the caller sees that.
        return
    if scope["type"] == "websocket":
        await refuse_socket(sending, answer)
    else:
        await send_answer(sending, answer)


async def refuse_socket(send: Send, answer: Response) -> None:
    """Answer a WebSocket's handshake with an HTTP error instead."""
    length = (b"content-length", str(len(answer.body)).encode())
    start = {
        "type": "websocket.http.response.start",
        "status": answer.status,
        "headers": [*answer.headers, length],
    }
    await send(start)
    await send({"type": "websocket.http.response.body", "body": answer.body})
