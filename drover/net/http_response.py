"""The head of an HTTP/1.1 response, limited to the features that ChromeDriver and Chrome use.

Both always send a `Content-Length` and never a chunked body (ChromeDriver and Chrome 156).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

MAX_HEAD_BYTES = 64 * 1024
# Only these are complete responses, which can be passed on.
_STATUS = re.compile("HTTP/1[.]1 ([2-5][0-9]{2})")


@dataclass(frozen=True, slots=True)
class Head:
    """The parsed head of a response: status, body length in bytes, whether the connection stays open."""

    status: int
    length: int
    keep_alive: bool


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
