"""One kept connection to a ChromeDriver: bytes out, bytes in; as much of HTTP/1.1 as ChromeDriver speaks.

This is the hot path of every command, which is why it is not a library's: an HTTP client of the usual kind
adds half a millisecond to each. ChromeDriver 156 answers with a `Content-Length` always, never in chunks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

MAX_HEAD_BYTES = 64 * 1024


class ConnectFailed(Exception):
    """No connection could be made: ChromeDriver has seen nothing of the command."""


class ConnectionLost(Exception):
    """The connection broke, or what came was no answer: what became of the command is not known."""


@dataclass(frozen=True, slots=True)
class DriverResponse:
    """ChromeDriver's answer to one command."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of an answer says: the status, the length of the body, and whether more may follow."""

    status: int
    length: int
    keep_alive: bool


class DriverConnection:
    """A connection that is opened when it is needed, and used for one command after the other.

    Args:
        url: ChromeDriver's address, `http://host:port`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._host, _, port = url.removeprefix("http://").rpartition(":")
        self._port = int(port)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def exchange(self, method: str, path: str, body: bytes) -> DriverResponse:
        """Send a command and give the answer, however long that takes.

        Raises:
            ConnectFailed: ChromeDriver does not listen.
            ConnectionLost: The connection ended before the answer did.
        """
        reader, writer = await self._opened()
        try:
            writer.write(_request(method, path, self._host, self._port, body))
            head = parse_head(await reader.readuntil(b"\r\n\r\n"))
            reply = DriverResponse(head.status, await reader.readexactly(head.length))
        except (OSError, EOFError) as error:
            self.close()
            raise ConnectionLost("ChromeDriver hung up without an answer") from error
        except (asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise ConnectionLost(f"ChromeDriver's answer is not understood: {error}") from error
        except BaseException:
            # Whoever gives up half-way leaves an answer on the line that is nobody else's.
            self.close()
            raise
        if not head.keep_alive:
            self.close()
        return reply

    def close(self) -> None:
        """Close the connection at once; a command that waits for its answer is cut off."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self.close()
            try:
                self._reader, self._writer = await asyncio.open_connection(
                    self._host, self._port, limit=MAX_HEAD_BYTES
                )
            except OSError as error:
                raise ConnectFailed(str(error)) from error
        return self._reader, self._writer


def _request(method: str, path: str, host: str, port: int, body: bytes) -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


def parse_head(head: bytes) -> Head:
    """Read the head of an answer, with the empty line at its end.

    Raises:
        ValueError: It is no answer of HTTP/1.1 with a length.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if version != "HTTP/1.1" or not (code.isascii() and code.isdigit()) or len(code) != len("200"):
        raise ValueError(f"not the beginning of an answer: {first[:80]!r}")
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = fields.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or "transfer-encoding" in fields:
        raise ValueError("an answer without a length")
    return Head(int(code), int(length), fields.get("connection", "").lower() != "close")
