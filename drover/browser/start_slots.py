"""A limit on concurrent browser starts, because too many of them delay all clients.

Measured with eight clients at once on two cores, in seconds:

    concurrent starts        1      2      3      4      8
    mean wait of a client    5.09   4.42   4.27   4.80   5.67
    the first is served      0.70   1.16   1.61   2.34   5.08
    the last is served      10.0    7.99   7.11   7.29   6.36

A start waits for the disk from time to time, so the limit is one more than the number of cores.
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
    """Return how many browsers may start at the same time on a machine with this number of cores."""
    return min(cores + 1, MOST)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(order=True, slots=True)
class _SlotRequest:
    """A place in the wait queue: low priority after all others, otherwise first come, first served."""

    low_priority: bool
    number: int
    granted: threading.Event = field(default_factory=threading.Event, compare=False)
    begun_at: float = field(default=0.0, compare=False)


class StartSlots:
    """A bounded number of start slots, granted first come, first served.

    A start that takes longer than `STUCK_S` no longer counts: it hangs, and does not compete for the
    processor.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._queue: list[_SlotRequest] = []
        self._starting: list[_SlotRequest] = []

    @contextmanager
    def slot(self, deadline: Deadline, wanted: Callable[[], bool], *, low_priority: bool) -> Iterator[None]:
        """Wait for a slot, and hold it in the `with` block.

        Args:
            wanted: Returns whether the session still wants its browser; never called under the lock.
            low_priority: Whether all others go first.

        Raises:
            SessionLost: The session is no longer wanted.
            BrowserUnavailable: No slot became free in time.
        """
        request = _SlotRequest(low_priority, next(self._numbers))
        with self._lock:
            self._queue.append(request)
            self._grant()
        try:
            self._await(request, deadline, wanted)
            yield
        finally:
            with self._lock:
                for requests in (self._queue, self._starting):
                    if request in requests:
                        requests.remove(request)
                self._grant()

    def _await(self, request: _SlotRequest, deadline: Deadline, wanted: Callable[[], bool]) -> None:
        while not request.granted.wait(min(TICK_S, deadline.remaining())):
            if not wanted():
                raise SessionLost("The session was closed while its browser waited to be started; retry")
            if deadline.remaining() == 0:
                raise BrowserUnavailable(
                    "Too many browsers are being started, and no start slot became free in time; retry later"
                )
            with self._lock:
                self._grant()

    def _grant(self) -> None:
        """Grant the free slots to the first requests in the queue."""
        now = time.monotonic()
        self._starting = [one for one in self._starting if now - one.begun_at < STUCK_S]
        while self._queue and len(self._starting) < self._limit:
            first = min(self._queue)
            self._queue.remove(first)
            first.begun_at = now
            self._starting.append(first)
            first.granted.set()
