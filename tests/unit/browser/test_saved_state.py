"""Capturing and restoring the state of a browser, over a fake connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser.devtools_connection import Connection, DevToolsFailed, DevToolsRefused
from drover.browser.saved_state import MAX_ORIGINS, OriginStorage, SavedState, capture, restore

TEXTS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
COOKIES = st.lists(st.dictionaries(st.sampled_from(["name", "value"]), st.text(max_size=5)), max_size=3)
STATES = st.builds(
    SavedState,
    url=st.none() | st.just("https://a.example/"),
    cookies=COOKIES.map(tuple),
    origins=st.dictionaries(st.text(max_size=8), st.builds(OriginStorage, TEXTS, TEXTS), max_size=3),
    window=st.just({"left": 1, "windowState": "maximized"}) | st.just({}),
)


class Page:
    """A fake connection to a browser; `fails` names the commands that fail."""

    def __init__(self, **answers: object) -> None:
        self.answers: dict[str, Any] = {
            "Storage.getCookies": {"cookies": []},
            "Browser.getWindowForTarget": {"windowId": 3, "bounds": {"width": 800}},
            "Page.addScriptToEvaluateOnNewDocument": {"identifier": "7"},
        } | {name.replace("_", "."): answer for name, answer in answers.items()}
        self.fails: dict[str, Exception] = {}
        self.done: list[tuple[str, dict[str, Any]]] = []

    def call(self, method: str, timeout: float, **parameters: object) -> object:
        self.done.append((method, parameters))
        if method in self.fails:
            raise self.fails[method]
        answer = self.answers.get(method, {})
        return answer(**parameters) if callable(answer) else answer

    def call_page(self, target: str, method: str, timeout: float, **parameters: object) -> object:
        return self.call(method, timeout, target=target, **parameters)

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.done]


def connection(page: Page) -> Connection:
    return cast("Connection", page)


def storages(**names: str) -> Callable[..., object]:
    """Answer with an origin of its own for each target."""

    def read(target: str, **_: object) -> object:
        held = {"origin": f"https://{names[target]}", "local": {"seen": target}, "session": {}}
        return {"result": {"value": json.dumps(held)}}

    return read


@given(STATES)
def test_a_state_survives_as_text(state: SavedState) -> None:
    again = SavedState.from_json(state.to_json())
    assert again == state
    assert again.to_json() == state.to_json()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '"x"', '{"url": null, "cookies": 5, "origins": {}, "window": {}}']
)
def test_a_text_that_is_not_a_state_is_rejected(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of JSON itself, or ours
        SavedState.from_json(text)


def test_cookies_address_storage_and_window_are_captured() -> None:
    page = Page(Runtime_evaluate=storages(P1="a.example"))
    page.answers["Storage.getCookies"] = {"cookies": [{"name": "login"}]}
    state = capture(connection(page), [("P1", "https://a.example/x")], SavedState())
    assert state == SavedState(
        "https://a.example/x",
        ({"name": "login"},),
        {"https://a.example": OriginStorage({"seen": "P1"}, {})},
        {"width": 800},
    )


def test_a_page_that_is_not_a_web_page_is_not_captured() -> None:
    page = Page()
    state = capture(connection(page), [("P1", "chrome://version/")], SavedState())
    assert state.url is None
    assert "Runtime.evaluate" not in page.methods


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"result": {}},
        {"result": {"value": None}},
        {"result": {"value": "no json"}},
        {"result": {"value": "[]"}},
    ],
)
def test_a_page_without_readable_storage_keeps_what_was_captured_before(answer: object) -> None:
    before = SavedState(origins={"https://a.example": OriginStorage({"a": "1"}, {})})
    page = Page(Runtime_evaluate=answer)
    assert capture(connection(page), [("P1", "https://a.example/")], before).origins == before.origins


def test_the_page_in_front_is_never_dropped_at_the_limit_of_origins() -> None:
    old = {f"https://{number}.example": OriginStorage({}, {}) for number in range(MAX_ORIGINS)}
    before = SavedState(origins={"https://front": OriginStorage({}, {}), **old})
    page = Page(Runtime_evaluate=storages(P1="front", P2="behind"))
    state = capture(connection(page), [("P1", "https://front/"), ("P2", "https://behind/")], before)
    assert len(state.origins) == MAX_ORIGINS
    assert list(state.origins)[-2:] == ["https://behind", "https://front"]


def test_capturing_from_a_browser_that_does_not_answer_raises() -> None:
    page = Page()
    page.fails["Storage.getCookies"] = DevToolsFailed("gone")
    with pytest.raises(DevToolsFailed):
        capture(connection(page), [("P1", "https://a.example/")], SavedState())


def test_everything_is_restored_before_the_page_is_opened_and_the_script_is_removed() -> None:
    page = Page()
    state = SavedState(
        "https://a.example/",
        ({"name": "one", "value": "1", "session": True, "size": 4, "expires": -1},),
        {"https://a.example": OriginStorage({"a": "1"}, {})},
        {"width": 800, "windowState": "maximized"},
    )
    restore(connection(page), "P1", state)
    assert page.methods == [
        "Storage.setCookies",
        "Browser.getWindowForTarget",
        "Browser.setWindowBounds",
        "Browser.setWindowBounds",
        "Page.enable",
        "Page.addScriptToEvaluateOnNewDocument",
        "Page.navigate",
        "Page.removeScriptToEvaluateOnNewDocument",
    ]
    assert page.done[0][1] == {"cookies": [{"name": "one", "value": "1"}]}
    assert page.done[3][1]["bounds"] == {"windowState": "maximized"}


def test_the_script_is_removed_even_if_the_page_does_not_open() -> None:
    page = Page()
    page.fails["Page.navigate"] = DevToolsFailed("hangs")
    with pytest.raises(DevToolsFailed):
        restore(connection(page), "P1", SavedState("https://a.example/"))
    assert page.methods[-1] == "Page.removeScriptToEvaluateOnNewDocument"


def test_a_persistent_cookie_keeps_its_expiry() -> None:
    page = Page()
    restore(
        connection(page),
        "P1",
        SavedState(cookies=({"name": "lasts", "session": False, "expires": 5}, {"name": "odd"})),
    )
    assert page.done[0][1]["cookies"] == [{"name": "lasts", "expires": 5}, {"name": "odd"}]


def test_cookies_are_not_set_one_by_one_if_the_browser_does_not_answer() -> None:
    page = Page()
    page.fails["Storage.setCookies"] = DevToolsFailed("silent")
    with pytest.raises(DevToolsFailed):
        restore(connection(page), "P1", SavedState(cookies=({"name": "one"}, {"name": "two"})))
    assert page.methods == ["Storage.setCookies"]


def test_the_page_is_opened_even_if_all_cookies_are_refused() -> None:
    page = Page()
    page.fails["Storage.setCookies"] = DevToolsRefused("Invalid cookie fields")
    restore(connection(page), "P1", SavedState("https://a.example/", ({"name": "one"}, {"name": "two"})))
    assert page.methods.count("Storage.setCookies") == 3
    assert "Page.navigate" in page.methods
