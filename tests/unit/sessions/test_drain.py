"""A drain: no new sessions, the present ones go on until they end or the time is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from drover.core import events
from drover.core.errors import ShuttingDown
from drover.sessions.lifecycle import drain
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.lifecycle.drain import NOTICE_S, UNUSED_S, Drain
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.pool.acquire import Available, Reserved
from drover.sessions.pool.acquire_request import new_warm_session
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.session_folders import SessionFolders
from tests.unit.examples import EventRecorder, MemoryJournal, claim, hold, queue, ready, reserve, session

TIMEOUT_S = 60.0


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class ClosingWorker:
    """A worker that closes immediately and records why."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry
        self.closed: list[tuple[str, CloseReason]] = []

    def close(self, reserved: Reserved, why: CloseReason) -> None:
        self.closed.append((reserved.session.session_id, why))
        self._registry.forget(reserved.session)
        reserved.work.set_result(None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(drain, "time", clock)
    return clock


@pytest.fixture
def registry(clock: Clock) -> SessionRegistry:
    return SessionRegistry(max_sessions=2, max_waiting=3, journal=MemoryJournal())


@pytest.fixture
def worker(registry: SessionRegistry) -> ClosingWorker:
    return ClosingWorker(registry)


@pytest.fixture
def heard() -> EventRecorder:
    return EventRecorder()


@pytest.fixture
def begin(registry: SessionRegistry, worker: ClosingWorker, heard: EventRecorder) -> Callable[[float], Drain]:
    def begin(timeout_s: float) -> Drain:
        draining = Drain(registry, cast("SessionWorker", worker), heard, timeout_s)
        assert draining.begin() == timeout_s
        return draining

    return begin


def used_now(registry: SessionRegistry, clock: Clock, session_id: str, key: str | None = None) -> None:
    ready(registry, session_id, key=key)
    registry.update(session_id, lambda one: replace(one, last_used_mono=clock.now))


def test_no_new_session_is_accepted_and_the_present_ones_are_found(
    registry: SessionRegistry, begin: Callable[[float], Drain]
) -> None:
    ready(registry, "a", key="k")
    begin(TIMEOUT_S)
    for refused in (claim(), claim("b"), claim(key="other")):
        with pytest.raises(ShuttingDown, match="draining"):
            registry.claim(refused)
    for found in (claim("a"), claim(key="k")):
        assert isinstance(registry.claim(found), Available)
    assert registry.draining
    assert not registry.stopping


def test_callers_that_wait_for_a_place_are_refused(
    registry: SessionRegistry, begin: Callable[[float], Drain]
) -> None:
    for session_id in ("a", "b"):
        ready(registry, session_id)
        hold(registry, session_id)
    waiting = queue(registry)
    begin(TIMEOUT_S)
    assert isinstance(waiting.granted.exception(timeout=0), ShuttingDown)


def test_a_start_that_was_reserved_before_goes_on(
    registry: SessionRegistry, clock: Clock, begin: Callable[[float], Drain]
) -> None:
    reserve(registry, "a")
    draining = begin(TIMEOUT_S)
    clock.now += NOTICE_S
    draining.tick()
    assert not draining.over.done()


def test_no_warm_browser_is_started_and_none_is_waited_for(
    registry: SessionRegistry, clock: Clock, begin: Callable[[float], Drain]
) -> None:
    folders = SessionFolders(session().folder.path)
    assert registry.reserve_warm(lambda: new_warm_session(folders, 1800.0), wanted=2) is not None
    draining = begin(TIMEOUT_S)
    assert registry.reserve_warm(lambda: new_warm_session(folders, 1800.0), wanted=2) is None
    clock.now += NOTICE_S
    draining.tick()
    assert draining.over.done()


def test_the_drain_is_over_when_the_last_session_has_ended(
    registry: SessionRegistry, clock: Clock, begin: Callable[[float], Drain], heard: EventRecorder
) -> None:
    used_now(registry, clock, "a")
    draining = begin(TIMEOUT_S)
    clock.now += NOTICE_S + 1
    draining.tick()
    assert not draining.over.done()
    registry.forget(registry.get("a"))
    draining.tick()
    assert draining.over.done()
    assert heard.events == [events.DrainBegan(1, TIMEOUT_S), events.DrainEnded(0)]


def test_the_drain_is_over_after_its_time_whatever_is_left(
    registry: SessionRegistry, clock: Clock, begin: Callable[[float], Drain], heard: EventRecorder
) -> None:
    used_now(registry, clock, "a")
    draining = begin(TIMEOUT_S)
    clock.now += TIMEOUT_S
    draining.tick()
    assert draining.over.done()
    assert heard.events[-1] == events.DrainEnded(1)


@pytest.mark.parametrize(("timeout_s", "notice_s"), [(TIMEOUT_S, NOTICE_S), (1.0, 1.0), (0.0, 0.0)])
def test_others_have_time_to_notice_unless_the_drain_is_shorter(
    clock: Clock, begin: Callable[[float], Drain], timeout_s: float, notice_s: float
) -> None:
    draining = begin(timeout_s)
    if notice_s:
        clock.now += notice_s / 2
        draining.tick()
        assert not draining.over.done()
    clock.now += notice_s
    draining.tick()
    assert draining.over.done()


def test_a_session_with_a_key_is_closed_when_it_was_not_used_for_a_while(
    registry: SessionRegistry, clock: Clock, begin: Callable[[float], Drain], worker: ClosingWorker
) -> None:
    used_now(registry, clock, "keyed", key="k")
    used_now(registry, clock, "plain")
    draining = begin(TIMEOUT_S)
    clock.now += UNUSED_S - 1
    draining.tick()
    assert worker.closed == []
    clock.now += 1
    draining.tick()
    assert worker.closed == [("keyed", CloseReason.DRAINED)]


def test_a_session_in_use_is_not_closed(
    registry: SessionRegistry, clock: Clock, begin: Callable[[float], Drain], worker: ClosingWorker
) -> None:
    used_now(registry, clock, "keyed", key="k")
    hold(registry, "keyed")
    draining = begin(TIMEOUT_S)
    clock.now += UNUSED_S
    draining.tick()
    assert worker.closed == []


def test_a_second_begin_changes_nothing_and_returns_the_time_that_is_left(
    clock: Clock, begin: Callable[[float], Drain], heard: EventRecorder
) -> None:
    draining = begin(TIMEOUT_S)
    clock.now += 20
    assert draining.begin() == TIMEOUT_S - 20
    clock.now += TIMEOUT_S
    assert draining.begin() == 0
    assert heard.events == [events.DrainBegan(0, TIMEOUT_S)]


def test_before_a_drain_nothing_is_closed_and_nothing_stops(
    registry: SessionRegistry, clock: Clock, worker: ClosingWorker, heard: EventRecorder
) -> None:
    ready(registry, "keyed", key="k")
    draining = Drain(registry, cast("SessionWorker", worker), heard, TIMEOUT_S)
    clock.now += TIMEOUT_S
    draining.tick()
    assert (worker.closed, heard.events, draining.over.done()) == ([], [], False)
