"""Background work of sessions: starting, recovering and closing.

Each job runs once, on a thread of its own, and completes the future that all callers of the session
wait for. Work that is overtaken (by a close or an emergency) ends the processes that it has started,
and publishes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from drover.browser.health import Assessment
from drover.core.errors import DroverError, ShuttingDown
from drover.core.jobs import Job, JobKind, Jobs
from drover.core.log_context import asked_by, current_request, run_for_session
from drover.sessions.lifecycle.close_work import CloseReason, CloseWork
from drover.sessions.lifecycle.recovery_work import RecoveryWork
from drover.sessions.lifecycle.start_work import StartWork
from drover.sessions.pool.acquire import Reserved, complete
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState


@dataclass(eq=False, repr=False)
class SessionWorker:
    """Starts, recovers and closes sessions in the background."""

    _registry: SessionRegistry
    _jobs: Jobs
    _start_work: StartWork
    _recovery_work: RecoveryWork
    _close_work: CloseWork

    def start(self, reserved: Reserved) -> None:
        """Begin to start a new session's browser; the result of its work is the ready session."""
        self._begin(JobKind.START, reserved, self._start_work.run)

    def recover(self, reserved: Reserved, found: Assessment, pause_s: float = 0.0) -> None:
        """Begin to recover a dead session after a pause; the result of its work is the ready session."""
        self._begin(
            JobKind.RECOVERY, reserved, partial(self._recovery_work.run, found=found, pause_s=pause_s)
        )

    def recycle(self, reserved: Reserved) -> None:
        """Begin to exchange the browser of an unused session; the result of its work is the ready session."""
        self._begin(JobKind.RECOVERY, reserved, self._recovery_work.recycle)

    def close(self, reserved: Reserved, why: CloseReason) -> None:
        """Begin to close a session; its work is done when it has been removed from the list."""
        self._begin(JobKind.CLOSE, reserved, partial(self._close_work.run, why=why))

    def evict(self) -> None:
        """Begin to close the sessions that must make room for callers that wait for a place."""
        for reserved in self._registry.take_evicted():
            self.close(reserved, CloseReason.EVICTED)

    def _begin(self, kind: JobKind, reserved: Reserved, work: Callable[[Reserved], Session | None]) -> None:
        session = reserved.session
        # Of each generation there is one start, recovery or close.
        job = Job(kind, session.session_id, (session.birth, session.generation))
        call = partial(run_for_session, session.session_id, partial(work, reserved))
        with asked_by(reserved.request or current_request()):
            begun = self._jobs.begin(job, partial(complete, reserved.work, call))
        begun.add_done_callback(partial(self._after, reserved))

    def _after(self, reserved: Reserved, ended: Future[None]) -> None:
        self._leave_unless_begun(reserved, ended)
        # The session may be evictable now, or its close may have failed: then another one must make room.
        self.evict()

    def _leave_unless_begun(self, reserved: Reserved, ended: Future[None]) -> None:
        """Fail work that no thread has begun, and leave the session so that it can begin again."""
        error = ShuttingDown() if ended.cancelled() else ended.exception()
        if not isinstance(error, DroverError):
            return
        session = reserved.session
        if session.state is SessionState.STARTING:
            self._registry.forget(session)
        elif session.state is SessionState.RECOVERING:
            self._registry.publish(session)
        else:
            self._registry.close_failed(session, error)
        reserved.work.set_exception(error)
