"""Warm pool: browsers started in advance, for requests with default capabilities."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from drover.core.backoff import NO_FAILURES, Backoff, Failures
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.pool.acquire_request import new_warm_session
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.session_folders import SessionFolders

BACKOFF = Backoff(first_s=10.0, longest_s=300.0)


@dataclass(eq=False, repr=False)
class WarmPool:
    """Keeps a number of warm browsers ready.

    Args:
        wanted: How many should be ready.
        idle_timeout: In seconds, for requests without their own.
    """

    _registry: SessionRegistry
    _worker: SessionWorker
    _folders: SessionFolders
    _wanted: int
    _idle_timeout: float
    _failures: Failures = field(default=NO_FAILURES, init=False)

    def refill(self) -> None:
        """Begin to start a warm browser if one is missing and no client waits for a place or a start."""
        if BACKOFF.pause_s(self._failures, time.monotonic()) > 0:
            return
        make = partial(new_warm_session, self._folders, self._idle_timeout)
        reserved = self._registry.reserve_warm(make, self._wanted)
        if reserved is not None:
            reserved.work.add_done_callback(self._note_result)
            self._worker.start(reserved)

    def _note_result(self, work: Future[Any]) -> None:
        # The worker has logged the failure of a start.
        has_failed = work.exception() is not None
        self._failures = BACKOFF.failed(self._failures, time.monotonic()) if has_failed else NO_FAILURES
