"""HTTP/1.1 to another node: persistent connections, and answers passed on as they come."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from drover.net.asgi import Header

CONNECT_S: Final = 2.0
MAX_HEAD_BYTES: Final = 64 * 1024
READ_BYTES: Final = 64 * 1024
PART_BYTES: Final = 256 * 1024
IDLE_CONNECTIONS: Final = 32
# A connection breaks after 10 s of silence: in seconds, but for the last one (ms, Linux only).
_CUT_OPTIONS: Final = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 5, "TCP_USER_TIMEOUT": 10_000}
_NO_BODY: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class NotSent(Exception):
    """The other node has not received the request."""


class Interrupted(Exception):
    """The connection broke before the whole answer had come; whether the request was executed is unknown."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer.

    Attributes:
        length: Of the body in bytes; None if it is chunked or ends with the connection.
    """

    status: int
    headers: tuple[Header, ...]
    length: int | None
    is_chunked: bool
    keep_alive: bool


class _Reading(asyncio.StreamReaderProtocol):
    """Lets what came before the connection broke be read to its end, such as why a request was refused."""

    def eof_received(self) -> bool:
        """Close a connection that the other node has closed: it may be idle, and never used again."""
        super().eof_received()
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """End what can be read; further writing fails."""
        super().connection_lost(None)


class NodeConnection:
    """One connection to a node, which carries one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._head: Head | None = None
        self._is_read = self._is_cut = False

    @property
    def is_open(self) -> bool:
        """Whether the other node has not closed it."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    @property
    def is_reusable(self) -> bool:
        """Whether the answer was read to its end and another request may follow."""
        is_complete = self._is_read and not self._is_cut
        return is_complete and self._head is not None and self._head.keep_alive and self.is_open

    async def send(self, head: bytes, body: bytes) -> Head:
        """Send a request and return the head of the answer, which may come before the whole request is sent.

        Raises:
            Interrupted: The connection broke.
        """
        self._is_read = False
        self._writer.write(head + body[:PART_BYTES])
        rest = memoryview(body)[PART_BYTES:]
        writing = asyncio.create_task(self._write(rest)) if rest else None
        try:
            self._head = await self._read_head()
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
            raise _interrupted(error) from error
        finally:
            if writing is not None and not await _is_done(writing):
                # The node does not want the rest of the request, such as one that is too large.
                self._is_cut = True
        return self._head

    async def _read_head(self) -> Head:
        while True:
            head = _parsed(await self._reader.readuntil(b"\r\n\r\n"))
            if head.status >= HTTPStatus.OK:
                return head

    async def _write(self, rest: memoryview) -> None:
        for start in range(0, len(rest), PART_BYTES):
            await self._writer.drain()
            self._writer.write(rest[start : start + PART_BYTES])

    async def body(self, *, is_head: bool) -> AsyncGenerator[bytes, None]:
        """Yield the body of the answer as it comes.

        Raises:
            Interrupted: The connection broke before its end.
        """
        assert self._head is not None
        try:
            if is_head or self._head.status in _NO_BODY:
                pass
            elif self._head.is_chunked:
                async for part in self._chunks():
                    yield part
            elif self._head.length is not None:
                async for part in self._exactly(self._head.length):
                    yield part
            else:
                while part := await self._reader.read(READ_BYTES):
                    yield part
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
            raise _interrupted(error) from error
        self._is_read = True

    def close(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()

    async def _exactly(self, length: int) -> AsyncGenerator[bytes, None]:
        while length:
            part = await self._reader.read(min(length, READ_BYTES))
            if not part:
                raise EOFError
            length -= len(part)
            yield part

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            async for part in self._exactly(size):
                yield part
            await self._reader.readexactly(len(b"\r\n"))
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass


class NodeConnections:
    """The idle connections to all nodes."""

    def __init__(self) -> None:
        self._idle: dict[str, list[NodeConnection]] = defaultdict(list)

    async def get(self, url: str) -> NodeConnection:
        """Return an idle connection to a node, or a new one.

        Raises:
            NotSent: The node does not accept connections.
        """
        idle = self._idle[url]
        while idle:
            found = idle.pop()
            if found.is_open:
                return found
            found.close()
        try:
            return NodeConnection(*await asyncio.wait_for(_opened(url), CONNECT_S))
        except (OSError, asyncio.TimeoutError) as error:
            raise NotSent(str(error) or "no answer") from error

    def give_back(self, url: str, connection: NodeConnection) -> None:
        """Keep a connection for the next request if it can carry one, else close it."""
        if connection.is_reusable and len(self._idle[url]) < IDLE_CONNECTIONS:
            self._idle[url].append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()


async def connected(url: str) -> socket.socket:
    """Return a socket that is connected to a node; it does not block, and breaks when that is cut off.

    Raises:
        OSError: The node does not accept connections.
    """
    address, loop = urlsplit(url), asyncio.get_running_loop()
    port = address.port or (443 if address.scheme == "https" else 80)
    error = OSError(f"no address of {address.hostname}")
    for family, kind, protocol, _, target in await loop.getaddrinfo(
        address.hostname, port, type=socket.SOCK_STREAM
    ):
        found = socket.socket(family, kind, protocol)
        found.setblocking(False)
        try:
            await loop.sock_connect(found, target)
            _notice_cut(found)
        except OSError as refused:
            found.close()
            error = refused
        except BaseException:
            found.close()
            raise
        else:
            return found
    raise error


async def _opened(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES, loop=loop)
    protocol = _Reading(reader, loop=loop)
    address = urlsplit(url)
    is_secure = address.scheme == "https"
    transport, _ = await loop.create_connection(
        lambda: protocol,
        sock=await connected(url),
        ssl=ssl.create_default_context() if is_secure else None,
        server_hostname=address.hostname if is_secure else None,
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _interrupted(error: Exception) -> Interrupted:
    reason = "" if isinstance(error, EOFError) else str(error)
    return Interrupted(reason or "the connection was closed")


async def _is_done(writing: asyncio.Task[None]) -> bool:
    """End what is left of a task; return whether it had come to its end."""
    is_done = writing.done()
    writing.cancel()
    [failure] = await asyncio.gather(writing, return_exceptions=True)
    return is_done and failure is None


def _notice_cut(connection: socket.socket) -> None:
    """Have the kernel break a connection whose other end cannot be reached any more, idle or not.

    Without it a request that is on its way when a cable is pulled would never end.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _CUT_OPTIONS.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _parsed(raw: bytes) -> Head:
    first, *lines = raw[:-4].split(b"\r\n")
    version, status, *_ = first.split(b" ", 2)
    if not version.startswith(b"HTTP/1."):
        raise ValueError(f"no HTTP status line: {first[:80]!r}")
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.strip().lower(), value.strip()))
    fields = dict(headers)
    length = fields.get(b"content-length")
    return Head(
        int(status),
        tuple(headers),
        int(length) if length is not None else None,
        fields.get(b"transfer-encoding", b"").lower() == b"chunked",
        fields.get(b"connection", b"").lower() != b"close" and version == b"HTTP/1.1",
    )
