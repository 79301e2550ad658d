"""After a start that failed: can browsers be started again? Only a start can tell.

So while the service is not well, one is begun now and then that nobody waits for, and closed when it has
worked. Without it the service would stay unhealthy until a client asked, and clients that wait for it to be
healthy would wait for ever.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from drover.browser.launcher import Launcher
from drover.core.errors import DroverError
from drover.sessions.lifecycle.session_worker import CloseReason, SessionWorker
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.acquire_request import new_warm_session
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import SessionState
from drover.storage.session_folders import SessionFolders

REST_S = 30.0
LONGEST_REST_S = 600.0


class StartProbe:
    """Starts a browser on trial where the last start failed and nothing is known to speak against another.

    It is a warm browser that nobody is given.

    Args:
        registry: The list of sessions, where a trial has its place while it lasts.
        launcher: Knows how the last start went.
        worker: Starts and closes it.
        folders: Chooses its folder.
    """

    def __init__(
        self, registry: SessionRegistry, launcher: Launcher, worker: SessionWorker, folders: SessionFolders
    ) -> None:
        self._registry = registry
        self._launcher = launcher
        self._worker = worker
        self._make = partial(new_warm_session, folders, 0.0)
        self._rest_s = REST_S
        self._rests_until = 0.0
        self._trying: threading.Thread | None = None

    def begin(self) -> None:
        """Begin a trial in the background where one is due: after 30 s, then at growing intervals."""
        now = time.monotonic()
        if self._launcher.unavailable is None:
            self._rest_s, self._rests_until = REST_S, now + REST_S
        elif self._rests_until <= now and (self._trying is None or not self._trying.is_alive()):
            self._rests_until = now + self._rest_s
            self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)
            self._trying = threading.Thread(target=self._try, name="trial", daemon=True)
            self._trying.start()

    def _try(self) -> None:
        try:
            obstacle = self._launcher.obstacle()
        except DroverError as error:
            obstacle = error.message
        if self._launcher.unavailable is None:
            # A client's start has worked meanwhile.
            return
        if obstacle is not None:
            self._launcher.unavailable = obstacle
            return
        reserved = self._registry.reserve_warm(self._make, self._registry.warm_count() + 1)
        if reserved is not None:
            reserved.work.add_done_callback(self._close)
            self._worker.start(reserved)

    def _close(self, work: Future[Any]) -> None:
        # One that failed was closed by that, and has said why.
        if work.exception() is None:
            begun = self._registry.begin(work.result(), SessionState.CLOSING)
            if isinstance(begun, Reserved):
                self._worker.close(begun, CloseReason.TRIED)
