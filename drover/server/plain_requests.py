"""Plain requests: WebDriver commands in the form in which every client sends them, read and answered quickly.

h11 and its events take a third of the time that the service adds to a command. A head in the form below has
one reading only, and h11's is the same (a test compares them). Every other head goes to h11: with folded
lines, characters beyond ASCII, a chunked body, `Expect`, `Upgrade`, another version, host or target.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, RequestResponseCycle

from drover.net.asgi import Header, Message, Response
from drover.net.request_log import RAW_REQUEST_ID

MAX_HEAD_BYTES: Final = 16 * 1024
"""A longer head goes to h11."""
_LINE = re.compile(rb"(GET|POST|DELETE) (/wd/hub/session/[A-Za-z0-9%/._~-]+) HTTP/1\.1")
# White space before a value is taken as a whole: each way to divide it would be tried where nothing matches.
_FIELD = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(?![ \t])((?:[!-~]+(?:[ \t]+[!-~]+)*)?)[ \t]*\r\n"
_FIELDS = re.compile(rb"(?:%b)+" % _FIELD)
_EACH_FIELD = re.compile(_FIELD)
_LENGTH = re.compile(rb"[0-9]{1,15}")
_NOT_PLAIN = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_ONCE = frozenset({b"host", b"content-length", b"connection"})


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """The head of a plain request.

    Attributes:
        method: `GET`, `POST` or `DELETE`.
        path: The target, which has no query.
        headers: Lower-case names and values.
        length: The length of the body in bytes.
        head_bytes: The length of the head in bytes.
    """

    method: str
    path: bytes
    headers: tuple[Header, ...]
    length: int
    head_bytes: int


def read_plain(data: bytes) -> PlainRequest | None:
    """Return the request at the beginning of what a client has sent; None if its head is not plain."""
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    line_end = data.find(b"\r\n", 0, end)
    line = _LINE.fullmatch(data, 0, line_end) if line_end >= 0 else None
    fields = _fields(data[line_end + 2 : end + 2]) if line is not None else None
    if line is None or fields is None:
        return None
    return PlainRequest(line[1].decode("ascii"), line[2], *fields, end + 4)


# A client sends the same fields with almost every command.
@lru_cache(maxsize=64)
def _fields(lines: bytes) -> tuple[tuple[Header, ...], int] | None:
    """Return the fields of a head, with the length of the body; None if they are not plain."""
    if _FIELDS.fullmatch(lines) is None:
        return None
    fields = tuple((name.lower(), value) for name, value in _EACH_FIELD.findall(lines))
    names = [name for name, _ in fields]
    known = dict(fields)
    length = known.get(b"content-length", b"0")
    is_plain = (
        b"host" in known
        and _NOT_PLAIN.isdisjoint(known)
        and all(names.count(name) <= 1 for name in _ONCE)
        and known.get(b"connection", b"keep-alive").lower() == b"keep-alive"
        and _LENGTH.fullmatch(length) is not None
    )
    return (fields, int(length)) if is_plain else None


class PlainCycle(RequestResponseCycle):
    """The answer to one plain request, whose head and body are sent at once.

    Args:
        length: The length of the request's body in bytes.
        others: The other arguments are uvicorn's.
    """

    def __init__(self, length: int, **others: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(**others)
        self._unread = length
        self._head = b""
        if not length:
            self.more_body = False
            self.message_event.set()

    @property
    def is_over(self) -> bool:
        """Whether the request is received completely, and answered."""
        return self.response_complete and not self._unread

    @property
    def is_received(self) -> bool:
        """Whether the request is received completely."""
        return not self._unread

    def take(self, data: bytes) -> bytes:
        """Take what belongs to the body of the request from what was received, and return the rest."""
        if not self._unread:
            return data
        part = data[: self._unread]
        self._unread -= len(part)
        if part and not self.response_complete:
            self.body += part
            self.more_body = self._unread > 0
            if len(self.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            self.message_event.set()
        return data[len(part) :]

    async def send(self, message: Message) -> None:  # type: ignore[override] # uvicorn's types are closed
        """Send a part of the answer."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._head = self._rendered(message)
            self.response_started = True
            return
        if self.response_complete or message["type"] != "http.response.body":
            raise RuntimeError(f"unexpected ASGI message {message['type']}")
        head, self._head = self._head, b""
        part = head + message.get("body", b"")
        if message.get("more_body", False):
            self.transport.write(part)
        else:
            self._end(part)

    def answer(self, answer: Response, request_id: str) -> None:
        """Send a complete, short answer at once."""
        if self.disconnected:
            return
        length = (b"content-length", str(len(answer.body)).encode())
        request = (RAW_REQUEST_ID, request_id.encode())
        head = _head(answer.status, (*self.default_headers, *answer.headers, length, request))
        self.response_started = True
        self._end(head + answer.body)

    def _end(self, last: bytes) -> None:
        self.transport.write(last)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _rendered(self, message: Message) -> bytes:
        """Return the head of the answer.

        Raises:
            ValueError: A header would end its line.
        """
        headers = [*self.default_headers, *message.get("headers", ())]
        if (b"connection", b"close") in headers:
            self.keep_alive = False
        elif not any(name == b"content-length" for name, _ in headers):
            # The end of the connection is the end of the body.
            self.keep_alive = False
            headers.append((b"connection", b"close"))
        return _head(message["status"], headers)


def _head(status: int, headers: Sequence[Header]) -> bytes:
    """Return the head of a response.

    Raises:
        ValueError: A header would end its line.
    """
    lines = [b"%b: %b\r\n" % header for header in headers]
    block = b"".join(lines)
    if not len(lines) == block.count(b"\r") == block.count(b"\n") or b"\0" in block:
        raise ValueError("a header of the answer has a control character")
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, STATUS_PHRASES[status], block)
