"""The ASGI wrapper around Flask: it bounds bodies, and notices callers who hang up.

A WSGI application cannot see either: a body without a length would read as empty, and a caller who
has left would keep his place in every line.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from typing import Any

from deadline import CallerGone
from errors import RequestTooLarge
from web.failures import failure_body
from web.services import CALLER_GONE

MAX_BODY_BYTES = 1024 * 1024

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class CallerWatch:
    """Hands requests on with their whole body, and with a future that is done when the caller leaves.

    Args:
        application: What answers the requests.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        try:
            body = await _read_body(receive)
        except CallerGone:
            # Half a request is none: without its body it could mean something else.
            return
        except RequestTooLarge as error:
            await _refuse(send, error)
            return
        gone: Future[None] = Future()
        watch = asyncio.create_task(_watch(receive, gone))
        try:
            await self._application(_with_body(scope, body, gone), _replay(body, receive), send)
        finally:
            watch.cancel()


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise RequestTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes; send a smaller one")
        if not message.get("more_body", False):
            return bytes(body)


async def _watch(receive: Receive, gone: Future[None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set_result(None)


def _with_body(scope: Scope, body: bytes, gone: Future[None]) -> Scope:
    # Flask reads no body without a length, so one that came in chunks is given its own.
    headers = [(name, value) for name, value in scope["headers"] if name not in _LENGTH_HEADERS]
    if body:
        headers.append((b"content-length", str(len(body)).encode()))
    return {**scope, "headers": headers, CALLER_GONE: gone}


_LENGTH_HEADERS = {b"content-length", b"transfer-encoding"}


def _replay(body: bytes, receive: Receive) -> Receive:
    pending = [body]

    async def replayed() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replayed


async def _refuse(send: Send, error: RequestTooLarge) -> None:
    body = json.dumps(failure_body(error)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [*headers, (b"connection", b"close")],
        }
    )
    await send({"type": "http.response.body", "body": body})
