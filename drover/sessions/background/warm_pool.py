"""Warm pool: browsers started in advance, for requests with default capabilities."""

from __future__ import annotations

import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.pool.acquire_request import new_warm_session
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.session_folders import SessionFolders

PAUSE_AFTER_FAILURE_S = 10.0


class WarmPool:
    """Keeps a number of warm browsers ready.

    Args:
        registry: The list of sessions, in which warm browsers take places.
        worker: Starts them.
        folders: Chooses their folders.
        wanted: How many should be ready.
        idle_timeout: In seconds, for requests without their own.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        worker: SessionWorker,
        folders: SessionFolders,
        wanted: int,
        idle_timeout: float,
    ) -> None:
        self._registry = registry
        self._worker = worker
        self._make = partial(new_warm_session, folders, idle_timeout)
        self._wanted = wanted
        self._paused_until = 0.0

    def refill(self) -> None:
        """Begin to start a warm browser if one is missing and no client waits for a place or a start."""
        if time.monotonic() < self._paused_until:
            return
        reserved = self._registry.reserve_warm(self._make, self._wanted)
        if reserved is not None:
            reserved.work.add_done_callback(self._pause_after_failure)
            self._worker.start(reserved)

    def _pause_after_failure(self, work: Future[Any]) -> None:
        if work.exception() is not None:
            self._paused_until = time.monotonic() + PAUSE_AFTER_FAILURE_S
