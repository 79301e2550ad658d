"""Access control of all requests, and routing of those that the REST API does not answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from drover.core.deadline import ClientDisconnected
from drover.core.errors import DroverError, MethodNotAllowed, NotFound, RequestTooLarge, ShuttingDown
from drover.net import access
from drover.net.asgi import (
    Application,
    Message,
    Receive,
    Response,
    Scope,
    Send,
    failure_answer,
    head_of,
    last_answer,
    send_answer,
    unexpected,
    with_target,
)

Handler = Callable[..., Awaitable[None]]
"""Handler of one connection, called with scope, receive, send and the named groups of the route's pattern."""


@dataclass(frozen=True, slots=True)
class Route:
    """An ASGI endpoint.

    Attributes:
        kind: `http` or `websocket`.
        pattern: Pattern of the whole path in its one form; its named groups are passed to the handler.
        methods: Allowed HTTP methods; empty means that the handler checks the method.
        failure: Builds the response to a request that fails before anything was sent.
    """

    kind: str
    pattern: re.Pattern[str]
    handler: Handler
    methods: frozenset[str] = frozenset({"GET"})
    failure: Callable[[DroverError], Response] = field(default=failure_answer)


class Router:
    """ASGI application that checks the access of each connection and passes it to the first matching route.

    Args:
        routes: The routes, in the order in which they are tried.
        otherwise: The application that answers requests without a route.
    """

    def __init__(self, routes: Sequence[Route], policy: access.AccessPolicy, otherwise: Application) -> None:
        self._routes = (
            *routes,
            Route("websocket", _EVERYTHING, _no_socket),
            Route("http", _EVERYTHING, otherwise, frozenset()),
        )
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        scope, unclear = with_target(scope)
        route, match = self._find(scope)
        sending = TrackedSend(send)
        head = head_of(scope)
        refusal = access.refusal(head, self._policy) or unclear or _wrong_method(route, scope)
        if refusal is not None:
            answer = route.failure(refusal)
            await _refuse(scope, sending, last_answer(answer) if head.has_body else answer)
            return
        try:
            await route.handler(scope, receive, sending, **match.groupdict())
        except ClientDisconnected:
            # An incomplete request is dropped: without its whole body it could mean something else.
            return
        except DroverError as error:
            answer = route.failure(error)
            unread = isinstance(error, RequestTooLarge)
            await _refuse(scope, sending, last_answer(answer) if unread else answer)
        except asyncio.CancelledError:
            # The server cancels only what is still in progress at the end of its stop.
            await _refuse(scope, sending, route.failure(ShuttingDown()))
        except Exception as error:  # noqa: BLE001 - any error gets a response and a stack trace in the log
            if sending.client_left:
                return
            await _refuse(scope, sending, route.failure(unexpected(error)))

    def _find(self, scope: Scope) -> tuple[Route, re.Match[str]]:
        for route in self._routes:
            if route.kind == scope["type"]:
                match = route.pattern.fullmatch(scope["path"])
                if match is not None:
                    return route, match
        raise AssertionError(f"an ASGI server sends no scope of type {scope['type']} here")


_EVERYTHING = re.compile(".*", re.DOTALL)


async def _no_socket(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NotFound(f"No WebSocket endpoint at {scope['path']}")


def _wrong_method(route: Route, scope: Scope) -> MethodNotAllowed | None:
    if scope["type"] != "http" or not route.methods or scope["method"] in route.methods:
        return None
    return MethodNotAllowed(f"{scope['method']} is not allowed here. Use {', '.join(sorted(route.methods))}.")


class TrackedSend:
    """A `send` that records whether a message was sent, and whether the client had left."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = self.client_left = False

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        self.begun = True
        try:
            await self._send(message)
        except OSError:
            self.client_left = True
            raise


async def _refuse(scope: Scope, sending: TrackedSend, answer: Response) -> None:
    # A response that has begun cannot be replaced: the server closes the connection, so clients notice.
    if not sending.begun:
        await refuse(scope, sending, answer)


async def refuse(scope: Scope, send: Send, answer: Response) -> None:
    """Answer a request or a WebSocket handshake with an HTTP error."""
    if scope["type"] == "websocket":
        await refuse_socket(send, answer)
    else:
        await send_answer(send, answer)


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
