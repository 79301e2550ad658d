"""Plain requests: what is read without h11 is what h11 would read."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drover.server.plain_requests import MAX_HEAD_BYTES, read_plain

COMMAND = b"POST /wd/hub/session/a1/url HTTP/1.1"
JSON = b"Content-Type: application/json;charset=UTF-8"
HOST = b"Host: localhost:5010"


def head(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


@pytest.mark.parametrize(
    "lines",
    [
        (
            b"GET /wd/hub/session/a1/url HTTP/1.1",
            b"Host: 127.0.0.1:5010",
            b"Accept-Encoding: identity",
            b"Accept: application/json",
            JSON,
            b"User-Agent: selenium/4.51.0 (python linux)",
            b"Connection: keep-alive",
        ),
        (COMMAND, HOST, b"Content-Length: 21", JSON, b"Authorization: Bearer t0ken"),
        (b"DELETE /wd/hub/session/a1 HTTP/1.1", b"host:localhost", b"x-empty:", b"X-Request-ID:  a b\t "),
    ],
)
def test_the_heads_of_clients_are_plain(lines: tuple[bytes, ...]) -> None:
    request = read_plain(head(*lines) + b"{")
    assert request is not None
    assert request.head_bytes == len(head(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        (COMMAND,),
        (COMMAND, HOST, HOST),
        (COMMAND, HOST, b"Content-Length: 1", b"Content-Length: 1"),
        (COMMAND, HOST, b"Content-Length: 1, 1"),
        (COMMAND, HOST, b"Content-Length: +1"),
        (COMMAND, HOST, b"Content-Length: 0x1"),
        (COMMAND, HOST, b"Content-Length:"),
        (COMMAND, HOST, b"Transfer-Encoding: chunked"),
        (COMMAND, HOST, b"Content-Length: 3", b"transfer-encoding: identity"),
        (COMMAND, HOST, b"Expect: 100-continue"),
        (COMMAND, HOST, b"Upgrade: websocket"),
        (COMMAND, HOST, b"Connection: close"),
        (COMMAND, HOST, b"Connection: keep-alive, content-length"),
        (COMMAND, HOST, b"X : a"),
        (COMMAND, HOST, b" X: a"),
        (COMMAND, HOST, b"X: a", b" folded"),
        (COMMAND, HOST, b"X: a\rb"),
        (COMMAND, HOST, b"X: a\nContent-Length: 3"),
        (COMMAND, HOST, b"X: \x00"),
        (COMMAND, HOST, b"X: \xe9"),
        (COMMAND, HOST, b"no colon"),
        (COMMAND, HOST, b"X: " + b"a" * MAX_HEAD_BYTES),
        (b"", COMMAND, HOST),
        (b"GET /sessions HTTP/1.1", HOST),
        (b"GET /wd/hub/session/a1/url?a=b HTTP/1.1", HOST),
        (b"GET http://localhost/wd/hub/session/a1/url HTTP/1.1", HOST),
        (b"GET /wd/hub/session/a1/url HTTP/1.0", HOST),
        (b"GET /wd/hub/session/a1/url", HOST),
        (b"GET  /wd/hub/session/a1/url HTTP/1.1", HOST),
        (b"HEAD /wd/hub/session/a1/url HTTP/1.1", HOST),
        (b"get /wd/hub/session/a1/url HTTP/1.1", HOST),
    ],
)
def test_every_other_head_is_left_to_h11(lines: tuple[bytes, ...]) -> None:
    assert read_plain(head(*lines)) is None


def test_a_head_without_its_end_is_left_to_h11() -> None:
    whole = head(COMMAND, HOST)
    assert all(read_plain(whole[:end]) is None for end in range(len(whole)))


_NAMES = st.sampled_from(
    [b"Host", b"host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"X-A", b"X", b"X "]
)
_VALUES = st.one_of(
    st.sampled_from(
        [b"localhost", b"3", b"0", b"03", b"3,3", b"chunked", b"keep-alive", b"close", b"", b" a  b\t"]
    ),
    st.binary(max_size=6),
)
_LINES = st.builds(lambda name, value: name + b": " + value, _NAMES, _VALUES)
_TARGETS = st.sampled_from([b"/url", b"/a%2Fb", b"//url", b"/../x", b"", b"/x?y", b"/x#y", b"/x y", b"/\xe9"])


@given(
    st.sampled_from([b"GET", b"POST", b"DELETE", b"PUT", b"G T"]),
    _TARGETS,
    st.lists(_LINES, max_size=5),
    st.binary(max_size=6),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=2),
)
@example(b"POST", b"/url", [b"Content-Length: 3"], b"abcdef", [])
def test_what_is_plain_h11_reads_the_same_way(
    method: bytes, target: bytes, fields: list[bytes], body: bytes, changes: list[tuple[int, bytes]]
) -> None:
    sent = head(b"%b /wd/hub/session/a1%b HTTP/1.1" % (method, target), HOST, *fields) + body
    for place, instead in changes:
        sent = sent[:place] + instead + sent[place + len(instead) :]
    request = read_plain(sent)
    if request is None:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(sent[: request.head_bytes] + b"x" * request.length)
    read = connection.next_event()
    assert isinstance(read, h11.Request)
    assert (read.method.decode(), read.target) == (request.method, request.path)
    assert [(name.lower(), value) for name, value in read.headers] == list(request.headers)
    assert not connection.they_are_waiting_for_100_continue
    received = 0
    while isinstance(event := connection.next_event(), h11.Data):
        received += len(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert (received, connection.trailing_data[0]) == (request.length, b"")
    assert connection.our_state is h11.SEND_RESPONSE
