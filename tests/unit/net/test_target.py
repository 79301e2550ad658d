"""The one reading of a request's target."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drover.core.errors import InvalidRequest, NotFound
from drover.net.target import encoded, read_target, segment_text

# As h11 accepts them.
TARGETS = st.lists(
    st.one_of(
        st.sampled_from(
            [b"/", b"//", b".", b"..", b"%2f", b"%2E", b"%5c", b"\\", b"%", b"%zz", b"%ff", b"?", b"#"]
        ),
        st.sampled_from([b"wd", b"hub", b"session", b"goog", b"%67oog", b"cdp", b"execute", b"http://a"]),
        st.integers(0x21, 0x7E).map(lambda code: bytes([code])),
        st.integers(0, 255).map(lambda code: b"%%%02x" % code),
    ),
    max_size=12,
).map(lambda parts: b"/" + b"".join(parts))


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        (b"/", "/"),
        (b"/sessions/", "/sessions/"),
        (b"/sessions?recover=false", "/sessions"),
        (b"/%73essions/%61%2d%7E", "/sessions/a-~"),
        (b"/wd/hub/session/a/goog%2fcdp/execute", "/wd/hub/session/a/goog%2Fcdp/execute"),
        (b"/wd/hub/session/a/cookie/b%2Bc+d", "/wd/hub/session/a/cookie/b%2Bc+d"),
        (b"/a%5cb", "/a%5Cb"),
        (b"/a%252fb", "/a%252fb"),
        (b"/sessions/...", "/sessions/..."),
        (b"/se%CC%81sions", "/se%CC%81sions"),
        (b"/a/%00", "/a/%00"),
    ],
)
def test_a_path_has_one_form(sent: bytes, path: str) -> None:
    read = read_target(sent)
    assert (read.path, read.host, read.refusal) == (path, None, None)


@pytest.mark.parametrize(
    "sent",
    [
        b"//sessions",
        b"/wd/hub//session",
        b"/sessions//",
        b"/sessions/./a",
        b"/sessions/..",
        b"/wd/hub/session/a/%2e%2E/b/url",
        b"/wd/hub/session/a/%2e/url",
        b"/sessions\\a",
    ],
)
def test_what_programs_on_the_way_may_resolve_is_not_found(sent: bytes) -> None:
    assert isinstance(read_target(sent).refusal, NotFound)


@pytest.mark.parametrize(
    "sent", [b"/%", b"/a%2", b"/a%zz", b"/%ff", b"/%ed%a0%80", b"/a#b", b"*", b"localhost:80"]
)
def test_what_is_no_path_is_invalid(sent: bytes) -> None:
    assert isinstance(read_target(sent).refusal, InvalidRequest)


@pytest.mark.parametrize(
    ("sent", "path", "host"),
    [
        (b"http://localhost:5010/health", "/health", b"localhost:5010"),
        (b"http://localhost:5010", "/", b"localhost:5010"),
        (b"http://[::1]:5010/a%20b?x=1", "/a%20b", b"[::1]:5010"),
        (b"HTTPS://me:secret@drover.example/", "/", b"drover.example"),
        (b"http://localhost?x=1", "/", b"localhost"),
        (b"/http://localhost:5010/health", "/http://localhost:5010/health", None),
    ],
)
def test_an_absolute_target_counts_as_path_and_host(sent: bytes, path: str, host: bytes | None) -> None:
    read = read_target(sent)
    assert (read.path, read.host) == (path, host)


@given(TARGETS)
@example(b"/%2f%2F")
def test_no_path_that_is_accepted_can_be_read_differently(sent: bytes) -> None:
    read = read_target(sent)
    if read.refusal is not None:
        return
    assert read == read_target(read.path.encode()), "its form is stable"
    assert unquote_to_bytes(read.path) == unquote_to_bytes(sent.partition(b"?")[0]), "it says what was sent"
    first, *segments = read.path.split("/")
    assert first == ""
    assert len(segments) == sent.partition(b"?")[0].count(b"/"), "no escaped slash became one"
    for number, segment in enumerate(segments):
        text = segment_text(segment)
        assert segment not in {".", ".."}
        assert text or number == len(segments) - 1
        assert "\\" not in segment
        if text.replace("/", "").isalnum() and text.isascii() and "/" not in text:
            assert segment == text, "a plain word has one spelling"


@given(TARGETS)
def test_every_target_has_a_path_that_says_who_has_to_answer(sent: bytes) -> None:
    read = read_target(sent)
    assert read.path.isascii()
    assert read.path.startswith("/") or read.refusal is not None


@given(st.lists(st.text(min_size=1).filter(lambda text: text not in {".", ".."}), min_size=1))
def test_a_segment_stands_for_the_text_that_was_sent(texts: list[str]) -> None:
    texts = [text for text in texts if text.isprintable()] or ["x"]
    sent = "/" + "/".join(encoded(text).decode().replace("/", "%2F") for text in texts)
    read = read_target(sent.encode())
    assert read.refusal is None
    assert [segment_text(one) for one in read.path[1:].split("/")] == texts
