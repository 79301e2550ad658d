"""Who gets a place and who must give one up: decisions over the list of sessions, without effects."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from drover.sessions.pool.session import Session, SessionState


def next_to_evict(sessions: Collection[Session], waiting: int) -> Session | None:
    """Choose the session that makes room for the next of `waiting` requests.

    A warm one first, then the least recently used one that nobody uses; None when enough sessions are
    closing already for everybody who waits, or when all are in use.
    """
    closing = sum(1 for session in sessions if session.state is SessionState.CLOSING)
    if closing >= waiting:
        return None
    candidates = [session for session in sessions if session.evictable]
    return min(candidates, key=lambda session: (not session.warm, session.last_used_mono), default=None)


def idle_sessions(sessions: Iterable[Session], now_mono: float) -> tuple[Session, ...]:
    """Give the sessions whose idle time is over."""
    return tuple(session for session in sessions if session.idle_at(now_mono))


def needs_warm(sessions: Collection[Session], wanted: int) -> bool:
    """Tell whether another warm browser is to be started: never beside a start that somebody waits for."""
    starting = any(session.state is SessionState.STARTING for session in sessions)
    return not starting and sum(1 for session in sessions if session.warm) < wanted
