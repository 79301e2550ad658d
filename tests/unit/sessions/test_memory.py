"""The memory gate and recycling: decisions, and what the registry does with them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from drover.browser.health import Cause
from drover.browser.recovery import Method, Recovery
from drover.core.deadline import Deadline
from drover.core.errors import AtCapacity, SessionLost
from drover.core.events import MemoryAvailable, MemoryShort
from drover.sessions.background import memory_watch
from drover.sessions.background.memory_watch import MemoryWatch, wait_for_memory
from drover.sessions.background.recycling import QUIET_S, SETTLE_S, RecycleLimits, recycle_reason
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.pool.acquire import Available, Reserved
from drover.sessions.pool.admission import STARTING_MB, UNKNOWN, MemoryRoom
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from tests.unit.examples import (
    RUNNING,
    EventRecorder,
    MemoryJournal,
    answer_of,
    claim,
    in_command,
    queue,
    ready,
    reserve,
    session,
)

NO_WORKER = cast("SessionWorker", None)
ENOUGH, SHORT = MemoryRoom(1000.0, 256.0), MemoryRoom(100.0, 256.0)
LATER = 10_000.0


@pytest.fixture
def registry() -> SessionRegistry:
    return SessionRegistry(max_sessions=3, max_waiting=3, journal=MemoryJournal())


def test_memory_is_short_if_less_than_the_limit_is_available() -> None:
    assert MemoryRoom(256.0, 256.0).shortage() is None
    told = MemoryRoom(255.0, 256.0).shortage()
    assert told is not None
    assert "255 MB" in told
    assert "DROVER_MIN_FREE_MEMORY_MB" in told


def test_browsers_that_are_starting_count_as_if_they_had_their_memory_already() -> None:
    room = MemoryRoom(256.0 + STARTING_MB, 256.0)
    assert room.shortage(starting=1) is None
    assert room.shortage(starting=2) is not None


def test_a_machine_that_is_swapping_is_short_unless_there_is_no_limit() -> None:
    assert MemoryRoom(10_000.0, 256.0, is_swapping=True).shortage() is not None
    assert MemoryRoom(0.0, 0.0, is_swapping=True).shortage(starting=9) is None
    assert UNKNOWN.shortage(starting=99) is None


def test_a_new_session_waits_until_there_is_memory(registry: SessionRegistry) -> None:
    registry.set_memory(SHORT)
    waiter = queue(registry, "a")
    assert "100 MB of memory" in registry.refusal
    registry.set_memory(ENOUGH)
    assert isinstance(answer_of(waiter), Reserved)
    assert "All 3 sessions" in registry.refusal


def test_a_session_that_exists_is_found_while_memory_is_short(registry: SessionRegistry) -> None:
    ready(registry, "a")
    registry.set_memory(SHORT)
    assert isinstance(registry.claim(claim("a")), Available)


def test_no_warm_browser_is_started_while_memory_is_short(registry: SessionRegistry) -> None:
    registry.set_memory(SHORT)
    assert registry.reserve_warm(lambda: session("warm:1", warm=True), wanted=1) is None


def test_sessions_start_one_after_the_other_if_memory_is_scarce(registry: SessionRegistry) -> None:
    registry.set_memory(MemoryRoom(300.0, 256.0))
    first = reserve(registry, "a")
    waiter = queue(registry, "b")
    registry.publish(first.session, running=RUNNING)
    assert isinstance(answer_of(waiter), Reserved)


def test_an_unused_session_is_evicted_for_memory_if_it_holds_enough(registry: SessionRegistry) -> None:
    for name in ("a", "b"):
        registry.note(ready(registry, name), memory_mb=160.0)
    assert registry.set_memory(SHORT) is None
    queue(registry, "c")
    evicted = registry.set_memory(SHORT)
    assert evicted is not None
    assert evicted.session.session_id == "a"
    assert registry.set_memory(SHORT) is None
    registry.forget(evicted.session)
    assert registry.set_memory(MemoryRoom(50.0, 256.0)) is None


def test_only_an_unused_session_is_taken_for_recycling(registry: SessionRegistry) -> None:
    found = ready(registry, "a")
    with in_command(registry, found):
        assert registry.take_unused(found) is None
    taken = registry.take_unused(found)
    assert taken is not None
    assert taken.session.state is SessionState.RECOVERING
    assert registry.take_unused(found) is None


def measured(monkeypatch: pytest.MonkeyPatch, available_mb: float, swapped: int = 0) -> None:
    monkeypatch.setattr(memory_watch, "available_memory_mb", lambda: available_mb)
    monkeypatch.setattr(memory_watch, "swapped_out_bytes", lambda: swapped)


def test_the_watch_says_once_that_memory_is_short_and_once_that_it_is_not(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = EventRecorder()
    measured(monkeypatch, 100.0)
    watch = MemoryWatch(registry, NO_WORKER, heard, 256.0)
    watch.tick()
    watch.tick()
    measured(monkeypatch, 900.0)
    watch.tick()
    measured(monkeypatch, 100.0)
    watch.tick()
    assert [type(event) for event in heard.events] == [MemoryShort, MemoryAvailable]


def test_pages_that_are_written_to_the_swap_space_are_noticed(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, 9000.0)
    watch = MemoryWatch(registry, NO_WORKER, EventRecorder(), 256.0)
    measured(monkeypatch, 9000.0, swapped=1 << 40)
    watch.tick()
    assert registry.memory.is_swapping
    watch.tick()
    assert not registry.memory.is_swapping


def test_a_recovery_waits_for_memory_and_then_says_why_it_gave_up(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, 100.0)
    watch = MemoryWatch(registry, NO_WORKER, EventRecorder(), 256.0)
    wait_for_memory(registry, 0.0, Deadline(1.0), lambda: True)
    watch.tick()
    with pytest.raises(AtCapacity, match="100 MB"):
        wait_for_memory(registry, 0.0, Deadline(1.0), lambda: True)
    with pytest.raises(SessionLost):
        wait_for_memory(registry, 0.0, Deadline(1.0), lambda: False)


def unused(**fields: Any) -> Session:  # noqa: ANN401 - any field of a session
    return session(state=SessionState.READY, running=RUNNING, last_used_mono=0.0, **fields)


def test_an_old_browser_is_recycled() -> None:
    limits = RecycleLimits(age_s=100.0, memory_mb=0.0)
    assert recycle_reason(unused(), 99.0, LATER, limits) is None
    assert "DROVER_RECYCLE_AFTER" in (recycle_reason(unused(), 100.0, LATER, limits) or "")


def test_a_large_session_is_recycled() -> None:
    limits = RecycleLimits(age_s=0.0, memory_mb=500.0)
    assert recycle_reason(unused(), 1e9, LATER, limits) is None
    assert recycle_reason(unused(memory_mb=500.0), 1e9, LATER, limits) is None
    told = recycle_reason(unused(memory_mb=501.0), 1.0, LATER, limits)
    assert "DROVER_RECYCLE_MEMORY_MB" in (told or "")


def test_a_session_whose_page_is_large_is_not_recycled_all_the_time() -> None:
    limits = RecycleLimits(age_s=0.0, memory_mb=500.0)
    last = Recovery(Cause.RECYCLED, Method.RESTORED, 0, 100)
    again = unused(memory_mb=900.0, last_recovery=last)
    assert recycle_reason(again, SETTLE_S - 1, LATER, limits) is None
    assert recycle_reason(again, SETTLE_S, LATER, limits) is not None


@pytest.mark.parametrize("fields", [{"commands": 1}, {"callers": 1}, {"warm": True}])
def test_a_session_that_is_used_is_not_recycled(fields: dict[str, object]) -> None:
    limits = RecycleLimits(age_s=1.0, memory_mb=1.0)
    assert recycle_reason(unused(memory_mb=9.0, **fields), 9.0, LATER, limits) is None


def test_a_session_that_was_used_a_moment_ago_is_not_recycled() -> None:
    limits = RecycleLimits(age_s=1.0, memory_mb=0.0)
    assert recycle_reason(unused(), 9.0, QUIET_S - 1, limits) is None
