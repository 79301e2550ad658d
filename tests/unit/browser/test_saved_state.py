"""Capturing and restoring the state of a browser, over a fake connection."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser import saved_state
from drover.browser.devtools_connection import Connection, DevToolsFailed, DevToolsRefused
from drover.browser.health import MAX_ADDRESS
from drover.browser.saved_state import (
    MAX_ORIGINS,
    PAGE_S,
    STORAGES_S,
    Into,
    OriginStorage,
    Restored,
    SavedState,
    capture,
    not_restored,
    origin_of,
    restore,
    storage_writes,
)
from drover.browser.storage_restore import How

TEXTS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
COOKIES = st.lists(st.dictionaries(st.sampled_from(["name", "value"]), st.text(max_size=5)), max_size=3)
STATES = st.builds(
    SavedState,
    url=st.none() | st.just("https://a.example/"),
    cookies=COOKIES.map(tuple),
    origins=st.dictionaries(st.text(max_size=8), st.builds(OriginStorage, TEXTS, TEXTS), max_size=3),
    window=st.just({"left": 1, "windowState": "maximized"}) | st.just({}),
    open=st.lists(st.text(max_size=8), max_size=2).map(tuple),
    pending=st.lists(st.text(max_size=8), max_size=2).map(tuple),
)


class Page:
    """A fake connection to a browser; `fails` names the commands that fail."""

    def __init__(self, **answers: object) -> None:
        self.answers: dict[str, Any] = {
            "Storage.getCookies": {"cookies": []},
            "Browser.getWindowForTarget": {"windowId": 3, "bounds": {"width": 800}},
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

    @contextmanager
    def serving_empty_pages(self, target: str) -> Iterator[None]:
        self.done.append((f"serve {target}", {}))
        yield
        self.done.append((f"served {target}", {}))

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.done]


def connection(page: Page) -> Connection:
    return cast("Connection", page)


def storages(**names: str) -> Callable[..., object]:
    """Answer with an origin of its own for each target."""

    def read(target: str, **_: object) -> object:
        held = {"origin": f"https://{names[target]}", "local": [["seen", target]], "session": []}
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
        ("https://a.example",),
    )


def test_a_page_that_is_not_a_web_page_is_not_captured() -> None:
    page = Page()
    state = capture(connection(page), [("P1", "chrome://version/")], SavedState())
    assert state.url is None
    assert "Runtime.evaluate" not in page.methods


def test_the_address_is_kept_while_a_document_replaces_another_one() -> None:
    before = SavedState("https://a.example/x")
    assert capture(connection(Page()), [("P1", "")], before).url == "https://a.example/x"
    assert capture(connection(Page()), [("P1", "about:blank")], before).url is None


@pytest.mark.parametrize(
    ("listed", "whole", "kept"),
    [
        ("data:text/html,<p>c", "data:text/html,<p>complete", "data:text/html,<p>complete"),
        ("file:///tmp/page.html", "file:///tmp/page.html", "file:///tmp/page.html"),
        ("data:text/html,x", "data:text/html," + "x" * MAX_ADDRESS, None),
        ("data:,", "data:,", None),
        ("blob:https://a.example/1", "blob:https://a.example/1", None),
        ("chrome-error://chromewebdata/", "chrome-error://chromewebdata/", None),
    ],
)
def test_the_address_of_a_local_page_is_captured_as_a_whole_or_not_at_all(
    listed: str, whole: str, kept: str | None
) -> None:
    page = Page(Target_getTargetInfo={"targetInfo": {"url": whole}})
    state = capture(connection(page), [("P1", listed)], SavedState())
    assert state.url == kept
    assert "Runtime.evaluate" not in page.methods


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"result": {}},
        {"result": {"value": None}},
        {"result": {"value": "no json"}},
        {"result": {"value": "[]"}},
        {"result": {"value": "[" * 200_000}},
        {"result": {"value": '{"origin": "https://a.example", "local": 1, "session": []}'}},
        {"result": {"value": '{"origin": "https://a.example", "local": [["a"]], "session": []}'}},
        {"result": {"value": '{"origin": "https://a.example", "local": [["a", {}]], "session": []}'}},
        {"result": {"value": '{"origin": "https://a.example", "local": [[1, "a"]], "session": []}'}},
    ],
)
def test_a_page_without_readable_storage_keeps_what_was_captured_before(answer: object) -> None:
    before = SavedState(origins={"https://a.example": OriginStorage({"a": "1"}, {})})
    page = Page(Runtime_evaluate=answer)
    assert capture(connection(page), [("P1", "https://a.example/")], before).origins == before.origins


def test_a_page_cannot_write_the_storage_of_another_origin() -> None:
    page = Page(Runtime_evaluate=storages(P1="bank.example"))
    assert capture(connection(page), [("P1", "https://hostile.example/")], SavedState()).origins == {}


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


def test_pages_that_do_not_answer_do_not_delay_the_save_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=PAGE_S)
    monkeypatch.setattr(saved_state, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    page = Page(Runtime_evaluate=storages(**{f"P{number}": f"{number}.example" for number in range(40)}))
    pages = [(f"P{number}", f"https://{number}.example/") for number in range(40)]
    state = capture(connection(page), pages, SavedState())
    assert page.methods.count("Runtime.evaluate") == STORAGES_S / PAGE_S
    assert list(state.origins) == ["https://1.example", "https://0.example"]


def test_everything_is_restored_before_the_page_is_opened() -> None:
    page = Page(Target_createTarget={"targetId": "P2"}, Runtime_evaluate={"result": {"value": True}})
    state = SavedState(
        "https://a.example/x",
        ({"name": "one", "value": "1", "session": True, "size": 4, "expires": -1},),
        {
            "https://a.example": OriginStorage({"a": "1"}, {"tab": "2"}),
            "https://b.example": OriginStorage({"b": "1"}, {"not": "of this tab"}),
        },
        {"width": 800, "windowState": "maximized"},
    )
    restored = restore(connection(page), "P1", state, Into.NEW_PROFILE)
    assert restored == Restored(state)
    assert page.methods == [
        "Storage.setCookies",
        "Target.createTarget",
        *("serve P2", "Page.navigate", "Runtime.evaluate", "Page.navigate", "Runtime.evaluate", "served P2"),
        "Target.closeTarget",
        "Browser.getWindowForTarget",
        "Browser.setWindowBounds",
        "Browser.setWindowBounds",
        *("serve P1", "Page.navigate", "Runtime.evaluate", "served P1"),
        "Page.navigate",
        "Page.resetNavigationHistory",
    ]
    assert page.done[0][1] == {"cookies": [{"name": "one", "value": "1"}]}
    visited = [(one["target"], one["url"]) for method, one in page.done if method == "Page.navigate"]
    assert visited == [
        ("P2", "https://a.example/"),
        ("P2", "https://b.example/"),
        ("P1", "https://a.example/"),
        ("P1", "https://a.example/x"),
    ]
    bounds = [one["bounds"] for method, one in page.done if method == "Browser.setWindowBounds"]
    assert bounds == [{"width": 800}, {"windowState": "maximized"}]


def test_the_page_is_opened_even_if_its_session_storage_could_not_be_written() -> None:
    page = Page()
    page.fails["Runtime.evaluate"] = DevToolsFailed("silent")
    state = SavedState("https://a.example/x", origins={"https://a.example": OriginStorage({}, {"tab": "2"})})
    with patch.object(page, "serving_empty_pages", side_effect=DevToolsFailed("refused")):
        restore(connection(page), "P1", state, Into.NEW_PROFILE)
    assert page.done[-2][1] == {"target": "P1", "url": "https://a.example/x"}
    assert page.methods[-1] == "Page.resetNavigationHistory"


def test_an_origin_that_is_not_reached_is_named_and_its_state_kept() -> None:
    page = Page(Target_createTarget={"targetId": "P2"})
    page.answers["Runtime.evaluate"] = lambda expression, **_: {
        "result": {"value": "https://bad.example" not in expression}
    }
    saved = {f"https://{name}.example": OriginStorage({"token": name}, {}) for name in ("good", "bad")}
    restored = restore(connection(page), "P1", SavedState(origins=saved), Into.NEW_PROFILE)
    assert restored.lost == ("storage:https://bad.example",)
    assert restored.state == SavedState(origins=saved, pending=("https://bad.example",))
    assert not restored.has_failed


def test_what_a_browser_has_not_received_outlives_the_next_saves() -> None:
    origin = "https://a.example"
    cookies = tuple({"name": name, "domain": "a", "path": "/", "value": "old"} for name in ("login", "theme"))
    state = SavedState(f"{origin}/x", cookies, {origin: OriginStorage({"token": "old", "seen": "old"}, {})})
    failed = not_restored(state)
    assert failed.lost == ("cookies", f"storage:{origin}")
    page = Page(Runtime_evaluate=storages(P1="a.example"))
    page.answers["Storage.getCookies"] = {"cookies": [cookies[1] | {"value": "new"}]}
    blank = capture(connection(page), [("P0", "about:blank")], failed.state)
    assert blank.url == f"{origin}/x"
    again = capture(connection(page), [("P1", f"{origin}/")], blank)
    # Of two values with one name the newer one is kept.
    assert again.origins[origin].local == {"token": "old", "seen": "P1"}
    assert {one["name"]: one["value"] for one in again.cookies} == {"login": "old", "theme": "new"}
    assert SavedState.from_json(again.to_json()).pending == ("cookies", origin)


@pytest.mark.parametrize(
    ("into", "hows"),
    [
        (Into.NEW_PROFILE, [How.OVERWRITE, How.OVERWRITE]),
        (Into.SAME_PROFILE, [How.REPLACE, How.ADD]),
        (Into.LIVING_BROWSER, []),
    ],
)
def test_nothing_old_replaces_what_may_be_newer(into: Into, hows: list[How]) -> None:
    saved = {name: OriginStorage({"token": name}, {}) for name in ("https://open", "https://left")}
    state = SavedState("https://open/", origins=saved, open=("https://open",))
    assert [write.how for write in storage_writes(state, into)] == hows


def test_a_state_of_an_earlier_version_has_the_page_in_front_open() -> None:
    text = '{"url": "https://a.example/x", "cookies": [], "origins": {}, "window": {}}'
    assert SavedState.from_json(text) == SavedState("https://a.example/x", open=("https://a.example",))


@given(st.sampled_from(["http", "https"]), st.sampled_from(["", "me:secret@"]), st.text("aB1", min_size=1))
def test_an_origin_is_written_as_pages_see_it(scheme: str, user: str, host: str) -> None:
    assert origin_of(f"{scheme}://{user}{host}:81/x?y#z") == f"{scheme}://{host.lower()}:81"


def test_a_site_that_does_not_answer_makes_nothing_lost() -> None:
    page = Page()
    page.fails["Page.navigate"] = DevToolsFailed("hangs")
    assert restore(connection(page), "P1", SavedState("https://a.example/"), Into.NEW_PROFILE).lost == ()


def test_a_persistent_cookie_keeps_its_expiry() -> None:
    page = Page()
    restore(
        connection(page),
        "P1",
        SavedState(cookies=({"name": "lasts", "session": False, "expires": 5}, {"name": "odd"})),
        Into.NEW_PROFILE,
    )
    assert page.done[0][1]["cookies"] == [{"name": "lasts", "expires": 5}, {"name": "odd"}]


def test_cookies_are_not_set_one_by_one_if_the_browser_does_not_answer() -> None:
    page = Page()
    page.fails["Storage.setCookies"] = DevToolsFailed("silent")
    with pytest.raises(DevToolsFailed):
        restore(
            connection(page), "P1", SavedState(cookies=({"name": "one"}, {"name": "two"})), Into.NEW_PROFILE
        )
    assert page.methods == ["Storage.setCookies"]


def test_the_page_is_opened_even_if_all_cookies_are_refused() -> None:
    page = Page()
    page.fails["Storage.setCookies"] = DevToolsRefused("Invalid cookie fields")
    state = SavedState("https://a.example/", ({"name": "one"}, {"name": "two"}))
    assert restore(connection(page), "P1", state, Into.NEW_PROFILE).lost == ("cookies",)
    assert page.methods.count("Storage.setCookies") == 3
    assert "Page.navigate" in page.methods
