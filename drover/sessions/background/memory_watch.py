"""Measures how much memory is available, so that no browser starts while it is short."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from drover.core import events
from drover.core.deadline import Deadline
from drover.core.errors import AtCapacity, SessionLost
from drover.processes.host.memory import available_memory_mb, swapped_out_bytes
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.pool.admission import MemoryRoom
from drover.sessions.pool.registry import SessionRegistry

SWAPPING_BYTES_PER_S = 2_000_000
"""Below this, the system only moves what has not been used for long."""
POLL_S = 0.2
REPORT_S = 30.0
"""Between two lines of the log: memory may be short and available again many times in a minute."""


def _swapped_by_now() -> tuple[int, float]:
    return swapped_out_bytes(), time.monotonic()


@dataclass(eq=False, repr=False)
class MemoryWatch:
    """The measurement of memory that decides whether a browser may start.

    Args:
        min_free_mb: What has to stay free, in units of 1,000,000 bytes; 0 = no limit.
    """

    _registry: SessionRegistry
    _worker: SessionWorker
    _emit: events.Emit
    _min_free_mb: float
    _swapped: tuple[int, float] = field(default_factory=_swapped_by_now, init=False)
    _told_short: bool = field(default=False, init=False)
    _told_at: float = field(default=float("-inf"), init=False)

    def tick(self) -> None:
        """Measure, and set the result in the registry; takes about 0.2 ms."""
        evicted = self._registry.set_memory(self._measure())
        if evicted is not None:
            self._worker.close(evicted, CloseReason.EVICTED)
        shortage = self._registry.memory.shortage()
        is_short, now = shortage is not None, time.monotonic()
        if is_short == self._told_short or (is_short and now - self._told_at < REPORT_S):
            return
        self._told_short, self._told_at = is_short, now
        self._emit(
            events.MemoryShort(shortage)
            if shortage is not None
            else events.MemoryAvailable(round(self._registry.memory.available_mb))
        )

    def _measure(self) -> MemoryRoom:
        if self._min_free_mb == 0:
            return MemoryRoom(available_memory_mb(), 0.0)
        (before, at), (written, now) = self._swapped, _swapped_by_now()
        self._swapped = (written, now)
        is_swapping = written - before > SWAPPING_BYTES_PER_S * max(now - at, POLL_S)
        return MemoryRoom(available_memory_mb(), self._min_free_mb, is_swapping)


def wait_for_memory(
    registry: SessionRegistry, patience_s: float, deadline: Deadline, wanted: Callable[[], bool]
) -> None:
    """Wait until there is enough memory for the browser of a session that is recovered.

    Args:
        patience_s: How long to wait, in seconds; never longer than the recovery may take.

    Raises:
        AtCapacity: Memory is still short.
        SessionLost: The session is no longer wanted.
    """
    patience = deadline.within(patience_s)
    while (shortage := registry.memory.shortage()) is not None:
        if not wanted():
            raise SessionLost("The session was closed while it waited for memory")
        if patience.remaining() == 0:
            raise AtCapacity(
                f"No browser can start: {shortage}. Close a session or a program, or retry later"
            )
        time.sleep(POLL_S)
