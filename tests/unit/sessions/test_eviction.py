"""Eviction: which session is closed to free a place."""

from __future__ import annotations

from drover.sessions.pool.eviction import next_to_evict, next_to_evict_for_memory
from drover.sessions.pool.session import Session, SessionState
from tests.unit.examples import session

READY, CLOSING = SessionState.READY, SessionState.CLOSING


def ready(name: str, used: float, **fields: object) -> Session:
    return session(name, state=READY, last_used_mono=used, **fields)


def test_the_least_recently_used_one_is_evicted() -> None:
    chosen = next_to_evict([ready("b", 2), ready("a", 1), ready("c", 3)], waiting=1)
    assert chosen is not None
    assert chosen.session_id == "a"


def test_a_session_in_use_or_held_is_not_evicted() -> None:
    sessions = [ready("a", 1, commands=1), ready("b", 2, callers=1), ready("c", 3)]
    chosen = next_to_evict(sessions, waiting=1)
    assert chosen is not None
    assert chosen.session_id == "c"


def test_no_session_is_evicted_if_all_are_in_use() -> None:
    assert next_to_evict([ready("a", 1, commands=1), session("b")], waiting=5) is None


def test_no_session_is_evicted_if_enough_are_closing_for_all_waiters() -> None:
    sessions = [session("a", state=CLOSING), ready("b", 1)]
    assert next_to_evict(sessions, waiting=1) is None
    assert next_to_evict(sessions, waiting=2) is sessions[1]


def test_the_least_recently_used_session_is_evicted_for_memory_if_that_helps() -> None:
    sessions = [ready("b", 2, memory_mb=300.0), ready("a", 1, memory_mb=200.0)]
    assert next_to_evict_for_memory(sessions, missing_mb=400.0) is sessions[1]


def test_no_session_is_evicted_for_memory_that_other_programs_have() -> None:
    sessions = [ready("a", 1, memory_mb=200.0), ready("b", 2, memory_mb=300.0, commands=1)]
    assert next_to_evict_for_memory(sessions, missing_mb=201.0) is None
    assert next_to_evict_for_memory([ready("a", 1)], missing_mb=1.0) is None


def test_one_session_at_a_time_is_evicted_for_memory() -> None:
    sessions = [session("a", state=CLOSING), ready("b", 1, memory_mb=300.0)]
    assert next_to_evict_for_memory(sessions, missing_mb=100.0) is None
