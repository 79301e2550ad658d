"""Request coalescing: concurrent callers with the same key share one call.

ChromeDriver listens with a backlog of 5, Chrome with one of 10 (measured): if twenty callers probe the
same session at once, the kernel drops or resets some of their connections, and a healthy session would
seem silent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, TypeVar

from drover.core.deadline import ClientDisconnected, Deadline, DeadlineExceeded
from drover.sessions.pool.acquire import complete

Shared = TypeVar("Shared")


class _GivenUp(Exception):
    """The caller that was about to make a shared call did not wait long enough to make it."""


class SingleFlight(Generic[Shared]):
    """Coalesces concurrent calls: each caller gets the result of a call that began after its own request.

    A call that is already running is never shared: it may have read facts that are older than the request.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[Shared]] = {}
        self._next: dict[Hashable, Future[Shared]] = {}

    def do(self, key: Hashable, call: Callable[[], Shared], deadline: Deadline) -> Shared:
        """Return the result of `call`, or share the call that another caller is about to make for this key.

        Waits for at most one running call first.

        Args:
            key: What the result is about; calls with equal keys are shared.
            call: Makes the call, within a bounded time.
            deadline: Until when to wait for a call of another caller.

        Raises:
            DeadlineExceeded: The deadline has passed.
            ClientDisconnected: The client disconnected.
            Exception: What `call` raises, for all callers that share it.
        """
        while True:
            with self._lock:
                shared, before = self._next.get(key), self._running.get(key)
                if shared is None:
                    mine = self._next[key] = Future[Shared]()
                    break
            with suppress(_GivenUp):
                return deadline.wait(shared)
        if before is not None:
            try:
                deadline.wait_until_done(before)
            except (DeadlineExceeded, ClientDisconnected):
                with self._lock:
                    del self._next[key]
                # Those who wanted to share this call may have more time.
                mine.set_exception(_GivenUp())
                raise
        with self._lock:
            self._running[key] = self._next.pop(key)
        complete(mine, call)
        with self._lock:
            # Another call may have begun, and even ended, as soon as this one was complete.
            if self._running.get(key) is mine:
                del self._running[key]
        return mine.result()
