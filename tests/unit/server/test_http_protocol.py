"""h11's patterns, changed so that no head takes long: they match what h11's own match."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import h11
import pytest
from h11 import _readers
from hypothesis import given
from hypothesis import strategies as st

from drover.server.http_protocol import match_in_linear_time
from drover.server.plain_requests import MAX_HEAD_BYTES, read_plain

FIELD, CHUNK = _readers.header_field_re, _readers.chunk_header_re
SPACES = 50_000
"""They take h11's own patterns half a minute."""
HEAD = b"POST /wd/hub/session/a/url HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def linear() -> Iterator[None]:
    match_in_linear_time()
    yield
    _readers.header_field_re, _readers.chunk_header_re = FIELD, CHUNK


@pytest.mark.parametrize(
    "rest",
    [
        b"X:" + b" " * SPACES + b"\x0b\r\n\r\n",
        b"X: a" + b"\t " * (SPACES // 2) + b"\x0b\r\n\r\n",
        b"X:" + b"\r\n " * (SPACES // 2) + b"\x0b\r\n\r\n",
        CHUNKED + b"3;" + b" " * SPACES + b"\n\r\n",
    ],
    ids=["field", "after a value", "folded field", "chunk"],
)
def test_a_line_that_is_mostly_white_space_is_refused_at_once(rest: bytes) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(HEAD + rest)
    begun = time.process_time()
    with pytest.raises(h11.RemoteProtocolError):
        _ = [connection.next_event() for _ in range(3)]
    assert time.process_time() - begun < 1


def test_a_head_that_is_mostly_white_space_is_left_to_h11_at_once() -> None:
    spaces = b" " * (MAX_HEAD_BYTES - 200)
    begun = time.process_time()
    assert read_plain(HEAD + b"X:" + spaces + b"\x0b\r\n\r\n") is None
    assert time.process_time() - begun < 0.1


_PIECES = st.sampled_from([b"X", b"5", b":", b";", b" ", b"\t", b"  ", b"\r", b"\n", b"\r\n", b"\xe9"])


@pytest.mark.parametrize("begin", [b"", b"X:", b"5"])
@given(parts=st.lists(_PIECES, max_size=10))
def test_what_matches_is_unchanged(begin: bytes, parts: list[bytes]) -> None:
    text = begin + b"".join(parts)
    assert _groups(_readers.header_field_re, text) == _groups(FIELD, text)
    assert _size(_readers.chunk_header_re, text) == _size(CHUNK, text)


def _groups(pattern: re.Pattern[bytes], text: bytes) -> dict[str, bytes] | None:
    match = pattern.fullmatch(text)
    return None if match is None else match.groupdict()


def _size(pattern: re.Pattern[bytes], text: bytes) -> bytes | None:
    match = pattern.fullmatch(text)
    return None if match is None else match["chunk_size"]
