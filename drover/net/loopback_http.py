"""HTTP to ChromeDriver and to Chrome's DevTools, limited to the features that they use.

`send_request` sends one request over a new connection, limited in time and in size. A timeout of
`http.client` is one of each read: a byte every half second held a probe of one second for 19.6 s (issue 12).
Here it is the limit of the whole request. What is read of the body has a limit as well, because pages decide
how long their addresses are.

`HttpConnection` is a persistent connection on the event loop, the hot path of every command. A general HTTP
client library would add about 0.5 ms per command.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from drover.net.http_response import MAX_HEAD_BYTES, Head, parse_head
from drover.net.loopback import connect, open_streams

_CHUNK_BYTES = 64 * 1024
_JSON = "Content-Type: application/json; charset=utf-8\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `body` is cut at the limit of the request if not `complete`."""

    status: int
    body: bytes
    complete: bool = True


def get(address: str, path: str, timeout: float, max_bytes: int) -> Answer:
    """Send one GET request over a new connection and return the answer; see `send_request`."""
    return send_request("GET", address, path, timeout, max_bytes)


def send_request(
    method: str, address: str, path: str, timeout: float, max_bytes: int, content: bytes = b""
) -> Answer:
    """Send one request over a new connection and return the answer.

    Args:
        method: The HTTP method.
        address: `http://host:port`, perhaps with a path in front of every path.
        timeout: Seconds for the whole request.
        max_bytes: How much of the body is read.
        content: The body of the request.

    Raises:
        TimeoutError: No complete answer came in time.
        ConnectionError: The connection was refused, or it ended too early.
        OSError: No connection could be made, for example because no descriptor is left.
        ValueError: What came is no HTTP response.
    """
    parts = urlsplit(address)
    deadline = time.monotonic() + timeout
    with connect(parts.hostname or "", parts.port or 80, timeout) as connection:
        request = _request(method, parts.path + path, parts.netloc, content, "Connection: close\r\n")
        connection.sendall(request)
        head, body = _read_head(connection, deadline)
        wanted = min(head.length, max_bytes)
        while len(body) < wanted:
            body += _receive(connection, deadline)
    return Answer(head.status, bytes(body[:wanted]), head.length <= max_bytes)


class ConnectFailed(Exception):
    """No connection could be made, so the request was not received."""


class ConnectionLost(Exception):
    """The connection broke or the response was malformed; whether the command ran is unknown."""


class HttpConnection:
    """A connection that opens on demand and carries one request at a time.

    Args:
        url: ChromeDriver's address, `http://host:port` with the secret path in front of every command.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = urlsplit(url)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def exchange(self, method: str, path: str, body: bytes) -> Answer:
        """Send a request and return the answer; waits without a time limit.

        Raises:
            ConnectFailed: ChromeDriver does not accept connections.
            ConnectionLost: The connection ended before the response was complete.
        """
        reader, writer = await self._opened()
        try:
            writer.write(_request(method, self._address.path + path, self._address.netloc, body, _JSON))
            head = parse_head(await reader.readuntil(b"\r\n\r\n"))
            reply = Answer(head.status, await reader.readexactly(head.length))
        except (OSError, EOFError) as error:
            self.close()
            raise ConnectionLost("ChromeDriver closed the connection without a response") from error
        except (asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise ConnectionLost(f"ChromeDriver sent a malformed response: {error}") from error
        except BaseException:
            # Otherwise the next command would read the response to this one.
            self.close()
            raise
        if not head.keep_alive:
            self.close()
        return reply

    def close(self) -> None:
        """Close the connection at once; a pending request fails with `ConnectionLost`."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self.close()
            host, port = self._address.hostname or "", self._address.port or 80
            try:
                self._reader, self._writer = await open_streams(host, port, MAX_HEAD_BYTES)
            except OSError as error:
                raise ConnectFailed(str(error)) from error
        return self._reader, self._writer


def _request(method: str, path: str, host: str, body: bytes, fields: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def _read_head(connection: socket.socket, deadline: float) -> tuple[Head, bytearray]:
    """Return the head, and what of the body has come with it."""
    content = bytearray()
    while (end := content.find(b"\r\n\r\n")) < 0:
        if len(content) > MAX_HEAD_BYTES:
            raise ValueError("the head of the response is too long")
        content += _receive(connection, deadline)
    return parse_head(bytes(content[: end + 4])), content[end + 4 :]


def _receive(connection: socket.socket, deadline: float) -> bytes:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("no complete answer in time")
    connection.settimeout(remaining)
    received = connection.recv(_CHUNK_BYTES)
    if not received:
        raise ConnectionResetError("the connection was closed before the answer was complete")
    return received
