"""The state saver and keep-alive visits, over fake browsers that answer on command."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import cast

import pytest

from drover.browser import health
from drover.browser.devtools import DevTools, DevToolsFailed
from drover.browser.health import Page
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import SavedState
from drover.core.events import KeepAliveFailed
from drover.sessions.background import keep_alive
from drover.sessions.background.keep_alive import KeepAliveVisitor
from drover.sessions.persistence import state_saver
from drover.sessions.persistence.state_saver import SLOW_INTERVAL_S, StateSaver
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import KeepAlive, Session, SessionState
from tests.unit.examples import RUNNING, EventRecorder, ready, session

TIMEOUT_S = 10.0
OLD, NEW = SavedState("https://old.example/"), SavedState("https://new.example/")


class Browsers:
    """Fake DevTools, ChromeDriver activity and pages in one; a capture blocks until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.activity = 1
        self.looks = 0
        self.state = OLD
        self.error: Exception | None = None
        self.pages: tuple[Page, ...] = (Page("P1", "https://old.example/"),)
        self.go_on = threading.Event()
        self.go_on.set()
        self.begun = threading.Semaphore(0)
        self.visits: list[str] = []
        monkeypatch.setattr(state_saver, "activity_of", lambda _: self.activity)
        monkeypatch.setattr(health, "pages", lambda *_: self.pages)
        monkeypatch.setattr(state_saver, "capture", lambda *_: self._look())
        monkeypatch.setattr(keep_alive, "visit", lambda _, url, __: self._visit(url))

    def of(self, _: RunningBrowser) -> None:
        return None

    def _visit(self, url: str) -> None:
        self.visits.append(url)
        self._look()

    def _look(self) -> SavedState:
        state = self.state
        self.looks += 1
        self.begun.release()
        assert self.go_on.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        return state

    @property
    def devtools(self) -> DevTools:
        return cast("DevTools", self)


@pytest.fixture
def browsers(monkeypatch: pytest.MonkeyPatch) -> Browsers:
    return Browsers(monkeypatch)


@pytest.fixture
def disk() -> list[tuple[str, SavedState]]:
    return []


@pytest.fixture
def keeper(browsers: Browsers, disk: list[tuple[str, SavedState]]) -> Iterator[StateSaver]:
    keeper = StateSaver(browsers.devtools, lambda session_id, state: disk.append((session_id, state)))
    yield keeper
    browsers.go_on.set()
    keeper.close()


def living(session_id: str = "one") -> Session:
    return session(session_id, state=SessionState.READY, running=RUNNING)


def finish(keeper: StateSaver) -> None:
    """Wait until the saves in progress have ended."""
    for save in tuple(keeper._busy.values()):
        save.result(TIMEOUT_S)


def test_what_is_taken_is_remembered_and_goes_to_disk_once(
    keeper: StateSaver, disk: list[tuple[str, SavedState]]
) -> None:
    keeper.save_now([living()])
    keeper.save_now([living()])
    assert keeper.state_of("one") == OLD
    assert disk == [("one", OLD)]


def test_the_last_save_takes_what_was_done_while_another_was_under_way(
    keeper: StateSaver, browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    browsers.go_on.clear()
    keeper.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    browsers.state = NEW

    def waits_for_the_other(saves: Iterable[Future[None]], timeout: float) -> None:
        browsers.go_on.set()
        wait(saves, timeout)

    monkeypatch.setattr(state_saver, "wait", waits_for_the_other)
    keeper.save_now([living()])
    assert keeper.state_of("one") == NEW


def test_a_last_save_that_comes_after_its_session_was_forgotten_takes_nothing(
    keeper: StateSaver,
    browsers: Browsers,
    disk: list[tuple[str, SavedState]],
) -> None:
    browsers.go_on.clear()
    keeper.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    last = keeper._begin_last(living())
    keeper.forget("one")
    browsers.go_on.set()
    last.result(TIMEOUT_S)
    assert keeper.state_of("one") is None
    assert disk == []


def test_the_last_save_of_one_session_waits_for_no_other(
    keeper: StateSaver, browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_saver, "LAST_SAVE_S", 0.5)
    browsers.go_on.clear()
    keeper.tick([living("one")])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    hung, browsers.go_on = browsers.go_on, threading.Event()
    browsers.go_on.set()
    keeper.save_now([living("one"), living("two"), living("three")])
    assert (keeper.state_of("two"), keeper.state_of("three")) == (OLD, OLD)
    hung.set()


def test_a_session_whose_driver_rests_is_not_looked_at_again(
    keeper: StateSaver, browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        keeper.tick([living()])
        finish(keeper)
    assert browsers.looks == 1
    browsers.activity += 1
    keeper.tick([living()])
    finish(keeper)
    assert browsers.looks == 2
    later = time.monotonic() + SLOW_INTERVAL_S
    monkeypatch.setattr(state_saver.time, "monotonic", lambda: later)  # type: ignore[attr-defined]
    keeper.tick([living()])
    finish(keeper)
    assert browsers.looks == 3


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.READY])
def test_only_what_is_ready_is_looked_at(keeper: StateSaver, browsers: Browsers, state: SessionState) -> None:
    keeper.tick([replace(living(), state=state), session("two", state=SessionState.READY)])
    finish(keeper)
    assert browsers.looks == 0


def test_a_browser_that_does_not_answer_keeps_what_was_taken_before(
    keeper: StateSaver, browsers: Browsers, disk: list[tuple[str, SavedState]]
) -> None:
    keeper.remember("one", NEW)
    browsers.error = DevToolsFailed("gone")
    keeper.save_now([living()])
    browsers.error, browsers.pages = None, ()
    keeper.save_now([living()])
    assert keeper.state_of("one") == NEW
    assert disk == []


def test_a_save_that_hangs_is_not_begun_again_and_keeps_no_other_waiting(
    keeper: StateSaver, browsers: Browsers
) -> None:
    browsers.go_on.clear()
    for _ in range(3):
        browsers.activity += 1
        keeper.tick([living("slow")])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    keeper.tick([living("slow"), living("other")])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    assert browsers.looks == 2


def test_a_save_that_ends_after_the_session_was_closed_is_dropped(
    keeper: StateSaver, browsers: Browsers, disk: list[tuple[str, SavedState]]
) -> None:
    browsers.go_on.clear()
    keeper.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    saves = tuple(keeper._busy.values())
    keeper.forget("one")
    browsers.go_on.set()
    _ended(saves)
    assert keeper.state_of("one") is None
    assert disk == []


def test_a_save_that_ends_late_gives_nothing_to_a_new_session_of_the_same_id(
    keeper: StateSaver, browsers: Browsers, disk: list[tuple[str, SavedState]]
) -> None:
    browsers.go_on.clear()
    keeper.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    saves = tuple(keeper._busy.values())
    keeper.forget("one")
    browsers.state = NEW
    keeper.tick([living()])
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    saves += tuple(keeper._busy.values())
    browsers.go_on.set()
    _ended(saves)
    assert keeper.state_of("one") == NEW
    assert disk == [("one", NEW)]


def test_an_emergency_forgets_every_state(keeper: StateSaver) -> None:
    keeper.save_now([living("one"), living("two")])
    keeper.forget_all()
    assert (keeper.state_of("one"), keeper.state_of("two")) == (None, None)


def test_the_last_save_is_waited_for_no_longer_than_a_little(
    keeper: StateSaver, browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_saver, "LAST_SAVE_S", 0.01)
    browsers.go_on.clear()
    keeper.save_now([living()])
    assert keeper.state_of("one") is None


@pytest.fixture
def registry() -> SessionRegistry:
    return SessionRegistry(max_sessions=3, max_waiting=3)


@pytest.fixture
def recorder() -> EventRecorder:
    return EventRecorder()


@pytest.fixture
def rounds(
    registry: SessionRegistry, browsers: Browsers, recorder: EventRecorder
) -> Iterator[KeepAliveVisitor]:
    rounds = KeepAliveVisitor(registry, browsers.devtools, recorder)
    yield rounds
    browsers.go_on.set()
    rounds.close()


def page(name: str, interval: float = 1.0) -> KeepAlive:
    return KeepAlive(f"https://{name}.example/", interval)


def test_a_page_that_is_due_is_visited_and_that_is_no_use(
    registry: SessionRegistry, rounds: KeepAliveVisitor, browsers: Browsers
) -> None:
    before = ready(registry, "one", keep_alive=page("login"))
    rounds.tick()
    _ended(rounds._visits.values())
    assert browsers.visits == ["https://login.example/"]
    after = registry.get("one")
    assert (after.last_used, after.last_used_mono) == (before.last_used, before.last_used_mono)
    rounds.tick()
    assert browsers.looks == 1


def test_nothing_is_visited_in_a_session_that_is_in_use_or_asks_for_nothing(
    registry: SessionRegistry, rounds: KeepAliveVisitor
) -> None:
    ready(registry, "plain")
    used = ready(registry, "used", keep_alive=page("login"))
    with registry.command(used):
        rounds.tick()
    assert rounds._visits == {}


def test_a_page_that_loads_for_ever_is_visited_once_and_does_not_crowd_out_the_others(
    registry: SessionRegistry, rounds: KeepAliveVisitor, browsers: Browsers, monkeypatch: pytest.MonkeyPatch
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


def test_a_page_that_could_not_be_loaded_is_told(
    registry: SessionRegistry, rounds: KeepAliveVisitor, browsers: Browsers, recorder: EventRecorder
) -> None:
    browsers.error = DevToolsFailed("no such host")
    ready(registry, "one", keep_alive=page("login"))
    rounds.tick()
    _ended(rounds._visits.values())
    assert recorder.events == [KeepAliveFailed("one", "no such host")]


def test_a_visit_that_a_close_has_cut_short_is_no_failure(
    registry: SessionRegistry, rounds: KeepAliveVisitor, browsers: Browsers, recorder: EventRecorder
) -> None:
    browsers.go_on.clear()
    browsers.error = DevToolsFailed("gone")
    closed = ready(registry, "one", keep_alive=page("login"))
    rounds.tick()
    assert browsers.begun.acquire(timeout=TIMEOUT_S)
    registry.begin(closed, SessionState.CLOSING)
    browsers.go_on.set()
    _ended(rounds._visits.values())
    assert recorder.events == []


def _ended(works: object) -> None:
    for work in cast("tuple[Future[None], ...]", works):
        work.result(TIMEOUT_S)
