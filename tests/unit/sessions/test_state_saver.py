"""The state saver and keep-alive visits, over fake browsers that answer on command."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from drover.browser.browsers import Browsers
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import SavedState
from drover.core.events import JobFailed, KeepAliveFailed
from drover.core.jobs import Job, JobKind, Jobs
from drover.core.threads import ThreadPool
from drover.sessions.background import keep_alive
from drover.sessions.background.keep_alive import KeepAliveVisitor
from drover.sessions.persistence import state_saver
from drover.sessions.persistence.state_saver import SLOW_INTERVAL_S, StateSaver
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import KeepAlive, Session, SessionState
from drover.storage.session_folders import SessionFolder
from tests.unit.examples import RUNNING, EventRecorder, MemoryJournal, in_command, ready, session

TIMEOUT_S = 10.0
OLD, NEW = SavedState("https://old.example/"), SavedState("https://new.example/")


class FakeBrowsers:
    """Browsers and the activity of their ChromeDrivers; a save or visit blocks until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.activity: int | None = 1
        self.captures = 0
        self.state = OLD
        self.error: Exception | None = None
        self.is_closing = False
        self.go_on = threading.Event()
        self.go_on.set()
        self.begun = threading.Semaphore(0)
        self.visits: list[str] = []
        monkeypatch.setattr(state_saver, "activity_of", lambda _: self.activity)

    def save(self, _: RunningBrowser, __: SavedState, ___: str | None) -> SavedState | None:
        return None if self.is_closing else self._capture()

    def visit(self, _: RunningBrowser, url: str, __: float) -> None:
        self.visits.append(url)
        self._capture()

    def _capture(self) -> SavedState:
        state = self.state
        self.captures += 1
        self.begun.release()
        assert self.go_on.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        return state

    @property
    def facade(self) -> Browsers:
        return cast("Browsers", self)


@pytest.fixture
def browsers(monkeypatch: pytest.MonkeyPatch) -> FakeBrowsers:
    return FakeBrowsers(monkeypatch)


@pytest.fixture
def disk() -> list[tuple[str, SavedState]]:
    return []


@pytest.fixture
def recorder() -> EventRecorder:
    return EventRecorder()


@pytest.fixture
def jobs(browsers: FakeBrowsers, recorder: EventRecorder) -> Iterator[Jobs]:
    jobs = Jobs(
        {JobKind.SAVE: ThreadPool("save", 4), JobKind.KEEP_ALIVE: ThreadPool("keep-alive", 2)}, recorder
    )
    yield jobs
    browsers.go_on.set()
    assert jobs.close(TIMEOUT_S) == ()


@pytest.fixture
def saver(browsers: FakeBrowsers, disk: list[tuple[str, SavedState]], jobs: Jobs) -> StateSaver:
    return StateSaver(browsers.facade, lambda one, state: disk.append((one.birth, state)), jobs)


def living(session_id: str = "one", birth: str = "first") -> Session:
    folder = SessionFolder(Path(f"/data/s/{session_id}-{birth}"))
    return session(session_id, folder=folder, state=SessionState.READY, running=RUNNING)


def finish(jobs: Jobs, *saved: Session) -> None:
    """Wait until the saves of sessions have ended, those that have not begun included."""
    for one in saved or (living(),):
        jobs.begin(Job(JobKind.SAVE, one.session_id, one.birth), lambda: None, anew=True).exception(TIMEOUT_S)


def test_a_captured_state_is_kept_and_persisted_once(
    saver: StateSaver, disk: list[tuple[str, SavedState]]
) -> None:
    saver.save_now([living()])
    saver.save_now([living()])
    assert saver.state_of(living()) == OLD
    assert disk == [("one-first", OLD)]


def test_the_last_save_includes_changes_made_during_another_save(
    saver: StateSaver, browsers: FakeBrowsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    browsers.go_on.clear()
    saver.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    browsers.state = NEW

    def waits_for_the_other(saves: Iterable[Future[None]], timeout: float) -> None:
        browsers.go_on.set()
        wait(saves, timeout)

    monkeypatch.setattr(state_saver, "wait", waits_for_the_other)
    saver.save_now([living()])
    assert saver.state_of(living()) == NEW


def test_a_last_save_of_a_forgotten_session_is_dropped(
    saver: StateSaver,
    browsers: FakeBrowsers,
    jobs: Jobs,
    disk: list[tuple[str, SavedState]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state_saver, "LAST_SAVE_S", 0.01)
    browsers.go_on.clear()
    saver.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    saver.save_now([living()])
    saver.forget(living())
    browsers.go_on.set()
    finish(jobs)
    assert saver.state_of(living()) is None
    assert disk == []


def test_the_last_save_of_one_session_does_not_wait_for_another(
    saver: StateSaver, browsers: FakeBrowsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_saver, "LAST_SAVE_S", 0.5)
    browsers.go_on.clear()
    saver.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    hung, browsers.go_on = browsers.go_on, threading.Event()
    browsers.go_on.set()
    saver.save_now([living(), living("two"), living("three")])
    assert (saver.state_of(living("two")), saver.state_of(living("three"))) == (OLD, OLD)
    hung.set()


def test_a_session_with_an_idle_driver_is_not_saved_again(
    saver: StateSaver, browsers: FakeBrowsers, monkeypatch: pytest.MonkeyPatch, jobs: Jobs
) -> None:
    for _ in range(3):
        saver.tick([living()])
        finish(jobs)
    assert browsers.captures == 1
    browsers.activity = 2
    saver.tick([living()])
    finish(jobs)
    assert browsers.captures == 2
    later = time.monotonic() + SLOW_INTERVAL_S
    monkeypatch.setattr(state_saver.time, "monotonic", lambda: later)  # type: ignore[attr-defined]
    saver.tick([living()])
    finish(jobs)
    assert browsers.captures == 3


def test_sessions_in_use_are_saved_first_and_then_those_that_were_not_saved_for_longest(
    browsers: FakeBrowsers, recorder: EventRecorder
) -> None:
    saved: list[str] = []
    jobs = Jobs({JobKind.SAVE: ThreadPool("save", 1)}, recorder)
    saver = StateSaver(browsers.facade, lambda one, _: saved.append(one.session_id), jobs)
    browsers.go_on.clear()
    sessions = [living("first"), living("second"), living("used")]
    saver.tick([living("blocked")])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    saver.tick([*sessions[:2], replace(sessions[2], commands=1)])
    browsers.go_on.set()
    finish(jobs, *sessions)
    assert saved == ["blocked", "used", "first", "second"]
    assert jobs.close(TIMEOUT_S) == ()


def test_a_session_is_saved_each_time_where_the_work_of_its_driver_is_not_known(
    saver: StateSaver, browsers: FakeBrowsers, jobs: Jobs
) -> None:
    browsers.activity = None
    for _ in range(3):
        saver.tick([living()])
        finish(jobs)
    assert browsers.captures == 3


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.READY])
def test_only_ready_sessions_are_saved(
    saver: StateSaver, browsers: FakeBrowsers, state: SessionState, jobs: Jobs
) -> None:
    saver.tick([replace(living(), state=state), session("two", state=SessionState.READY)])
    finish(jobs)
    assert browsers.captures == 0


def test_the_previous_state_is_kept_if_the_browser_does_not_answer(
    saver: StateSaver, browsers: FakeBrowsers, disk: list[tuple[str, SavedState]]
) -> None:
    saver.remember(living(), NEW)
    browsers.error = DevToolsFailed("gone")
    saver.save_now([living()])
    browsers.error, browsers.is_closing = None, True
    saver.save_now([living()])
    assert saver.state_of(living()) == NEW
    assert disk == []


def test_a_hung_save_is_not_begun_again_and_does_not_delay_others(
    saver: StateSaver, browsers: FakeBrowsers
) -> None:
    browsers.go_on.clear()
    for count in range(2, 5):
        browsers.activity = count
        saver.tick([living("slow")])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    saver.tick([living("slow"), living("other")])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    assert browsers.captures == 2


def test_a_save_that_ends_after_the_close_is_discarded(
    saver: StateSaver, browsers: FakeBrowsers, disk: list[tuple[str, SavedState]], jobs: Jobs
) -> None:
    browsers.go_on.clear()
    saver.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    saver.forget(living())
    browsers.go_on.set()
    finish(jobs)
    assert saver.state_of(living()) is None
    assert disk == []


def test_a_late_save_does_not_affect_a_new_session_with_the_same_id(
    saver: StateSaver, browsers: FakeBrowsers, disk: list[tuple[str, SavedState]], jobs: Jobs
) -> None:
    browsers.go_on.clear()
    saver.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    new = living(birth="second")
    browsers.state = NEW
    saver.tick([new])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    saver.forget(living())
    browsers.go_on.set()
    finish(jobs, living(), new)
    assert saver.state_of(new) == NEW
    assert saver.state_of(living()) is None
    assert disk == [("one-second", NEW)]


def test_a_save_that_fails_unexpectedly_is_reported_with_its_session(
    saver: StateSaver, browsers: FakeBrowsers, jobs: Jobs, recorder: EventRecorder
) -> None:
    browsers.error = KeyError("cookies")
    saver.tick([living()])
    finish(jobs)
    assert recorder.events == [JobFailed("state save", "one", "KeyError: 'cookies'")]


def test_an_emergency_deletes_every_state(saver: StateSaver) -> None:
    saver.save_now([living(), living("two")])
    saver.forget_all()
    assert (saver.state_of(living()), saver.state_of(living("two"))) == (None, None)


def test_the_wait_for_the_last_save_is_bounded(
    saver: StateSaver, browsers: FakeBrowsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_saver, "LAST_SAVE_S", 0.01)
    browsers.go_on.clear()
    saver.save_now([living()])
    assert saver.state_of(living()) is None


@pytest.fixture
def registry() -> SessionRegistry:
    return SessionRegistry(max_sessions=3, max_waiting=3, journal=MemoryJournal())


@pytest.fixture
def rounds(
    registry: SessionRegistry, browsers: FakeBrowsers, jobs: Jobs, recorder: EventRecorder
) -> KeepAliveVisitor:
    return KeepAliveVisitor(registry, browsers.facade, jobs, recorder)


def page(name: str, interval: float = 1.0) -> KeepAlive:
    return KeepAlive(f"https://{name}.example/", interval)


def test_a_due_page_is_visited_without_counting_as_activity(
    registry: SessionRegistry, rounds: KeepAliveVisitor, browsers: FakeBrowsers, jobs: Jobs
) -> None:
    before = ready(registry, "one", keep_alive=page("login"))
    rounds.tick()
    _end_visit(jobs, before)
    assert browsers.visits == ["https://login.example/"]
    after = registry.get("one")
    assert (after.last_used, after.last_used_mono) == (before.last_used, before.last_used_mono)
    rounds.tick()
    assert browsers.captures == 1


def test_no_page_is_visited_if_the_session_is_in_use_or_has_no_keep_alive(
    registry: SessionRegistry, rounds: KeepAliveVisitor, browsers: FakeBrowsers, jobs: Jobs
) -> None:
    plain = ready(registry, "plain")
    used = ready(registry, "used", keep_alive=page("login"))
    with in_command(registry, used):
        rounds.tick()
    for session_without_visit in (plain, used):
        _end_visit(jobs, session_without_visit)
    assert browsers.visits == []


def test_a_page_that_never_finishes_loading_does_not_delay_the_others(
    registry: SessionRegistry,
    rounds: KeepAliveVisitor,
    browsers: FakeBrowsers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    browsers.go_on.clear()
    ready(registry, "slow", keep_alive=page("slow"))
    rounds.tick()
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    ready(registry, "other", keep_alive=page("other"))
    begun = time.monotonic()
    for number in range(5):
        monkeypatch.setattr(keep_alive.time, "monotonic", lambda at=begun + 2 * number: at)  # type: ignore[attr-defined]
        rounds.tick()
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    assert sorted(browsers.visits) == ["https://other.example/", "https://slow.example/"]


def test_a_page_that_could_not_be_loaded_is_reported(
    registry: SessionRegistry,
    rounds: KeepAliveVisitor,
    browsers: FakeBrowsers,
    jobs: Jobs,
    recorder: EventRecorder,
) -> None:
    browsers.error = DevToolsFailed("no such host")
    visited = ready(registry, "one", keep_alive=page("login"))
    rounds.tick()
    _end_visit(jobs, visited)
    assert recorder.events == [KeepAliveFailed("one", "no such host")]


def test_a_visit_interrupted_by_a_close_is_not_reported(
    registry: SessionRegistry,
    rounds: KeepAliveVisitor,
    browsers: FakeBrowsers,
    jobs: Jobs,
    recorder: EventRecorder,
) -> None:
    browsers.go_on.clear()
    browsers.error = DevToolsFailed("gone")
    closed = ready(registry, "one", keep_alive=page("login"))
    rounds.tick()
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    registry.begin(closed, SessionState.CLOSING)
    browsers.go_on.set()
    _end_visit(jobs, closed)
    assert recorder.events == []


def _end_visit(jobs: Jobs, visited: Session) -> None:
    """Wait until the visit of a session has ended, if there is one: this caller joins it."""
    job = Job(JobKind.KEEP_ALIVE, visited.session_id, visited.birth)
    jobs.begin(job, lambda: None).exception(TIMEOUT_S)
