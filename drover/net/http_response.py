"""The head of an HTTP/1.1 response, limited to the features that ChromeDriver and Chrome use.

Both always send a `Content-Length` and never a chunked body (ChromeDriver and Chrome 156).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

MAX_HEAD_BYTES = 64 * 1024


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
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if version != "HTTP/1.1" or not (code.isascii() and code.isdigit()) or len(code) != len("200"):
        raise ValueError(f"not an HTTP/1.1 status line: {first[:80]!r}")
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = fields.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or "transfer-encoding" in fields:
        raise ValueError("no valid Content-Length")
    return Head(int(code), int(length), fields.get("connection", "").lower() != "close")
