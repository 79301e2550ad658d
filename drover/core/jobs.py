"""Background jobs: at most one of a kind for each session, on a bounded number of threads.

No caller waits for a background job, so its exceptions would be lost: each is counted, and logged with its
session. Of those that repeat, one a minute is logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from drover.core.errors import DroverError, ShuttingDown
from drover.core.events import Emit, JobFailed, JobFailedAgain
from drover.core.threads import ThreadPool

LOG_EVERY_S = 60.0

_logger = logging.getLogger("drover")


class JobKind(str, Enum):
    """What a background job does."""

    START = "start"
    RECOVERY = "recovery"
    CLOSE = "close"
    WATCH = "watch"
    MEMORY = "memory measurement"
    SAVE = "state save"
    PROFILE_LIMIT = "profile limit"
    KEEP_ALIVE = "keep-alive visit"
    START_PROBE = "start probe"
    CLEANUP = "cleanup"
    HISTORY = "history of sessions"
    KEPT_PROFILES = "limit of kept profiles"
    DATA_FOLDER = "check of the data folder"
    ROOM = "reading of the room on the disk"
    OLD_PROFILES = "removal of profiles that were set aside"
    ORPHANED_FOLDERS = "search for orphaned folders"
    GRID_NOTICE = "notice to Selenium Grid"
    CLUSTER = "exchange with other nodes"
    CLUSTER_TIDY = "removal of what no node has"


@dataclass(frozen=True, slots=True)
class Job:
    """A job, by which it is known whether it is already in progress: equal jobs never run at the same time.

    Attributes:
        kind: What it does.
        session_id: Its session; None if it concerns the whole service.
        birth: Tells the session from others that have had its id.
    """

    kind: JobKind
    session_id: str | None = None
    birth: Hashable = None

    def __str__(self) -> str:
        of = f" of session {self.session_id}" if self.session_id is not None else ""
        return f"{self.kind.value}{of}"


class Repetitions:
    """Which of repeated failures are logged: the first one, then one a minute with the number of the others.

    Its methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Hashable, tuple[float, int]] = {}
        """When a failure was logged last, and how often it has happened since then."""

    def note(self, what: Hashable) -> int | None:
        """Note a failure; return how many like it were not logged before it, or None if it is not logged.

        Args:
            what: Equal for failures that need one line only.
        """
        now = time.monotonic()
        with self._lock:
            logged_at, unlogged = self._seen.get(what, (float("-inf"), 0))
            if now - logged_at < LOG_EVERY_S:
                self._seen[what] = logged_at, unlogged + 1
                return None
            # What has not failed for a minute is forgotten.
            self._seen = {one: seen for one, seen in self._seen.items() if now - seen[0] < 2 * LOG_EVERY_S}
            self._seen[what] = now, 0
        return unlogged


class Jobs:
    """Runs the background jobs.

    Args:
        pools: The threads of each kind of job; kinds may share them.
    """

    def __init__(self, pools: Mapping[JobKind, ThreadPool], emit: Emit) -> None:
        self._pools = pools
        self._emit = emit
        self._lock = threading.Lock()
        self._current: dict[Job, Future[Any]] = {}
        self._next: dict[Job, tuple[Future[Any], Callable[[], Any]]] = {}
        self._repetitions = Repetitions()

    def begin(self, job: Job, call: Callable[[], Any], *, anew: bool = False) -> Future[Any]:
        """Begin a job, or join it if it is already in progress; return its future.

        A job that cannot begin has failed: with `ShuttingDown` if the jobs have been closed, with
        `Overloaded` if there is no thread for it.

        Args:
            anew: Join only a run that has not begun; else the job runs again after the present run.
        """
        future: Future[Any] = Future()
        with self._lock:
            current = self._current.get(job)
            if current is not None and not current.done():
                joins = not anew or not current.running()
                return current if joins else self._next.setdefault(job, (future, call))[0]
            refusal = self._begin(job, future, call)
        return self._told(job, future, refusal)

    @property
    def pools(self) -> frozenset[ThreadPool]:
        """The threads of all jobs."""
        return frozenset(self._pools.values())

    def close(self, timeout: float) -> tuple[str, ...]:
        """Begin no more jobs, wait for those in progress, and return the names of those that did not end.

        Args:
            timeout: How long to wait, in seconds.
        """
        for pool in self.pools:
            pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            current = dict(self._current)
        left = wait(current.values(), timeout=timeout).not_done
        return tuple(str(job) for job, future in current.items() if future in left)

    def _begin(self, job: Job, future: Future[Any], call: Callable[[], Any]) -> DroverError | None:
        """Begin a job, under the lock; return the error if it cannot begin."""
        # The job may end at once: by then its end must be awaited, and the lock is held until we return.
        future.add_done_callback(partial(self._ended, job))
        try:
            self._pools[job.kind].run(future, partial(self._run, job, call))
        except DroverError as error:
            return error
        self._current[job] = future
        return None

    def _told(self, job: Job, future: Future[Any], refusal: DroverError | None) -> Future[Any]:
        """Return the future, which has failed if its job could not begin; without the lock."""
        if refusal is not None:
            if not isinstance(refusal, ShuttingDown):
                self._report(job, refusal, refusal.message)
            future.set_exception(refusal)
        return future

    def _run(self, job: Job, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the job returns
        try:
            return call()
        except Exception as error:
            is_expected = isinstance(error, DroverError)
            reason = str(error) if is_expected else f"{type(error).__name__}: {error}"
            self._report(job, error, reason)
            if not is_expected:
                _logger.debug("Stack trace of the failed job", exc_info=error)
            raise

    def _report(self, job: Job, error: Exception, reason: str) -> None:
        unlogged = self._repetitions.note((job.kind, job.session_id, type(error)))
        if unlogged is None:
            self._emit(JobFailedAgain(job.kind.value, job.session_id, reason))
        else:
            self._emit(JobFailed(job.kind.value, job.session_id, reason, unlogged))

    def _ended(self, job: Job, future: Future[Any]) -> None:
        with self._lock:
            if self._current.get(job) is not future:
                return
            del self._current[job]
            if job not in self._next:
                return
            coming, call = self._next.pop(job)
            refusal = self._begin(job, coming, call)
        self._told(job, coming, refusal)
