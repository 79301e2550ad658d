"""ASGI type aliases, and request and response helpers shared by all ASGI endpoints."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from drover.core.deadline import ClientDisconnected
from drover.core.errors import (
    DroverError,
    MethodNotAllowed,
    NotOwner,
    RequestTooLarge,
    SentAway,
    Unauthorized,
)
from drover.core.log_context import naming_request
from drover.net import access
from drover.net.target import encoded, read_target

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]
ThreadResult = TypeVar("ThreadResult")

_logger = logging.getLogger("drover")

NOT_OWNER = "Drover-Not-Owner"
"""Header of a response from a node that does not have the session: the request may go to another node."""
SENT_AWAY = "sent-away"
"""Its value if the request could wait at that node until now."""
_NOT_OWNER = NOT_OWNER.lower().encode()
JSON_TYPE = b"application/json; charset=utf-8"
PART_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response: HTTP status, body and headers; `send_answer` adds the length."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = field(default=((b"content-type", JSON_TYPE),))


def json_answer(content: object, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """Return a response with a JSON body."""
    return Response(status, json_bytes(content), ((b"content-type", JSON_TYPE), *headers))


def json_bytes(content: object, separators: tuple[str, str] | None = None) -> bytes:
    """Return JSON in UTF-8; in ASCII if a text has half of a surrogate pair, which UTF-8 cannot hold.

    Web sites keep such texts in local storage, as compressed data.
    """
    try:
        return json.dumps(content, ensure_ascii=False, separators=separators).encode()
    except UnicodeEncodeError:
        return json.dumps(content, separators=separators).encode()


def failure_body(error: DroverError) -> dict[str, object]:
    """Return the JSON body of an error response."""
    details = {"details": error.details} if error.details else {}
    return {"success": False, "error": message_of(error), "code": error.code} | details


def message_of(error: DroverError) -> str:
    """Return the text of an error; that of a 5xx names the request, so that its log lines can be found."""
    server_error = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return naming_request(error.message) if server_error else error.message


def failure_headers(error: DroverError) -> dict[str, str]:
    """Return the headers of an error response."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = access.WWW_AUTHENTICATE
    if isinstance(error, MethodNotAllowed) and error.allowed is not None:
        headers["Allow"] = error.allowed
    if isinstance(error, NotOwner):
        headers[NOT_OWNER] = SENT_AWAY if isinstance(error, SentAway) else "1"
    return headers


def not_owner(headers: Iterable[Header]) -> NotOwner | None:
    """Return the error that the headers of a node's response say; None if it is the answer to the request."""
    for name, value in headers:
        if name.lower() == _NOT_OWNER:
            was_waiting = value == SENT_AWAY.encode()
            return (SentAway if was_waiting else NotOwner)("This node does not have the session")
    return None


def unexpected(error: Exception) -> DroverError:
    """Log an unexpected exception with its stack trace; return the error for the client."""
    _logger.error("A request failed unexpectedly: %s", type(error).__name__, exc_info=error)
    return DroverError("Internal error; see the log of the service")


def raw_headers(headers: Iterable[tuple[str, str]]) -> tuple[Header, ...]:
    """Return headers in the form that ASGI sends."""
    return tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)


def failure_answer(error: DroverError) -> Response:
    """Return the response to a failed request, in the form of all REST routes."""
    return json_answer(failure_body(error), error.status, raw_headers(failure_headers(error).items()))


def last_answer(answer: Response) -> Response:
    """Return the response with `Connection: close`, for a request whose body is not read to its end."""
    return replace(answer, headers=(*answer.headers, (b"connection", b"close")))


async def send_answer(send: Send, answer: Response) -> None:
    """Send a complete response, a long one in parts, as fast as the client reads it."""
    body = answer.body
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length]}
    await send(start)
    last = max(0, len(body) - 1) // PART_BYTES * PART_BYTES
    for begin in range(0, last, PART_BYTES):
        await send(
            {"type": "http.response.body", "body": body[begin : begin + PART_BYTES], "more_body": True}
        )
    await send({"type": "http.response.body", "body": body[last:]})


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read the complete body of a request.

    Raises:
        ClientDisconnected: The client disconnected before the end of the body.
        RequestTooLarge: The body has more than `limit` bytes.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return _bounded(message.get("body", b""), limit)
    # It hands over what was written to it without a copy.
    body = BytesIO()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body.write(_bounded(message.get("body", b""), limit - body.tell()))
        if not message.get("more_body", False):
            return body.getvalue()
        message = await receive()


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` of a request whose body has been read: it begins with that."""
    pending = [body]

    async def receive_again() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return receive_again


def _bounded(part: bytes, limit: int) -> bytes:
    if len(part) > limit:
        raise RequestTooLarge("The request body is too large; send a smaller one")
    return part


async def caller_left(receive: Receive, gone: Future[None]) -> None:
    """Complete `gone` when the client disconnects; run it beside the work, and cancel it afterwards."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set_result(None)


async def on_thread(executor: Executor, call: Callable[[], ThreadResult]) -> ThreadResult:
    """Run a blocking call on a thread of an executor, and return its result."""
    return await asyncio.get_running_loop().run_in_executor(executor, call)


def with_target(scope: Scope) -> tuple[Scope, DroverError | None]:
    """Return the scope with the one form of its path, and why the request is refused for it, if it is.

    The host of an absolute-form target replaces the `Host` header.
    """
    target = read_target(scope.get("raw_path") or encoded(scope["path"]))
    headers = scope["headers"]
    if target.host is not None:
        headers = [(b"host", target.host), *((name, text) for name, text in headers if name != b"host")]
    read = {**scope, "path": target.path, "raw_path": target.path.encode("ascii"), "headers": headers}
    return read, target.refusal


def header(scope: Scope, name: bytes) -> str | None:
    """Return a header of a request by its lower-case name, or None if it was not sent."""
    for known, value in scope["headers"]:
        if known == name:
            return str(value.decode("latin-1"))
    return None


def query(scope: Scope) -> dict[str, str]:
    """Return the query parameters; of a repeated parameter, the last value."""
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


_CHECKED_HEADERS = {
    name.encode(): name
    for name in (
        *("host", "origin", "sec-fetch-site", "authorization"),
        *("content-type", "content-length", "transfer-encoding"),
    )
}


def head_of(scope: Scope) -> access.RequestHead:
    """Return the parts of a request that access control checks."""
    headers = tuple(
        (_CHECKED_HEADERS[name], value.decode("latin-1"))
        for name, value in scope["headers"]
        if name in _CHECKED_HEADERS
    )
    if scope["type"] == "websocket":
        return access.RequestHead("GET", scope["path"], headers, query(scope).get("token"))
    return access.RequestHead(scope["method"], scope["path"], headers)
