"""Parsing of ChromeDriver's response heads: malformed input is refused, never misread."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.net.loopback_http import Head, parse_head


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("HTTP/1.1 200 OK", "Content-Length:14"), Head(200, 14, keep_alive=True)),
        (("HTTP/1.1 404 Not Found", "content-length: 0"), Head(404, 0, keep_alive=True)),
        (("HTTP/1.1 500", "CONTENT-LENGTH : 7", "Connection: close"), Head(500, 7, keep_alive=False)),
        (
            ("HTTP/1.1 200 OK", "X: a:b", "Content-Length: 3", "Connection: Close"),
            Head(200, 3, keep_alive=False),
        ),
    ],
)
def test_the_head_of_a_response_is_parsed(lines: tuple[str, ...], expected: Head) -> None:
    assert parse_head(head(*lines)) == expected


@pytest.mark.parametrize(
    "lines",
    [
        ("",),
        ("HTTP/1.0 200 OK", "Content-Length: 3"),
        ("HTTP/1.1 OK", "Content-Length: 3"),
        ("HTTP/1.1 2x0 OK", "Content-Length: 3"),
        ("HTTP/1.1 \u00b2\u00b2\u00b2 OK", "Content-Length: 3"),
        ("HTTP/1.1 101 Switching Protocols", "Content-Length: 0"),
        ("HTTP/1.1 099", "Content-Length: 0"),
        ("HTTP/1.1 999", "Content-Length: 0"),
        ("HTTP/1.1 200 OK",),
        ("HTTP/1.1 200 OK", "Content-Length: -1"),
        ("HTTP/1.1 200 OK", "Content-Length: \u00b2"),
        ("HTTP/1.1 200 OK", "Content-Length: 3", "Transfer-Encoding: chunked"),
        ("\x00\xff no http at all",),
    ],
)
def test_a_head_without_a_valid_length_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"status line|Content-Length"):
        parse_head(head(*lines))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_parsed_to_a_valid_length(junk: bytes) -> None:
    with suppress(ValueError):
        read = parse_head(junk)
        assert read.length >= 0
        assert 200 <= read.status <= 599


NAMES = st.text("abcxyz-", min_size=1, max_size=9)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)


@given(st.integers(200, 599), st.integers(0, 2**40), st.dictionaries(NAMES, VALUES))
def test_status_and_length_are_parsed_whatever_other_fields_there_are(
    status: int, length: int, others: dict[str, str]
) -> None:
    fields = [f"x-{name}: {value}" for name, value in others.items()]
    read = parse_head(head(f"HTTP/1.1 {status} Whatever", *fields, f"Content-Length: {length}"))
    assert read == Head(status, length, keep_alive=True)
