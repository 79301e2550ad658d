"""Recovery: the order of its methods, the steps of each, and what a failure at any step leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser import recovery
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.health import Cause, Page
from drover.browser.launcher import Launcher
from drover.browser.reattach import Attachment, Reattached, Reattacher
from drover.browser.recovery import Method, Recovered, Recoverer, RecoveryContext
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import OriginStorage, Restored, SavedState
from drover.browser.start_diagnostics import ChromeDied
from drover.browser.survival import BrowserGone, BrowserLives
from drover.core.deadline import Deadline
from drover.core.errors import (
    AtCapacity,
    BrowserLeftAlone,
    BrowserUnavailable,
    CleanupIncomplete,
    DroverError,
    SessionLost,
)
from drover.processes.table import ProcessIdentity
from drover.storage.profiles import Profiles
from tests.unit.examples import RUNNING, session

SAVED = SavedState(cookies=({"name": "login"},), origins={"https://a": OriginStorage({"token": "1"}, {})})
OLD, NEW = "the client's profile", "a new profile"
DIED = ChromeDied("Chrome instance exited")
LOST = SessionLost("closed")
UNAVAILABLE = BrowserUnavailable("ChromeDriver is missing")
SURVIVED = CleanupIncomplete("PID 1 survived")

Failures = dict[str, list[Exception | None]]


@dataclass
class World:
    """A session's processes and profile, and every collaborator of a recovery, which may fail at any step.

    Attributes:
        answers: Whether the browser has its pid, start time and GUID; None if it cannot be asked.
        failures: The errors of the calls of each step, one after the other; None is a success.
        steps: The steps that were begun.
        drivers: The ChromeDrivers that run.
        browsers: The browsers that run.
        ended_alive: Whether a browser was ended that would have answered.
        profile: What is in the place of the profile; None if it is missing.
        aside: The profile that was set aside.
        dies_meanwhile: Whether the browser dies while ChromeDriver attaches to it.
        is_blank: Whether the browser had no window left.
        memory_is_short: Whether there is not enough memory for a browser.
    """

    answers: bool | None = True
    failures: Failures = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    drivers: set[ProcessIdentity] = field(default_factory=set)
    browsers: set[ProcessIdentity] = field(default_factory=lambda: {RUNNING.browser})
    ended_alive: bool = False
    profile: str | None = OLD
    aside: str | None = None
    dies_meanwhile: bool = False
    is_blank: bool = False
    memory_is_short: bool = False

    def step(self, name: str) -> None:
        """Begin a step, which fails if that is configured."""
        self.steps.append(name)
        failure = self.failures[name].pop(0) if self.failures.get(name) else None
        if failure is not None:
            raise failure

    def examine(self, running: RunningBrowser, _: Cause) -> BrowserLives | BrowserGone:
        self.step("examine")
        if self.answers is None:
            raise BrowserUnavailable("too many open files")
        lives = self.answers and running.browser in self.browsers
        return BrowserLives() if lives else BrowserGone("Chrome's process has ended")

    def reattach(self, attachment: Attachment, *_: object) -> Reattached:
        if self.dies_meanwhile:
            self.browsers.discard(attachment.running.browser)
        self.step("reattach")
        if attachment.running.browser not in self.browsers:
            raise BrowserUnavailable("Chrome does not answer")
        driver = ProcessIdentity(5000 + len(self.steps), 1.0)
        self.drivers.add(driver)
        return Reattached(replace(attachment.running, driver=driver), ("dialog:alert",), self.is_blank)

    def start(self, *_: object, **__: object) -> RunningBrowser:
        self.step("start")
        number = 6000 + len(self.steps)
        driver, browser = ProcessIdentity(number, 1.0), ProcessIdentity(number, 2.0)
        self.drivers.add(driver)
        self.browsers.add(browser)
        return replace(RUNNING, driver=driver, browser=browser, browser_guid=f"guid-{number}")

    def stop(self, _: object, running: RunningBrowser | None) -> None:
        self.step("stop")
        if running is not None and running.browser == RUNNING.browser and self.answers is not False:
            self.ended_alive |= running.browser in self.browsers
        self.drivers.clear()
        self.browsers.clear()

    def end_drivers(self, _: object, running: RunningBrowser) -> None:
        self.step("end_drivers")
        self.drivers.discard(running.driver)

    def prepare(self, _: object) -> bool:
        self.step("prepare")
        self.profile = self.profile or NEW
        return self.profile == OLD

    def accept(self, _: object) -> None:
        self.step("accept")

    @contextmanager
    def replaced(self, _: object) -> Iterator[World]:
        self.step("replaced")
        old, self.profile, self.aside = self.profile, NEW, None
        try:
            yield self
        finally:
            if self.aside is None:
                self.profile = old
            else:
                self.aside = old

    def keep(self) -> Path:
        self.step("keep")
        self.aside = "kept"
        return Path("/data/s/x/p.1")

    def of(self, _: object) -> World:
        return self

    def restore(self, state: SavedState) -> Restored:
        self.step("restore")
        return Restored(state)

    def await_memory(self, *_: object) -> None:
        if self.memory_is_short:
            raise AtCapacity("No browser can start: only 100 MB of memory are available")

    def forget(self, _: object) -> None:
        """Do nothing."""

    def recoverer(self) -> Recoverer:
        return Recoverer(
            cast("Launcher", self),
            cast("Reattacher", self),
            cast("DevTools", self),
            cast("Profiles", self),
            self.examine,
            self.await_memory,
        )

    def recover(self, cause: Cause, state: SavedState | None = None) -> Recovered:
        return self.recoverer().recover(context(cause, state), Deadline(60), lambda: True)


def context(cause: Cause, state: SavedState | None = None) -> RecoveryContext:
    dead = session()
    return RecoveryContext(dead.folder, dead.capabilities, RUNNING, cause, state)


@pytest.fixture(autouse=True)
def _pages() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("drover.browser.health.pages", lambda *_: (Page("P9", "data:,"),))
        patched.setattr(recovery, "restore", lambda connection, _, state, __: connection.restore(state))
        yield


@pytest.mark.parametrize("cause", list(Cause))
def test_a_browser_that_lives_gets_a_new_driver_whatever_was_found(cause: Cause) -> None:
    world = World()
    recovered = world.recover(cause, SAVED)
    assert (recovered.method, recovered.lost) == (Method.REATTACHED, ("dialog:alert",))
    assert recovered.running.browser == RUNNING.browser
    assert world.steps == ["examine", "reattach"]


def test_a_browser_whose_last_window_was_closed_gets_its_state_in_a_new_one() -> None:
    world = World(is_blank=True)
    assert world.recover(Cause.WINDOW_GONE, SAVED).method is Method.REATTACHED
    assert world.steps == ["examine", "reattach", "restore"]


@pytest.mark.parametrize("cause", list(Cause))
def test_a_browser_that_is_gone_is_replaced_by_one_on_its_profile(cause: Cause) -> None:
    world = World(answers=False)
    recovered = world.recover(cause, SAVED)
    assert (recovered.method, recovered.lost) == (Method.RESTORED, ())
    assert world.steps == ["examine", "stop", "prepare", "start", "restore"]
    assert world.profile == OLD


def test_a_session_without_a_browser_gets_one() -> None:
    world = World()
    bare = replace(context(Cause.BROWSER_GONE), running=None)
    recovered = world.recoverer().recover(bare, Deadline(60), lambda: True)
    assert recovered.method is Method.RESTORED
    assert world.steps == ["stop", "prepare", "start"]


def test_a_browser_that_is_recycled_is_replaced_although_it_lives(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "drover")
    world = World()
    recycled = world.recoverer().recycle(context(Cause.RECYCLED, SAVED), Deadline(60), lambda: True)
    assert (recycled.method, recycled.lost) == (Method.RESTORED, ())
    assert not [line for line in caplog.messages if "gone" in line]
    assert world.steps == ["stop", "prepare", "start", "restore"]
    assert world.profile == OLD


def test_no_browser_is_started_for_one_that_is_gone_while_memory_is_short() -> None:
    world = World(answers=False, memory_is_short=True)
    with pytest.raises(AtCapacity, match="100 MB"):
        world.recover(Cause.BROWSER_GONE, SAVED)
    assert world.steps == ["examine", "stop"]
    assert world.profile == OLD


def test_a_driver_is_attached_to_a_living_browser_while_memory_is_short() -> None:
    assert World(memory_is_short=True).recover(Cause.DRIVER_GONE).method is Method.REATTACHED


@pytest.mark.parametrize("cause", list(Cause))
def test_a_browser_that_cannot_be_asked_is_left_alone(cause: Cause) -> None:
    world = World(answers=None)
    with pytest.raises(BrowserUnavailable, match="too many open files"):
        world.recover(cause)
    assert world.steps == ["examine"]


def test_a_browser_that_lives_is_left_alone_if_no_driver_can_be_attached() -> None:
    world = World(failures={"reattach": [UNAVAILABLE]})
    with pytest.raises(BrowserLeftAlone, match=r"ChromeDriver is missing\. The browser lives"):
        world.recover(Cause.DRIVER_GONE)
    assert world.steps == ["examine", "reattach", "examine"]


def test_a_browser_that_dies_during_the_attempt_is_replaced() -> None:
    world = World(failures={"reattach": [UNAVAILABLE]}, dies_meanwhile=True)
    assert world.recover(Cause.DRIVER_GONE).method is Method.RESTORED
    assert world.steps == ["examine", "reattach", "examine", "stop", "prepare", "start"]


@pytest.mark.parametrize(("state", "method"), [(SAVED, Method.RESTORED), (None, Method.RECREATED)])
def test_a_profile_on_which_chrome_dies_is_set_aside_if_chrome_starts_on_a_new_one(
    state: SavedState | None, method: Method
) -> None:
    world = World(answers=False, failures={"start": [DIED, None]})
    recovered = world.recover(Cause.BROWSER_GONE, state)
    assert (recovered.method, recovered.lost) == (method, ("profile",))
    assert recovered.set_aside is not None
    assert (world.profile, world.aside) == (NEW, OLD)


@pytest.mark.parametrize(
    "failures",
    [[UNAVAILABLE], [DIED, UNAVAILABLE], [DIED, DIED]],
)
def test_a_profile_is_kept_if_no_browser_can_be_started(failures: list[Exception | None]) -> None:
    world = World(answers=False, failures={"start": failures})
    with pytest.raises(BrowserUnavailable):
        world.recover(Cause.BROWSER_GONE, SAVED)
    assert (world.profile, world.aside) == (OLD, None)


def test_a_new_browser_is_ended_if_the_old_profile_cannot_be_set_aside() -> None:
    world = World(answers=False, failures={"start": [DIED, None], "keep": [UNAVAILABLE]})
    with pytest.raises(BrowserUnavailable):
        world.recover(Cause.BROWSER_GONE, SAVED)
    assert (world.profile, world.browsers) == (OLD, set())


@pytest.mark.parametrize(("state", "method"), [(SAVED, Method.RESTORED), (None, Method.RECREATED)])
def test_a_missing_profile_is_named(state: SavedState | None, method: Method) -> None:
    world = World(answers=False, profile=None)
    recovered = world.recover(Cause.BROWSER_GONE, state)
    assert (recovered.method, recovered.lost) == (method, ("profile",))


def test_a_failed_restore_into_an_empty_profile_is_not_reported_as_restored() -> None:
    world = World(answers=False, profile=None, failures={"restore": [DevToolsFailed("busy")]})
    assert world.recover(Cause.BROWSER_GONE, SAVED).method is Method.RECREATED


def test_an_unwanted_session_is_not_recovered() -> None:
    world = World(failures={"reattach": [LOST]})
    with pytest.raises(SessionLost):
        world.recover(Cause.DRIVER_GONE)
    assert world.steps == ["examine", "reattach"]


def test_no_new_browser_is_started_if_the_old_processes_cannot_be_ended() -> None:
    world = World(answers=False, failures={"stop": [SURVIVED]})
    with pytest.raises(CleanupIncomplete):
        world.recover(Cause.BROWSER_HUNG)
    assert world.steps == ["examine", "stop"]


@pytest.mark.parametrize("answers", [True, False])
def test_what_a_recovery_has_started_can_be_ended(answers: bool) -> None:
    world = World(answers=answers)
    recovered = world.recover(Cause.DRIVER_GONE)
    world.recoverer().undo(context(Cause.DRIVER_GONE), recovered)
    assert world.drivers == set()
    assert world.browsers == ({RUNNING.browser} if answers else set())
    assert not world.ended_alive


def test_a_published_recovery_has_its_profile_accepted() -> None:
    world = World()
    world.recoverer().accept(context(Cause.BROWSER_GONE))
    assert world.steps == ["accept"]


errors = st.none() | st.sampled_from(
    [UNAVAILABLE, DIED, LOST, SURVIVED, OSError(28, "disk full"), RuntimeError("can't start new thread")]
)
STEPS = ("examine", "reattach", "stop", "prepare", "start", "replaced", "keep", "restore", "end_drivers")
worlds = st.builds(
    World,
    answers=st.sampled_from([True, False, None]),
    failures=st.fixed_dictionaries({name: st.lists(errors, max_size=4) for name in STEPS}),
    profile=st.sampled_from([OLD, None]),
    dies_meanwhile=st.booleans(),
)


@given(worlds, st.sampled_from(Cause), st.sampled_from([SAVED, None]), st.integers(1, 3))
def test_whatever_fails_a_browser_that_answers_lives_and_no_profile_is_lost(
    world: World, cause: Cause, state: SavedState | None, attempts: int
) -> None:
    had_profile = world.profile is not None
    outcome = repeat(lambda: world.recover(cause, state), attempts)
    assert not world.ended_alive
    if world.answers is not False and not world.dies_meanwhile:
        assert RUNNING.browser in world.browsers
    if had_profile:
        assert OLD in {world.profile, world.aside}
    if isinstance(outcome, Recovered):
        assert outcome.running.driver in world.drivers
        assert outcome.running.browser in world.browsers
        set_aside = world.profile != OLD
        assert (outcome.lost == ("profile",)) == (set_aside and outcome.method is not Method.REATTACHED)
        assert not set_aside or outcome.method is not Method.RESTORED or state is not None


def repeat(attempt: Callable[[], Recovered], attempts: int) -> Recovered | Exception:
    """Make an attempt until it succeeds; return its result, or the last error."""
    outcome: Recovered | Exception = RuntimeError("no attempt was made")
    for _ in range(attempts):
        try:
            return attempt()
        except (DroverError, OSError, RuntimeError) as error:
            outcome = error
    return outcome
