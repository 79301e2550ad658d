"""Start probe: tests, after a failed start, whether browsers can be started with default capabilities.

While the service is unhealthy, or a start failed that a client's capabilities may have caused, a browser
that no client waits for is started from time to time, and closed when it has started. Without the probe
the service would stay unhealthy until the next client request, and clients that wait for a healthy
service would wait forever.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from drover.browser.browsers import Browsers
from drover.core.backoff import NO_FAILURES, Backoff, Failures
from drover.core.jobs import Job, JobKind, Jobs
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.acquire_request import new_warm_session
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import SessionState
from drover.storage.session_folders import SessionFolders

BACKOFF = Backoff(first_s=30.0, longest_s=600.0)


@dataclass(eq=False, repr=False)
class StartProbe:
    """Starts a browser as a test if the last start failed and no obstacle to another one is known.

    The probe is a warm browser that is never handed out.
    """

    _registry: SessionRegistry
    _browsers: Browsers
    _worker: SessionWorker
    _folders: SessionFolders
    _jobs: Jobs
    _failures: Failures = field(default=NO_FAILURES, init=False)

    def begin(self) -> None:
        """Begin a probe in the background if one is due: after 30 s, then at growing intervals."""
        now = time.monotonic()
        if not self._browsers.is_doubtful:
            self._failures = NO_FAILURES
        elif self._failures == NO_FAILURES:
            # A client's start has failed.
            self._failures = BACKOFF.failed(self._failures, now)
        elif BACKOFF.pause_s(self._failures, now) == 0:
            self._failures = BACKOFF.failed(self._failures, now)
            self._jobs.begin(Job(JobKind.START_PROBE), self._probe)

    def _probe(self) -> None:
        if self._browsers.obstacle() is not None or not self._browsers.is_doubtful:
            return
        make = partial(new_warm_session, self._folders, 0.0)
        reserved = self._registry.reserve_warm(make, self._registry.warm_count() + 1)
        if reserved is not None:
            reserved.work.add_done_callback(self._close)
            self._worker.start(reserved)

    def _close(self, work: Future[Any]) -> None:
        # A failed start has already been closed and logged.
        if work.exception() is None:
            begun = self._registry.begin(work.result(), SessionState.CLOSING)
            if isinstance(begun, Reserved):
                self._worker.close(begun, CloseReason.PROBED)
