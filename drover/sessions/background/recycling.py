"""Recycling: unused sessions whose browser is old or large get a new browser in the same place.

Chrome grows over days, and so do the pages in it. The session keeps its id, key, profile, cookies, storage
and address.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from drover.browser.health import Cause
from drover.core import events
from drover.processes.table import seconds_since_start
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState

QUIET_S: Final = 10.0
"""A session that was used so recently may be between two commands of its client."""
SETTLE_S: Final = 600.0
"""A browser that was recycled because of its size is not recycled again for that reason so soon: if it is as
large as before, its page needs the memory."""


@dataclass(frozen=True, slots=True)
class RecycleLimits:
    """When an unused session gets a new browser; 0 = never.

    Attributes:
        age_s: When its browser has run so long.
        memory_mb: When it holds so much memory, in units of 1,000,000 bytes.
    """

    age_s: float
    memory_mb: float

    @property
    def are_set(self) -> bool:
        """Whether there is any limit."""
        return self.age_s > 0 or self.memory_mb > 0


def recycle_reason(session: Session, age_s: float, now_mono: float, limits: RecycleLimits) -> str | None:
    """Return why a session should get a new browser now, or None.

    Args:
        age_s: How long its browser has been running.
        now_mono: The time of the monotonic clock, in seconds.
    """
    if session.warm or not session.evictable or now_mono - session.last_used_mono < QUIET_S:
        return None
    if 0 < limits.age_s <= age_s:
        return f"its browser has run for {age_s:.0f} s (DROVER_RECYCLE_AFTER)"
    last = session.last_recovery
    is_settling = last is not None and last.cause is Cause.RECYCLED and age_s < SETTLE_S
    held_mb = session.memory_mb or 0.0
    if 0 < limits.memory_mb < held_mb and not is_settling:
        return f"it holds {held_mb:.0f} MB of memory (DROVER_RECYCLE_MEMORY_MB)"
    return None


@dataclass(eq=False, repr=False)
class Recycler:
    """Begins to recycle one session at a time."""

    _registry: SessionRegistry
    _worker: SessionWorker
    _emit: events.Emit
    _limits: RecycleLimits

    def tick(self) -> None:
        """Begin to recycle the session that is due, unless a session is starting or being recovered."""
        sessions = self._registry.sessions()
        if any(one.state in {SessionState.STARTING, SessionState.RECOVERING} for one in sessions):
            return
        now = time.monotonic()
        for session in sessions:
            if session.running is None:
                continue
            age_s = seconds_since_start(session.running.browser)
            reason = recycle_reason(session, age_s, now, self._limits)
            reserved = reason and self._registry.take_unused(session)
            if reason and reserved:
                self._emit(events.SessionRecycling(session.session_id, reason))
                self._worker.recycle(reserved)
                return
