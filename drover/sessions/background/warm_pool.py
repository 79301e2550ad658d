"""Warm browsers: they stand ready for whoever asks for nothing special."""

from __future__ import annotations

import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.pool.acquire_request import new_warm_session
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.session_folders import SessionFolders

REST_S = 10.0


class WarmPool:
    """Starts warm browsers where some are missing.

    Args:
        registry: The list of sessions, where they have their places.
        worker: Starts them.
        folders: Chooses their folders.
        wanted: How many are to stand ready.
        idle_timeout: In seconds, for those who take one and name no other.
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
        self._rests_until = 0.0

    def refill(self) -> None:
        """Begin to start one where one is missing and nobody waits for a place or a start."""
        if time.monotonic() < self._rests_until:
            return
        reserved = self._registry.reserve_warm(self._make, self._wanted)
        if reserved is not None:
            reserved.work.add_done_callback(self._rest_after_failure)
            self._worker.start(reserved)

    def _rest_after_failure(self, work: Future[Any]) -> None:
        if work.exception() is not None:
            self._rests_until = time.monotonic() + REST_S
