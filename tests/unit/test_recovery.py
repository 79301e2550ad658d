"""The ladder of recovery: the gentlest rung that holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from browser.health import Cause
from browser.launcher import Launcher
from browser.recovery import Method, bring_back
from browser.running import RunningBrowser
from deadline import Deadline
from errors import BrowserUnavailable, CleanupIncomplete, SessionLost
from processes.folders import SessionFolders
from tests.unit.examples import RUNNING, session

REATTACHED = replace(RUNNING, driver_url="http://127.0.0.1:2")
STARTED = replace(RUNNING, driver_url="http://127.0.0.1:3")
DRIVER_CAUSES = [Cause.DRIVER_GONE, Cause.DRIVER_HUNG]
BROWSER_CAUSES = [Cause.BROWSER_GONE, Cause.BROWSER_HUNG]


class Ladder:
    """Launcher and folders in one, which note each step, and fail at those that they are told to."""

    def __init__(self, **failures: Exception) -> None:
        self.steps: list[str] = []
        self._failures = failures

    def _step(self, name: str, result: Any = None) -> Callable[..., Any]:  # noqa: ANN401
        def step(*_: object) -> Any:  # noqa: ANN401
            self.steps.append(name)
            if name in self._failures:
                raise self._failures[name]
            return result

        return step

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._step(name, {"reattach": REATTACHED, "start": STARTED}.get(name))

    def climb(self, cause: Cause) -> tuple[RunningBrowser, Method]:
        both = session()
        launcher, folders = cast("Launcher", self), cast("SessionFolders", self)
        return bring_back(
            launcher, folders, both.folder, RUNNING, both.capabilities, cause, Deadline(60), lambda: True
        )


@pytest.mark.parametrize("cause", DRIVER_CAUSES)
def test_a_browser_that_outlived_its_driver_gets_a_new_one(cause: Cause) -> None:
    ladder = Ladder()
    assert ladder.climb(cause) == (REATTACHED, Method.REATTACHED)
    assert ladder.steps == ["reattach"]


@pytest.mark.parametrize("cause", BROWSER_CAUSES)
def test_a_dead_browser_is_replaced_after_all_of_it_is_ended_and_its_folder_emptied(cause: Cause) -> None:
    ladder = Ladder()
    assert ladder.climb(cause) == (STARTED, Method.RECREATED)
    assert ladder.steps == ["stop", "reset", "start"]


@pytest.mark.parametrize("cause", DRIVER_CAUSES)
def test_where_nothing_is_left_to_attach_to_a_new_browser_is_started(cause: Cause) -> None:
    ladder = Ladder(reattach=BrowserUnavailable("gone as well"))
    assert ladder.climb(cause) == (STARTED, Method.RECREATED)
    assert ladder.steps == ["reattach", "stop", "reset", "start"]


def test_a_session_that_is_not_wanted_any_more_gets_nothing_new() -> None:
    ladder = Ladder(reattach=SessionLost("closed"))
    with pytest.raises(SessionLost):
        ladder.climb(Cause.DRIVER_GONE)
    assert ladder.steps == ["reattach"]


def test_no_new_browser_is_started_beside_dead_parts_that_cannot_be_ended() -> None:
    ladder = Ladder(stop=CleanupIncomplete("PID 1 survived"))
    with pytest.raises(CleanupIncomplete):
        ladder.climb(Cause.BROWSER_HUNG)
    assert ladder.steps == ["stop"]


def test_when_no_rung_holds_the_last_reason_is_told() -> None:
    ladder = Ladder(reattach=BrowserUnavailable("first"), start=BrowserUnavailable("second"))
    with pytest.raises(BrowserUnavailable, match="second"):
        ladder.climb(Cause.DRIVER_GONE)
