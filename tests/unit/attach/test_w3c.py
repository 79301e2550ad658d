"""W3C WebDriver: capability matching and the form of errors."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.attach import w3c
from drover.attach.w3c import creation_failure, failure, match
from drover.browser.capabilities.policy import Policy
from drover.core import errors
from drover.core.errors import (
    DroverError,
    ForbiddenCapability,
    InvalidRequest,
    SessionNotCreated,
    SessionNotFound,
)

OPTIONS = "goog:chromeOptions"
POLICY = Policy(platform="linux", node_label="a")


def matched(asked: object) -> tuple[dict[str, object], dict[str, object]]:
    checked, options = match(asked, POLICY)
    return dict(checked.capabilities), dict(options)


@pytest.mark.parametrize("asked", [{}, {"alwaysMatch": {}}, {"firstMatch": [{}]}, {"firstMatch": [{}, {}]}])
def test_a_request_without_special_capabilities_gets_the_defaults(asked: dict[str, object]) -> None:
    assert matched(asked) == ({}, {})


def test_always_match_is_merged_with_the_first_alternative_that_is_chrome() -> None:
    asked = {
        "alwaysMatch": {"pageLoadStrategy": "eager"},
        "firstMatch": [
            {"browserName": "firefox"},
            {"moz:firefoxOptions": {"args": ["-headless"]}},
            {"browserName": "chrome", "platformName": "plan9"},
            {"browserName": "Chrome", "platformName": "LINUX", "acceptInsecureCerts": True},
            {"browserName": "chrome", "acceptInsecureCerts": False},
        ],
    }
    assert matched(asked)[0] == {"pageLoadStrategy": "eager", "acceptInsecureCerts": True}


def test_an_alternative_for_another_browser_serves_if_there_is_no_better_one() -> None:
    checked, _ = match({"firstMatch": [{"moz:firefoxOptions": {}}, {"browserName": "firefox"}]}, POLICY)
    assert [one.name for one in checked.ignored] == ["moz:firefoxOptions"]


def test_an_alternative_for_another_node_is_skipped() -> None:
    asked = {"firstMatch": [{"drover:node": "b"}, {"drover:node": "a", "pageLoadStrategy": "none"}]}
    assert matched(asked)[0] == {"pageLoadStrategy": "none"}


def test_a_forbidden_alternative_is_skipped_for_an_allowed_one() -> None:
    asked = {"firstMatch": [{OPTIONS: {"debuggerAddress": "x:1"}}, {"pageLoadStrategy": "none"}]}
    assert matched(asked)[0] == {"pageLoadStrategy": "none"}


def test_null_counts_as_absent() -> None:
    asked = {"alwaysMatch": {"timeouts": None, "proxy": None}, "firstMatch": [{"timeouts": {"script": 1}}]}
    assert matched(asked)[0] == {"timeouts": {"script": 1}}


def test_drover_options_are_separated_from_the_capabilities() -> None:
    options = {"key": "account-17", "capabilities": {"pageLoadStrategy": "none"}}
    asked = {"alwaysMatch": {w3c.OPTIONS: options, "acceptInsecureCerts": True}}
    assert matched(asked) == (
        {"acceptInsecureCerts": True, "pageLoadStrategy": "none"},
        {"key": "account-17"},
    )


@pytest.mark.parametrize(
    "asked",
    [
        None,
        [],
        "chrome",
        {"alwaysMatch": []},
        {"alwaysMatch": None},
        {"firstMatch": []},
        {"firstMatch": {}},
        {"firstMatch": ["chrome"]},
        {"alwaysMatch": {"browserName": "chrome"}, "firstMatch": [{"browserName": "chrome"}]},
        {"alwaysMatch": {"timeouts": {"script": "soon"}}},
        {"alwaysMatch": {w3c.OPTIONS: "account-17"}},
        {"alwaysMatch": {w3c.OPTIONS: {"capabilities": {"proxy": {}}}, "proxy": {}}},
    ],
)
def test_malformed_capabilities_are_an_invalid_argument(asked: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        match(asked, POLICY)
    assert failure(refused.value).status == 400


@pytest.mark.parametrize(
    "asked",
    [
        {"alwaysMatch": {"browserName": "firefox"}},
        {"firstMatch": [{"browserName": "safari"}, {"platformName": "plan9"}]},
        {"alwaysMatch": {"platformName": "windows"}},
        {"alwaysMatch": {"drover:node": "b"}},
    ],
)
def test_a_request_for_another_browser_gets_no_session(asked: dict[str, object]) -> None:
    with pytest.raises(SessionNotCreated) as refused:
        match(asked, POLICY)
    answer = creation_failure(refused.value)
    assert (answer.status, json.loads(answer.body)["value"]["error"]) == (400, "session not created")


def test_a_forbidden_capability_is_refused_by_name_with_a_w3c_error() -> None:
    with pytest.raises(ForbiddenCapability) as refused:
        match({"alwaysMatch": {OPTIONS: {"args": ["--renderer-cmd-prefix=xterm"]}}}, POLICY)
    answer = creation_failure(refused.value)
    value = json.loads(answer.body)["value"]
    assert (answer.status, value["error"]) == (403, "session not created")
    assert "renderer-cmd-prefix" in value["message"]
    assert value["data"]["code"] == "forbidden_capability"


def tree(error: type[DroverError]) -> set[type[DroverError]]:
    return {error}.union(*(tree(below) for below in error.__subclasses__()))


@pytest.mark.parametrize("error", sorted(tree(DroverError), key=str))
@pytest.mark.parametrize("shape", [failure, creation_failure])
def test_every_error_has_the_w3c_form(error: type[DroverError], shape: Any) -> None:  # noqa: ANN401 - a function
    answer = shape(error("What happened; what to do"))
    value = json.loads(answer.body)["value"]
    assert set(value) == {"error", "message", "stacktrace", "data"}
    assert value["message"] == "What happened; what to do"
    assert value["error"] in {
        "invalid session id",
        "unknown command",
        "unknown method",
        "invalid argument",
        "session not created",
        "unknown error",
    }
    assert answer.status in {400, 401, 403, 404, 405, 409, 413, 415, 421, 500}


def test_a_missing_token_is_answered_with_a_challenge() -> None:
    assert dict(failure(errors.Unauthorized("no")).headers)[b"www-authenticate"]


def test_an_unknown_session_is_an_invalid_session_id() -> None:
    assert json.loads(failure(SessionNotFound("gone")).body)["value"]["error"] == "invalid session id"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_random_capabilities_are_matched_or_refused_and_never_fail(always: object, first: object) -> None:
    asked = {"alwaysMatch": always, "firstMatch": [first]}
    with suppress(InvalidRequest, ForbiddenCapability):
        checked, _ = match(asked, POLICY)
        assert isinstance(checked.capabilities, dict)
