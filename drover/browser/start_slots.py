"""How many browsers start at the same time: too many of them keep everybody waiting.

Measured with eight clients at once on two cores, in seconds:

    starts at a time         1      2      3      4      8
    mean wait of a client    5.09   4.42   4.27   4.80   5.67
    the first is served      0.70   1.16   1.61   2.34   5.08
    the last is served      10.0    7.99   7.11   7.29   6.36

A start waits for the disk now and then, so there is one more of them than there are cores.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, SessionLost

MOST = 8
STUCK_S = 10.0
TICK_S = 0.05


def starts_at_once(cores: int) -> int:
    """Give how many browsers may start at the same time on a machine with so many cores."""
    return min(cores + 1, MOST)


def usable_cores() -> int:
    """Give how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(order=True, slots=True)
class _SlotRequest:
    """A place in the line: those who give way stand behind all others, each kind in the order of coming."""

    gives_way: bool
    number: int
    turn: threading.Event = field(default_factory=threading.Event, compare=False)
    begun_at: float = field(default=0.0, compare=False)


class StartSlots:
    """Lets a bounded number of browsers start at the same time, first come, first served.

    Nobody who waits holds a slot, and a start that takes longer than `STUCK_S` no longer counts: it hangs,
    and what hangs does not compete for the processor.

    Args:
        limit: How many may start at the same time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._queue: list[_SlotRequest] = []
        self._starting: list[_SlotRequest] = []

    @contextmanager
    def slot(self, deadline: Deadline, wanted: Callable[[], bool], *, gives_way: bool) -> Iterator[None]:
        """Wait for a slot and hold it meanwhile.

        Args:
            deadline: Until when to wait.
            wanted: Tells whether the session still wants its browser; it is never called under the lock.
            gives_way: Whether all others go first.

        Raises:
            SessionLost: The session is not wanted any more.
            BrowserUnavailable: The time is over.
        """
        ticket = _SlotRequest(gives_way, next(self._numbers))
        with self._lock:
            self._queue.append(ticket)
            self._serve()
        try:
            self._await(ticket, deadline, wanted)
            yield
        finally:
            with self._lock:
                for place in (self._queue, self._starting):
                    if ticket in place:
                        place.remove(ticket)
                self._serve()

    def _await(self, ticket: _SlotRequest, deadline: Deadline, wanted: Callable[[], bool]) -> None:
        while not ticket.turn.wait(min(TICK_S, deadline.remaining())):
            if not wanted():
                raise SessionLost("The session was closed while its browser waited for its start; ask again")
            if deadline.remaining() == 0:
                raise BrowserUnavailable(
                    "Too many browsers are being started, and this one's turn did not come in time; ask again"
                )
            with self._lock:
                self._serve()

    def _serve(self) -> None:
        """Give the slots that are free to those in front."""
        now = time.monotonic()
        self._starting = [one for one in self._starting if now - one.begun_at < STUCK_S]
        while self._queue and len(self._starting) < self._limit:
            first = min(self._queue)
            self._queue.remove(first)
            first.begun_at = now
            self._starting.append(first)
            first.turn.set()
