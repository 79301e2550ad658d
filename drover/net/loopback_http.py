"""HTTP to ChromeDriver and to Chrome's DevTools, limited to the features that they use.

`send_request` sends one request over a new connection, limited in time and in size. A timeout of
`http.client` is one of each read: a byte every half second held a probe of one second for 19.6 s.
Here it is the limit of the whole request. What is read of the body has a limit as well, because pages decide
how long their addresses are.

`HttpConnection` is a persistent connection on the event loop, the hot path of every command. A general HTTP
client library would add about 0.5 ms per command.

ChromeDriver and Chrome always send a `Content-Length` and never a chunked body (versions 156).
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from typing import cast
from urllib.parse import urlsplit

from drover.net.loopback import connect, open_transport

MAX_HEAD_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_JSON = "Content-Type: application/json; charset=utf-8\r\n"
# Only these are complete responses, which can be passed on.
_STATUS = re.compile("HTTP/1[.]1 ([2-5][0-9]{2})")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `body` is cut at the limit of the request if not `complete`."""

    status: int
    body: bytes
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Head:
    """The parsed head of a response: status, body length in bytes, whether the connection stays open."""

    status: int
    length: int
    keep_alive: bool


def get(address: str, path: str, timeout: float, max_bytes: int) -> Answer:
    """Send one GET request over a new connection and return the answer; see `send_request`."""
    return send_request("GET", address, path, timeout, max_bytes)


def send_request(
    method: str, address: str, path: str, timeout: float, max_bytes: int, content: bytes = b""
) -> Answer:
    """Send one request over a new connection and return the answer.

    Args:
        address: `http://host:port`, perhaps with a path in front of every path.
        timeout: Seconds for the whole request.
        max_bytes: How much of the body is read.

    Raises:
        TimeoutError: No complete answer came in time.
        ConnectionError: The connection was refused, or it ended too early.
        OSError: No connection could be made, for example because no descriptor is left.
        ValueError: What came is no HTTP response.
    """
    parts = urlsplit(address)
    deadline = time.monotonic() + timeout
    with connect(parts.hostname or "", parts.port or 80, timeout) as connection:
        path = parts.path + path
        request_head = _head(method, path, parts.netloc, len(content), "Connection: close\r\n")
        connection.sendall(request_head + content)
        head, body = _read_head(connection, deadline)
        wanted = min(head.length, max_bytes)
        while len(body) < wanted:
            body += _receive(connection, deadline)
    return Answer(head.status, bytes(body[:wanted]), head.length <= max_bytes)


class ConnectFailed(Exception):
    """No connection could be made, so the request was not received."""


class ConnectionLost(Exception):
    """The connection broke or the response was malformed; whether the command ran is unknown."""


Outcome = Answer | ConnectionLost
"""How a request has ended."""


class HttpConnection:
    """A connection that opens on demand and carries one request at a time.

    Args:
        url: ChromeDriver's address, `http://host:port` with the secret path in front of every command.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = urlsplit(url)
        self._exchanges: _Exchanges | None = None

    async def exchange(self, method: str, path: str, body: bytes) -> Answer:
        """Send a request and return the answer; waits without a time limit.

        Raises:
            ConnectFailed: ChromeDriver does not accept connections.
            ConnectionLost: The connection ended before the response was complete.
        """
        exchanges = await self._opened()
        try:
            return await exchanges.run(self._head(method, path, body), body)
        except BaseException:
            # Otherwise the next command would read the response to this one.
            self.close()
            raise

    def begin(self, method: str, path: str, body: bytes, done: Callable[[Outcome], None]) -> bool:
        """Send a short request at once, and call `done` with its outcome; False if that is not possible.

        A callback is called as soon as the answer is there, and a coroutine in the next turn of the loop.
        """
        exchanges = self._exchanges
        if exchanges is None or exchanges.is_over or len(body) > _CHUNK_BYTES:
            return False
        exchanges.begin(self._head(method, path, body) + body, done)
        return True

    def close(self) -> None:
        """Close the connection at once; a pending request fails with `ConnectionLost`."""
        exchanges, self._exchanges = self._exchanges, None
        if exchanges is not None:
            exchanges.close()

    def _head(self, method: str, path: str, body: bytes) -> bytes:
        return _head(method, self._address.path + path, self._address.netloc, len(body), _JSON)

    async def _opened(self) -> _Exchanges:
        if self._exchanges is None or self._exchanges.is_over:
            host, port = self._address.hostname or "", self._address.port or 80
            try:
                _, self._exchanges = await open_transport(host, port, _Exchanges)
            except OSError as error:
                raise ConnectFailed(str(error)) from error
        return self._exchanges


class _Exchanges(asyncio.Protocol):
    """The requests over one connection and their responses, one after the other.

    asyncio's streams would take twice the time for a short response, and copy a long one three times.

    Attributes:
        is_over: Whether the connection can carry no further request.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._done: Callable[[Outcome], None] | None = None
        self._head: Head | None = None
        self._received = b""
        self._body = BytesIO()

    async def run(self, head: bytes, body: bytes) -> Answer:
        """Send a request and return the response.

        Raises:
            ConnectionLost: The connection ended before the response was complete, or that is malformed.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if len(body) <= _CHUNK_BYTES:
            self.begin(head + body, partial(_tell, answer))
            return await answer
        self.begin(head, partial(_tell, answer))
        assert self._transport is not None, "the connection is open"
        view = memoryview(body)
        for start in range(0, len(body), _CHUNK_BYTES):
            await self._writable.wait()
            if answer.done() or self._transport.is_closing():
                # The response came early, or the connection is lost: nothing reads the rest.
                self.close()
                break
            self._transport.write(view[start : start + _CHUNK_BYTES])
        return await answer

    def begin(self, request: bytes, done: Callable[[Outcome], None]) -> None:
        """Send a request, or its beginning; `done` is called once."""
        assert self._transport is not None, "the connection is open"
        self._done = done
        self._transport.write(request)

    def close(self) -> None:
        """End the connection at once."""
        self.is_over = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports are no instances of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """Have a long request wait until ChromeDriver has read what was sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Continue to send."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that has no response yet."""
        self.is_over = True
        self._writable.set()
        error = ConnectionLost("ChromeDriver closed the connection without a response")
        error.__cause__ = exc
        self._end(error)

    def data_received(self, data: bytes) -> None:
        """Collect the response."""
        if self._done is None:
            # What no request has asked for would be taken for the response to the next one.
            self.close()
            return
        if self._head is None:
            data = self._received + data
            end = data.find(_END_OF_HEAD, 0, MAX_HEAD_BYTES) + len(_END_OF_HEAD)
            try:
                self._head = _head_before(data, end)
            except ValueError as error:
                self.close()
                self._end(ConnectionLost(f"ChromeDriver sent a malformed response: {error}"))
                return
            if self._head is None:
                self._received = data
                return
            # It hands over what was written to it without a copy.
            self._received, self._body, data = b"", BytesIO(), data[end:]
        self._body.write(data)
        if self._body.tell() >= self._head.length:
            self._complete(self._head)

    def _complete(self, head: Head) -> None:
        body, self._head, self._body = self._body.getvalue(), None, BytesIO()
        self._writable.set()
        if len(body) > head.length or not head.keep_alive:
            self.close()
        self._end(Answer(head.status, body[: head.length]))

    def _end(self, outcome: Outcome) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(outcome)


# The same commands get the same heads.
@lru_cache(maxsize=64)
def parse_head(head: bytes) -> Head:
    """Return the parsed head of a response; `head` includes the empty line at its end.

    Raises:
        ValueError: It is not an HTTP/1.1 response with a `Content-Length`.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    status = _STATUS.match(first)
    if status is None:
        raise ValueError(f"not an HTTP/1.1 status line: {first[:80]!r}")
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = fields.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or "transfer-encoding" in fields:
        raise ValueError("no valid Content-Length")
    return Head(int(status[1]), int(length), fields.get("connection", "").lower() != "close")


def _tell(answer: asyncio.Future[Answer], outcome: Outcome) -> None:
    if answer.done():
        # Nothing waits for it any more.
        return
    if isinstance(outcome, ConnectionLost):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _head_before(data: bytes, end: int) -> Head | None:
    """Return the head of a response that ends at `end`; None if it has not ended.

    Raises:
        ValueError: It is malformed or too long.
    """
    if end >= len(_END_OF_HEAD):
        return parse_head(data[:end])
    if len(data) >= MAX_HEAD_BYTES:
        raise ValueError("the head of the response is too long")
    return None


def _head(method: str, path: str, host: str, length: int, fields: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {length}\r\n\r\n"
    return head.encode("latin-1")


def _read_head(connection: socket.socket, deadline: float) -> tuple[Head, bytearray]:
    """Return the head, and what of the body has come with it."""
    content = bytearray()
    while (end := content.find(_END_OF_HEAD)) < 0:
        if len(content) > MAX_HEAD_BYTES:
            raise ValueError("the head of the response is too long")
        content += _receive(connection, deadline)
    end += len(_END_OF_HEAD)
    return parse_head(bytes(content[:end])), content[end:]


def _receive(connection: socket.socket, deadline: float) -> bytes:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("no complete answer in time")
    connection.settimeout(remaining)
    received = connection.recv(_CHUNK_BYTES)
    if not received:
        raise ConnectionResetError("the connection was closed before the answer was complete")
    return received
