"""One request to ChromeDriver or to Chrome's DevTools, limited in time and in size.

A timeout of `http.client` is one of each read: a byte every half second held a probe of one second for 19.6 s
(issue 12). Here it is the limit of the whole request. What is read of the body has a limit as well, because
pages decide how long their addresses are.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from drover.net.http_response import MAX_HEAD_BYTES, Head, parse_head
from drover.net.loopback import connect

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `body` is cut at the limit of the request if not `complete`."""

    status: int
    body: bytes
    complete: bool


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
        request = (
            f"{method} {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(request.encode("ascii") + content)
        head, body = _read_head(connection, deadline)
        wanted = min(head.length, max_bytes)
        while len(body) < wanted:
            body += _receive(connection, deadline)
    return Answer(head.status, bytes(body[:wanted]), head.length <= max_bytes)


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
