"""What a request names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drover.cluster.requests import Names, ends, is_history, is_look, named_in_body, names_of, with_session_id


def scope(method: str, path: str, query: str = "") -> dict[str, Any]:
    """Return the scope of a request."""
    return {"type": "http", "method": method, "path": path, "query_string": query.encode()}


def socket(path: str) -> dict[str, Any]:
    """Return the scope of a WebSocket."""
    return {"type": "websocket", "path": path, "query_string": b""}


@pytest.mark.parametrize(
    "path",
    [
        "/sessions/a",
        "/sessions/a/",
        "/sessions/a/live",
        "/wd/hub/session/a",
        "/wd/hub/session/a/element/x/click",
    ],
)
def test_a_path_of_a_session_names_it(path: str) -> None:
    assert names_of(scope("GET", path)) == Names(session_id="a")


@pytest.mark.parametrize(
    "path", ["/", "/sessions", "/health", "/wd/hub/status", "/wd/hub/sessions", "/nodes"]
)
def test_other_paths_concern_the_node_that_is_asked(path: str) -> None:
    assert names_of(scope("GET", path)) is None


@pytest.mark.parametrize("path", ["/sessions", "/sessions/", "/wd/hub/session", "/wd/hub/session/"])
def test_a_new_session_is_named_in_the_body(path: str) -> None:
    assert names_of(scope("POST", path)) == Names(creates=True)


def test_what_is_kept_for_a_key_is_asked_of_the_node_with_its_session_and_needs_no_browser() -> None:
    for method in ("GET", "PUT"):
        names = names_of(scope(method, "/keys/account%2017/state"))
        assert names == Names(key="account 17", needs_browser=False)
    assert names_of(scope("DELETE", "/keys/account%2017")) is None


def test_sockets_are_named_by_session_or_secret() -> None:
    assert names_of(socket("/sessions/a/cdp")) == Names(session_id="a")
    assert names_of(socket("/bidi/s3cret")) == Names(socket_secret="s3cret")
    assert names_of(socket("/cdp/s3cret")) == Names(socket_secret="s3cret")


def test_the_body_of_a_rest_request_names_id_and_key() -> None:
    body = json.dumps({"session_id": "a", "key": "k"}).encode()
    assert named_in_body(body) == Names("a", "k", creates=True)


@pytest.mark.parametrize("place", ["alwaysMatch", "firstMatch"])
def test_the_body_of_a_webdriver_request_names_them_in_its_options(place: str) -> None:
    options = {"drover:options": {"key": "k"}}
    capabilities = {place: [options] if place == "firstMatch" else options}
    body = json.dumps({"capabilities": capabilities}).encode()
    assert named_in_body(body) == Names(None, "k", creates=True)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"[" * 200_000, b"7", b'{"key": 7}', b'{"capabilities": []}'),
        *(b'{"key": "a\\u0000b"}', b'{"key": "\\ud800"}', b'{"session_id": "a\\u0000b"}'),
    ],
)
def test_what_is_malformed_names_nothing(body: bytes) -> None:
    assert named_in_body(body) == Names(creates=True)


@pytest.mark.parametrize("body", [{}, {"url": "https://x.example/"}])
def test_a_session_without_a_name_gets_one_before_it_is_made_elsewhere(body: dict[str, Any]) -> None:
    named = with_session_id(json.dumps(body).encode() if body else b"", "given", is_webdriver=False)
    assert json.loads(named) == {**body, "session_id": "given"}


@pytest.mark.parametrize("place", ["alwaysMatch", "firstMatch", "nowhere"])
def test_a_webdriver_session_gets_its_name_where_its_options_are(place: str) -> None:
    options = {"drover:options": {"url": "https://x.example/"}}
    sets = {"alwaysMatch": {"alwaysMatch": options}, "firstMatch": {"firstMatch": [options]}, "nowhere": {}}
    body = json.dumps({"capabilities": sets[place]}).encode()
    named = with_session_id(body, "given", is_webdriver=True)
    assert named_in_body(named) == Names(session_id="given", creates=True)
    assert ("https://x.example/" in named.decode()) == (place != "nowhere")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b"[" * 200_000,
        b'{"desiredCapabilities": {}}',
        b'{"capabilities": 1}',
        b'{"capabilities": {"alwaysMatch": {"drover:options": "none"}}}',
        b'{"capabilities": {"alwaysMatch": {"drover:options": [1]}}}',
    ],
)
def test_what_is_malformed_gets_no_name(body: bytes) -> None:
    assert with_session_id(body, "given", is_webdriver=True) == body


def test_only_the_deletion_of_a_whole_session_ends_it() -> None:
    assert ends(scope("DELETE", "/sessions/a"))
    assert ends(scope("DELETE", "/wd/hub/session/a/"))
    assert not ends(scope("DELETE", "/sessions/a/lease"))
    assert not ends(scope("DELETE", "/wd/hub/session/a/window"))
    assert not ends(scope("GET", "/sessions/a"))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_look_at_a_session_and_at_its_past_is_recognized(method: str) -> None:
    assert is_look(scope(method, "/sessions/a"))
    assert is_look(scope(method, "/sessions/a/screenshot/"))
    assert is_history(scope(method, "/sessions/a/history"))
    assert not is_look(scope("DELETE", "/sessions/a"))
    assert not is_look(scope(method, "/sessions/a/json/list"))
    assert not is_look(scope(method, "/wd/hub/session/a/url"))
    assert not is_history(scope("POST", "/sessions/a/history"))


def test_a_new_tab_is_opened_where_the_session_is() -> None:
    for method in ("PUT", "POST"):
        assert names_of(scope(method, "/sessions/a/json/new")) == Names(session_id="a")


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "TRACE"])
def test_what_no_route_takes_concerns_the_node_that_is_asked(method: str) -> None:
    assert names_of(scope(method, "/sessions/a")) is None
    assert names_of(scope(method, "/wd/hub/session/a/title")) is None
