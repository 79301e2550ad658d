"""The start on a kept profile, and what becomes of one that Chrome refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import Into, Restored, SavedState
from drover.browser.start_diagnostics import ChromeDied
from drover.core.errors import BrowserUnavailable
from drover.core.events import KeptProfileRefused
from drover.sessions.lifecycle.start_work import StartWork
from tests.unit.examples import RUNNING, EventRecorder, session

DIED = ChromeDied("Chrome exited")
UNAVAILABLE = BrowserUnavailable("ChromeDriver is missing")
SESSION = session(key="k", keeps_profile=True)


class World:
    """What is kept, and a Chrome that starts or fails.

    Args:
        results: What the starts raise, one after the other; None is a success.
        has_profile: Whether a profile is kept for the key.
        version: The version of Chrome that has used it last.
    """

    def __init__(
        self, *results: Exception | None, has_profile: bool = True, version: str | None = None
    ) -> None:
        self.results: Sequence[Exception | None] = results
        self.has_profile = has_profile
        self.version = version
        self.steps: list[str] = []
        self.into: Into | None = None
        self.heard = EventRecorder()

    def take_profile(self, _: object) -> bool:
        return self.has_profile

    def return_profile(self, _: object) -> None:
        self.steps.append("return")

    def refuse_profile(self, _: object) -> Path:
        self.steps.append("refuse")
        return Path("/data/k/aside")

    def profile_version(self, _: object) -> str | None:
        return self.version

    def start(self, *_: object, **options: object) -> tuple[RunningBrowser, CheckedCapabilities]:
        self.steps.append("start on kept" if options.get("on_kept_profile") else "start on new")
        result, *self.results = self.results
        if result is not None:
            raise result
        return RUNNING, CheckedCapabilities({})

    def run(self) -> bool:
        """Start, and return whether the browser runs on the kept profile."""
        steps = SimpleNamespace(wanted=lambda _: lambda: True)
        parts: list[Any] = [self, None, self, None, steps, self.heard]
        assert StartWork(*parts)._start(SESSION)[2] == Restored(SavedState())
        return self.into is Into.SAME_PROFILE

    def chrome_version(self, _: object) -> str:
        return "156.0.1"

    def kept_for(self, _: object) -> SavedState:
        return SavedState()

    def restore(self, _: object, state: SavedState, into: Into) -> Restored:
        self.into = into
        return Restored(state)

    @property
    def refused(self) -> list[str]:
        """The reasons that were told."""
        return [event.reason for event in self.heard.events if isinstance(event, KeptProfileRefused)]


def test_a_session_without_a_kept_profile_starts_on_a_new_one() -> None:
    world = World(None, has_profile=False)
    assert not world.run()
    assert world.steps == ["start on new"]


@pytest.mark.parametrize("version", [None, "", "155.0.1", "156.9.9", "nonsense"])
def test_a_session_starts_on_the_kept_profile(version: str | None) -> None:
    world = World(None, version=version)
    assert world.run()
    assert world.steps == ["start on kept"]


def test_a_profile_on_which_chrome_dies_is_set_aside_if_it_starts_on_a_new_one() -> None:
    world = World(DIED, None)
    assert not world.run()
    assert world.steps == ["start on kept", "return", "start on new", "refuse"]
    assert world.refused == ["Chrome dies on it"]


def test_a_profile_of_a_newer_chrome_is_set_aside_untouched() -> None:
    world = World(None, version="157.0.1")
    assert not world.run()
    assert world.steps == ["return", "start on new", "refuse"]
    assert world.refused == ["it was last used by Chrome 157.0.1, and 156.0.1 is installed"]


@pytest.mark.parametrize("results", [(UNAVAILABLE,), (DIED, DIED), (DIED, UNAVAILABLE)])
def test_a_profile_stays_kept_if_chrome_does_not_start_on_a_new_one_either(
    results: tuple[Exception, ...],
) -> None:
    world = World(*results)
    with pytest.raises(BrowserUnavailable):
        world.run()
    assert "refuse" not in world.steps
    assert world.refused == []
