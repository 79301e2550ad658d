"""The drain: the service accepts no new sessions, lets the present ones end, and then stops.

A load balancer, or a Selenium Grid, has to notice that no new sessions are accepted before the port closes.
So a drain takes `NOTICE_S` even if there is no session.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from drover.core import events
from drover.core.events import Emit
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.pool.registry import SessionRegistry

NOTICE_S = 5.0
UNUSED_S = 30.0
"""Seconds without use after which a session with a key is closed: its state is kept for that key."""


@dataclass(eq=False, repr=False)
class Drain:
    """Drains the service, once.

    Args:
        timeout_s: Seconds for which sessions go on.

    Attributes:
        over: Completed when the drain is over and the service has to stop.
    """

    _registry: SessionRegistry
    _worker: SessionWorker
    _emit: Emit
    _timeout_s: float
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _begun_at: float | None = field(default=None, init=False)
    over: Future[None] = field(default_factory=Future, init=False)

    def begin(self) -> float:
        """Begin to drain, unless a drain has begun; return the seconds that are left for the sessions."""
        now = time.monotonic()
        with self._lock:
            begun_before = self._begun_at
            if begun_before is None:
                self._begun_at = now
        if begun_before is not None:
            return max(0.0, begun_before + self._timeout_s - now)
        self._registry.drain()
        self._emit(events.DrainBegan(len(self._registry.sessions()), self._timeout_s))
        return self._timeout_s

    def tick(self) -> None:
        """Close what can be closed by now, and end the drain if it is over; called periodically."""
        with self._lock:
            begun_at = self._begun_at
        if begun_at is None or self.over.done():
            return
        now = time.monotonic()
        for reserved in self._registry.take_unused_keyed(now, UNUSED_S):
            self._worker.close(reserved, CloseReason.DRAINED)
        left = len(self._registry.sessions())
        if now >= begun_at + (self._timeout_s if left else min(NOTICE_S, self._timeout_s)):
            self._emit(events.DrainEnded(left))
            self.over.set_result(None)
