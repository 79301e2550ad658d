"""The ASGI wrapper around Flask: it limits request bodies and detects disconnected clients.

A WSGI application can do neither: a body without a length would read as empty, and a client that has
disconnected would keep its place in every wait queue.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from drover.api.key_requests import MAX_STATE_BYTES
from drover.api.session_requests import MAX_BODY_BYTES, MAX_BODY_WITH_EXTENSIONS_BYTES, check_size
from drover.core.deadline import ClientDisconnected
from drover.core.errors import RequestTooLarge
from drover.net.asgi import (
    Application,
    Message,
    Receive,
    Scope,
    Send,
    caller_left,
    failure_answer,
    last_answer,
    read_body,
    send_answer,
)
from drover.web.services import CLIENT_GONE


class DisconnectWatch:
    """ASGI middleware that reads the whole body and adds a future that completes when the client disconnects.

    Args:
        application: The wrapped application.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        try:
            limit = _limit(scope["method"], scope["path"].rstrip("/"))
            body = await read_body(receive, limit)
            if limit == MAX_BODY_WITH_EXTENSIONS_BYTES:
                check_size(body)
        except ClientDisconnected:
            # An incomplete request is dropped: without its whole body it could mean something else.
            return
        except RequestTooLarge as error:
            await send_answer(send, last_answer(failure_answer(error)))
            return
        gone: Future[None] = Future()
        watch = asyncio.create_task(caller_left(receive, gone))
        try:
            await self._application(_with_body(scope, body, gone), _replay(body, receive), send)
        finally:
            watch.cancel()


def _limit(method: str, path: str) -> int:
    if (method, path) == ("POST", "/sessions"):
        return MAX_BODY_WITH_EXTENSIONS_BYTES
    is_login = method == "PUT" and path.startswith("/keys/") and path.endswith("/state")
    return MAX_STATE_BYTES if is_login else MAX_BODY_BYTES


def _with_body(scope: Scope, body: bytes, gone: Future[None]) -> Scope:
    # Flask reads no body without a length, so a chunked body gets one.
    headers = [(name, value) for name, value in scope["headers"] if name not in _LENGTH_HEADERS]
    if body:
        headers.append((b"content-length", str(len(body)).encode()))
    return {**scope, "headers": headers, CLIENT_GONE: gone}


_LENGTH_HEADERS = {b"content-length", b"transfer-encoding"}


def _replay(body: bytes, receive: Receive) -> Receive:
    pending = [body]

    async def replayed() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replayed
