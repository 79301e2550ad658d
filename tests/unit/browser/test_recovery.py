"""Recovery: the order of its methods, and the steps of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from drover.browser import recovery
from drover.browser.devtools import BrowserSignals, DevTools, DevToolsFailed
from drover.browser.health import Cause, Page
from drover.browser.launcher import Launcher
from drover.browser.recovery import Method, Recoverer, RecoveryContext
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import SavedState
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, CleanupIncomplete, SessionLost
from drover.storage.session_folders import SessionFolders
from tests.unit.examples import RUNNING, session

REATTACHED = replace(RUNNING, driver_url="http://127.0.0.1:2")
STARTED = replace(RUNNING, driver_url="http://127.0.0.1:3")
GONE = BrowserUnavailable("gone")
LIVING = [Cause.DRIVER_GONE, Cause.DRIVER_HUNG, Cause.TAB_CRASHED]
DEAD = [Cause.BROWSER_GONE, Cause.BROWSER_HUNG, Cause.WINDOW_GONE]
SAVED = cast("SavedState", object())


class FakeBrowserParts:
    """A fake launcher, DevTools and folders in one: records each step, and fails at the configured ones.

    A step with a list of failures has one for each call; None is a success.
    """

    def __init__(self, **failures: Exception | list[Exception | None]) -> None:
        self.steps: list[str] = []
        self._failures = {
            name: list(given) if isinstance(given, list) else [given] * 9 for name, given in failures.items()
        }
        self.seen = BrowserSignals(crashed_pages=("P1", "P2"))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        results = {"reattach": REATTACHED, "start": STARTED, "of": self}

        def step(*_: object) -> Any:  # noqa: ANN401
            if name not in {"of", "forget"}:
                self.steps.append(name)
            failures = self._failures.get(name)
            failure = failures.pop(0) if failures else None
            if failure is not None:
                raise failure
            return results.get(name)

        return step

    def recover(self, cause: Cause, state: SavedState | None = None) -> tuple[RunningBrowser, Method]:
        dead = session()
        context = RecoveryContext(dead.folder, dead.capabilities, RUNNING, cause, state)
        recoverer = Recoverer(cast("Launcher", self), cast("DevTools", self), cast("SessionFolders", self))
        return recoverer.recover(context, Deadline(60), lambda: True)


@pytest.fixture(autouse=True)
def _pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drover.browser.health.pages", lambda *_: (Page("P9", "data:,"),))
    monkeypatch.setattr(recovery, "restore", lambda connection, *_: connection.restore())


@pytest.mark.parametrize("cause", [Cause.DRIVER_GONE, Cause.DRIVER_HUNG])
def test_a_browser_that_outlived_its_driver_gets_a_new_one(cause: Cause) -> None:
    parts = FakeBrowserParts()
    assert parts.recover(cause, SAVED) == (REATTACHED, Method.REATTACHED)
    assert parts.steps == ["reattach"]


def test_crashed_tabs_are_reloaded_before_the_new_driver_attaches() -> None:
    parts = FakeBrowserParts()
    assert parts.recover(Cause.TAB_CRASHED) == (REATTACHED, Method.REATTACHED)
    assert parts.steps == ["reload_page", "reload_page", "reattach"]


def test_a_tab_that_cannot_be_reloaded_needs_a_new_browser() -> None:
    parts = FakeBrowserParts(reload_page=DevToolsFailed("hangs"))
    assert parts.recover(Cause.TAB_CRASHED) == (STARTED, Method.RESTORED)
    assert parts.steps == ["reload_page", "stop", "keep_profile", "start"]


@pytest.mark.parametrize("cause", DEAD)
def test_a_dead_browser_is_ended_completely_and_replaced_by_one_on_its_profile(cause: Cause) -> None:
    parts = FakeBrowserParts()
    assert parts.recover(cause, SAVED) == (STARTED, Method.RESTORED)
    assert parts.steps == ["stop", "keep_profile", "start", "restore"]


@pytest.mark.parametrize("cause", LIVING)
def test_a_new_browser_is_started_if_the_browser_is_gone(cause: Cause) -> None:
    parts = FakeBrowserParts(reattach=BrowserUnavailable("gone as well"))
    assert parts.recover(cause) == (STARTED, Method.RESTORED)
    assert parts.steps[-3:] == ["stop", "keep_profile", "start"]


@pytest.mark.parametrize(("state", "method"), [(SAVED, Method.RESTORED), (None, Method.RECREATED)])
def test_a_profile_on_which_no_browser_starts_is_reset(state: SavedState | None, method: Method) -> None:
    parts = FakeBrowserParts(start=[GONE, None])
    assert parts.recover(Cause.BROWSER_GONE, state) == (STARTED, method)
    assert [step for step in parts.steps if step != "restore"] == [
        *("stop", "keep_profile", "start"),
        *("stop", "reset", "start"),
    ]


def test_a_failed_restore_into_an_empty_profile_is_not_reported_as_restored() -> None:
    parts = FakeBrowserParts(start=[GONE, None], restore=DevToolsFailed("busy"))
    assert parts.recover(Cause.BROWSER_GONE, SAVED) == (STARTED, Method.RECREATED)


def test_an_unwanted_session_is_not_recovered() -> None:
    parts = FakeBrowserParts(reattach=SessionLost("closed"))
    with pytest.raises(SessionLost):
        parts.recover(Cause.DRIVER_GONE)
    assert parts.steps == ["reattach"]


def test_no_new_browser_is_started_if_the_old_processes_cannot_be_ended() -> None:
    parts = FakeBrowserParts(stop=CleanupIncomplete("PID 1 survived"))
    with pytest.raises(CleanupIncomplete):
        parts.recover(Cause.BROWSER_HUNG)
    assert parts.steps == ["stop"]


def test_if_every_method_fails_the_last_error_is_raised() -> None:
    parts = FakeBrowserParts(reattach=GONE, start=[BrowserUnavailable("second"), BrowserUnavailable("third")])
    with pytest.raises(BrowserUnavailable, match="third"):
        parts.recover(Cause.DRIVER_GONE)
