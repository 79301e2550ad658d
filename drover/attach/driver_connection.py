"""A persistent HTTP/1.1 connection to a ChromeDriver, limited to the features that ChromeDriver uses.

This is the hot path of every command. A general HTTP client library would add about 0.5 ms per command.
ChromeDriver 156 always sends a `Content-Length` and never a chunked body.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from drover.net.http_response import MAX_HEAD_BYTES, parse_head
from drover.net.loopback import open_streams


class ConnectFailed(Exception):
    """No connection could be made, so ChromeDriver has not received the command."""


class ConnectionLost(Exception):
    """The connection broke or the response was malformed; whether the command ran is unknown."""


@dataclass(frozen=True, slots=True)
class DriverResponse:
    """ChromeDriver's response to one command."""

    status: int
    body: bytes


class DriverConnection:
    """A connection that opens on demand and carries one command at a time.

    Args:
        url: ChromeDriver's address, `http://host:port` with the secret path in front of every command.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        address = urlsplit(url)
        self._host, self._port, self._base = address.hostname or "", address.port or 80, address.path
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def exchange(self, method: str, path: str, body: bytes) -> DriverResponse:
        """Send a command and return the response; waits without a time limit.

        Raises:
            ConnectFailed: ChromeDriver does not accept connections.
            ConnectionLost: The connection ended before the response was complete.
        """
        reader, writer = await self._opened()
        try:
            writer.write(_request(method, self._base + path, self._host, self._port, body))
            head = parse_head(await reader.readuntil(b"\r\n\r\n"))
            reply = DriverResponse(head.status, await reader.readexactly(head.length))
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
        """Close the connection at once; a pending command fails with `ConnectionLost`."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self.close()
            try:
                self._reader, self._writer = await open_streams(self._host, self._port, MAX_HEAD_BYTES)
            except OSError as error:
                raise ConnectFailed(str(error)) from error
        return self._reader, self._writer


def _request(method: str, path: str, host: str, port: int, body: bytes) -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body
