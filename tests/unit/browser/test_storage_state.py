"""Saved states in the format of Playwright's `storageState`, there and back."""

from __future__ import annotations

import pytest

from drover.api.key_requests import LoginState
from drover.api.validation import validated
from drover.browser.saved_state import OriginStorage, SavedState
from drover.browser.storage_state import to_storage_state
from drover.core.errors import InvalidRequest

SAVED = SavedState(
    url="https://a.example/",
    cookies=(
        {
            "name": "session",
            "value": "1",
            "domain": "a.example",
            "path": "/",
            "expires": -1,
            "size": 8,
            "httpOnly": True,
            "secure": True,
            "session": True,
            "priority": "Medium",
            "sourceScheme": "Secure",
            "sourcePort": 443,
        },
        {
            "name": "lasting",
            "value": "é",
            "domain": ".a.example",
            "path": "/x",
            "expires": 1900000000.5,
            "httpOnly": False,
            "secure": False,
            "session": False,
            "sameSite": "Strict",
            "partitionKey": {"topLevelSite": "https://b.example", "hasCrossSiteAncestor": True},
        },
    ),
    origins={
        "https://a.example": OriginStorage({"theme": "dark"}, {"tab": "1"}),
        "https://b": OriginStorage({}, {}),
    },
)
STATE = {
    "cookies": [
        {
            "name": "session",
            "value": "1",
            "domain": "a.example",
            "path": "/",
            "expires": -1,
            "httpOnly": True,
            "secure": True,
            "sameSite": "Lax",
        },
        {
            "name": "lasting",
            "value": "é",
            "domain": ".a.example",
            "path": "/x",
            "expires": 1900000000.5,
            "httpOnly": False,
            "secure": False,
            "sameSite": "Strict",
            "partitionKey": "https://b.example",
            "_crHasCrossSiteAncestor": True,
        },
    ],
    "origins": [{"origin": "https://a.example", "localStorage": [{"name": "theme", "value": "dark"}]}],
}


def read(state: dict[str, object]) -> SavedState:
    return validated(LoginState, state, "field", strict=True).saved_state()


def test_a_saved_state_is_written_as_playwright_does() -> None:
    assert to_storage_state(SAVED) == STATE


def test_what_was_written_is_read_again() -> None:
    assert to_storage_state(read(STATE)) == STATE
    session, lasting = read(STATE).cookies
    assert session["session"]
    assert "expires" not in session
    assert lasting["partitionKey"] == {"topLevelSite": "https://b.example", "hasCrossSiteAncestor": True}


def test_a_login_may_be_empty_or_have_only_what_is_needed() -> None:
    assert read({}) == SavedState()
    found = read({"cookies": [{"name": "a", "value": "b", "domain": "c"}]})
    assert found.cookies[0]["path"] == "/"


@pytest.mark.parametrize(
    ("state", "field"),
    [
        ({"cookie": []}, "cookie"),
        ({"cookies": [{"name": "a", "value": "b"}]}, "cookies.0.domain"),
        ({"cookies": [{"name": "a", "value": "b", "domain": "c", "sameSite": "lax"}]}, "cookies.0.sameSite"),
        ({"origins": [{"origin": "file:///etc"}]}, "origins.0.origin"),
        ({"origins": [{"origin": "https://a", "indexedDB": [{"name": "x"}]}]}, "origins.0.indexedDB"),
    ],
)
def test_what_cannot_be_restored_is_refused_by_name(state: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(state)
    assert field in (refused.value.details or {})
