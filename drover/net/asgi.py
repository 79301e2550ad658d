"""The words of ASGI, and the few things that every door in this room does with them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from drover.core.deadline import ClientDisconnected
from drover.core.errors import DroverError, RequestTooLarge, Unauthorized
from drover.net import access

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]
ThreadResult = TypeVar("ThreadResult")

_logger = logging.getLogger("drover")

JSON_TYPE = b"application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer: HTTP status, body and headers; the length is added when it is sent."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = field(default=((b"content-type", JSON_TYPE),))


def json_answer(content: object, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """Give an answer whose body is JSON."""
    body = json.dumps(content, ensure_ascii=False).encode()
    return Response(status, body, ((b"content-type", JSON_TYPE), *headers))


def failure_body(error: DroverError) -> dict[str, object]:
    """Give the JSON body of a failure."""
    details = {"details": error.details} if error.details else {}
    return {"success": False, "error": error.message, "code": error.code} | details


def failure_headers(error: DroverError) -> dict[str, str]:
    """Give the headers that go with a failure."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = access.WWW_AUTHENTICATE
    return headers


def unexpected(error: Exception) -> DroverError:
    """Log a defect with its trace, and give what its caller is told."""
    _logger.error("A request failed unexpectedly: %s", type(error).__name__, exc_info=error)
    return DroverError("Something unexpected went wrong; the service's log tells what")


def raw_headers(headers: Mapping[str, str]) -> tuple[Header, ...]:
    """Give headers as ASGI sends them."""
    return tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items())


def failure_answer(error: DroverError) -> Response:
    """Give the answer to a request that failed, as all REST routes give it."""
    return json_answer(failure_body(error), error.status, raw_headers(failure_headers(error)))


def last_answer(answer: Response) -> Response:
    """Give an answer that ends its connection, where a body is still to come that nobody wants to read."""
    return replace(answer, headers=(*answer.headers, (b"connection", b"close")))


async def send_answer(send: Send, answer: Response) -> None:
    """Send a whole answer."""
    length = (b"content-length", str(len(answer.body)).encode())
    start = {"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length]}
    await send(start)
    await send({"type": "http.response.body", "body": answer.body})


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read the whole body of a request.

    Raises:
        ClientDisconnected: The caller hung up before it was whole.
        RequestTooLarge: It has more than `limit` bytes.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return _bounded(message.get("body", b""), limit)
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body += _bounded(message.get("body", b""), limit - len(body))
        if not message.get("more_body", False):
            return bytes(body)
        message = await receive()


def _bounded(part: bytes, limit: int) -> bytes:
    if len(part) > limit:
        raise RequestTooLarge("The body is larger than this service takes; send a smaller one")
    return part


async def caller_left(receive: Receive, gone: Future[None]) -> None:
    """Complete `gone` when the caller hangs up; run it beside the work, and cancel it afterwards."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set_result(None)


async def on_thread(executor: Executor, call: Callable[[], ThreadResult]) -> ThreadResult:
    """Make a call that blocks on a thread of an executor, and give what it gives."""
    return await asyncio.get_running_loop().run_in_executor(executor, call)


def header(scope: Scope, name: bytes) -> str | None:
    """Give a header of a request by its name in small letters; None where it was not sent."""
    for known, value in scope["headers"]:
        if known == name:
            return str(value.decode("latin-1"))
    return None


def query(scope: Scope) -> dict[str, str]:
    """Give the parameters behind the `?`; of one that is given twice, the last."""
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


_ASKED_ABOUT = {
    b"host": "host",
    b"origin": "origin",
    b"sec-fetch-site": "sec_fetch_site",
    b"authorization": "authorization",
    b"content-type": "content_type",
}


def caller_of(scope: Scope) -> access.RequestOrigin:
    """Give what a request says about who sends it."""
    said: dict[str, Any] = {}
    has_body = False
    for name, value in scope["headers"]:
        if name in _ASKED_ABOUT:
            said.setdefault(_ASKED_ABOUT[name], value.decode("latin-1"))
        elif name == b"content-length":
            has_body = value != b"0"
        elif name == b"transfer-encoding":
            has_body = True
    if scope["type"] == "websocket":
        # A browser cannot set headers there, so the token may stand in the address.
        return access.RequestOrigin("GET", scope["path"], query_token=query(scope).get("token"), **said)
    return access.RequestOrigin(scope["method"], scope["path"], has_body=has_body, **said)
