"""Eviction, idle closing and warm browsers: pure decisions over the list of sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from drover.sessions.pool.session import Session, SessionState


def next_to_evict(sessions: Collection[Session], waiting: int) -> Session | None:
    """Return the session to evict for the next of `waiting` requests.

    A warm one first, then the least recently used one that is not in use. None if enough sessions are
    already closing for all waiting requests, or if all are in use.
    """
    closing = sum(1 for session in sessions if session.state is SessionState.CLOSING)
    if closing >= waiting:
        return None
    candidates = [session for session in sessions if session.evictable]
    return min(candidates, key=lambda session: (not session.warm, session.last_used_mono), default=None)


def next_to_evict_for_memory(sessions: Collection[Session], missing_mb: float) -> Session | None:
    """Return the session to evict so that a browser may start although memory is short.

    The next one as for a place, one at a time. None if all that may be evicted do not hold what is missing:
    then other programs have the memory, and evicting would not help.
    """
    if any(session.state is SessionState.CLOSING for session in sessions):
        return None
    held_mb = sum(session.memory_mb or 0.0 for session in sessions if session.evictable)
    return next_to_evict(sessions, waiting=1) if held_mb >= missing_mb else None


def unused_keyed_sessions(
    sessions: Iterable[Session], now_mono: float, seconds: float
) -> tuple[Session, ...]:
    """Return the sessions with a key that have not been used for so many seconds."""
    return tuple(
        session
        for session in sessions
        if session.key is not None and session.evictable and now_mono - session.last_used_mono >= seconds
    )


def needs_warm(sessions: Collection[Session], wanted: int) -> bool:
    """Return whether another warm browser should be started; never while another session is starting."""
    starting = any(session.state is SessionState.STARTING for session in sessions)
    return not starting and sum(1 for session in sessions if session.warm) < wanted
