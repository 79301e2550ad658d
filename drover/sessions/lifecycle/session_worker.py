"""Background work of sessions: starting, recovering and closing.

Each job runs once, on an executor of its own, and completes the future that all callers of the session
wait for. Work that is overtaken (by a close or an emergency) ends the processes that it has started,
and publishes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import datetime, timezone
from enum import Enum
from functools import partial
from typing import Any

from drover.browser import driver_client, health
from drover.browser.browser_starter import BrowserStarter
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.health import Assessment, Cause, Health, Silence
from drover.browser.launcher import Launcher
from drover.browser.recovery import Method, Recovered, Recoverer, Recovery, RecoveryContext
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import Into, Restored
from drover.core import events
from drover.core.backoff import Failures
from drover.core.deadline import Deadline
from drover.core.errors import (
    AtCapacity,
    BrowserLeftAlone,
    BrowserUnavailable,
    CleanupIncomplete,
    DroverError,
    RecoveryFailed,
    SessionLost,
    SessionNotCreated,
    ShuttingDown,
)
from drover.core.events import Emit
from drover.core.jobs import Job, JobKind, Jobs
from drover.sessions.lifecycle.crash_backoff import CRASHES
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.acquire import Reserved, complete
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from drover.storage.session_folders import SessionFolders

START_S = 90.0
FIRST_PAGE_S = 30.0
PAUSE_TICK_S = 0.05
DISPLACED_ATTEMPTS = 40
DISPLACED_PAUSE_S = 0.5


class CloseReason(Enum):
    """Why a session is closed; unless it was deleted, its state is kept for the next session of its key.

    `QUIT` is the end by its driver's client: `driver.quit()` is in every script, and must not end a login.
    """

    DELETED = "deleted"
    QUIT = "quit"
    IDLE = "idle"
    EVICTED = "evicted"
    STOPPING = "stopping"
    DRAINED = "drained"
    UNWANTED = "nobody waited for it"
    RETRIED = "tried again"
    TRIED = "the trial is over"


class SessionWorker:
    """Starts, recovers and closes sessions in the background.

    Args:
        registry: The list of sessions.
        launcher: Stops browsers.
        starter: Starts the browsers of new sessions.
        recoverer: Recovers sessions.
        devtools: The DevTools connections.
        state_saver: Holds the states that were saved from the browsers.
        repository: Keeps on disk what must outlive the process.
        folders: The sessions' folders.
        end_orphans: Ends orphaned processes before a recovery; returns how many are proven to be gone.
        jobs: Runs the starts, recoveries and closes.
        emit: Receives events.
        probe_timeout: Seconds that one health probe waits.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        launcher: Launcher,
        starter: BrowserStarter,
        recoverer: Recoverer,
        devtools: DevTools,
        state_saver: StateSaver,
        repository: SessionRepository,
        folders: SessionFolders,
        end_orphans: Callable[[], int],
        jobs: Jobs,
        emit: Emit,
        probe_timeout: float,
    ) -> None:
        self._registry = registry
        self._launcher = launcher
        self._starter = starter
        self._recoverer = recoverer
        self._devtools = devtools
        self._state_saver = state_saver
        self._repository = repository
        self._folders = folders
        self._end_orphans = end_orphans
        self._jobs = jobs
        self._close_errors: dict[str, str] = {}
        self._emit = emit
        self._probe_timeout = probe_timeout

    def start(self, reserved: Reserved) -> None:
        """Begin to start a new session's browser; the result of its work is the ready session."""
        self._begin(JobKind.START, reserved, self._start)

    def recover(self, reserved: Reserved, found: Assessment, pause_s: float = 0.0) -> None:
        """Begin to recover a dead session after a pause; the result of its work is the ready session."""
        self._begin(JobKind.RECOVERY, reserved, partial(self._recover, found=found, pause_s=pause_s))

    def recycle(self, reserved: Reserved) -> None:
        """Begin to exchange the browser of an unused session; the result of its work is the ready session."""
        self._begin(JobKind.RECOVERY, reserved, self._recycle)

    def close(self, reserved: Reserved, why: CloseReason) -> None:
        """Begin to close a session; its work is done when it has been removed from the list."""
        self._begin(JobKind.CLOSE, reserved, partial(self._close, why=why))

    def evict(self, reserved: Reserved) -> None:
        """Begin to close a session to free its place."""
        self.close(reserved, CloseReason.EVICTED)

    def _begin(self, kind: JobKind, reserved: Reserved, work: Callable[[Reserved], Session | None]) -> None:
        session = reserved.session
        # Of each generation there is one start, recovery or close.
        job = Job(kind, session.session_id, (session.birth, session.generation))
        begun = self._jobs.begin(job, partial(complete, reserved.work, partial(work, reserved)))
        begun.add_done_callback(partial(self._leave_unless_begun, reserved))

    def _leave_unless_begun(self, reserved: Reserved, ended: Future[None]) -> None:
        """Fail work that no thread has begun, and leave the session so that it can begin again."""
        stopping = ShuttingDown("The service is stopping; retry after its restart")
        error = stopping if ended.cancelled() else ended.exception()
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

    def _start(self, reserved: Reserved) -> Session:
        session, begun = reserved.session, time.monotonic()
        try:
            self._folders.make(session.folder)
            running, capabilities = self._starter.start(
                session.folder,
                session.capabilities,
                Deadline(START_S),
                self._wanted(session),
                low_priority=session.warm,
            )
            self._prepare(session, running)
            published = self._publish(session, running, capabilities=capabilities)
        except Exception as error:
            raise self._start_failed(session, error) from error
        pids, took_ms = (running.driver.pid, running.browser.pid), _milliseconds_since(begun)
        event = events.WarmBrowserReady if session.warm else events.SessionCreated
        self._emit(event(session.session_id, *pids, took_ms))
        return published

    def _start_failed(self, session: Session, error: Exception) -> Exception:
        overtaken = self._overtaken(session)
        if overtaken is None:
            rejected = isinstance(error, SessionNotCreated)
            event = events.CapabilitiesRejected if rejected else events.SessionStartFailed
            self._emit(event(session.session_id, str(error)))
        try:
            self._clear(session)
        except Exception as clear_error:  # noqa: BLE001 - after any error the session must not stay half-started
            begun = self._registry.begin(session, SessionState.CLOSING)
            if isinstance(begun, Reserved):
                self._close_failed(begun.session, clear_error)
                begun.work.set_exception(clear_error)
            elif begun is None:
                # It is no longer in the list; the next cleanup removes what is left.
                self._emit(events.SessionCloseIncomplete(session.session_id, str(clear_error)))
        else:
            self._registry.forget(session)
        return overtaken or error

    def _recover(self, reserved: Reserved, found: Assessment, pause_s: float) -> Session:
        session, begun = reserved.session, time.monotonic()
        assert found.cause is not None
        try:
            self._emit(events.SessionAppearsDead(session.session_id, found.reason or found.cause.value))
            self._emit(events.ConnectionErrorDetected(session.session_id))
            self._pause(session, pause_s)
            context = self._context(session, found.cause)
            orphans_killed = self._end_orphans()
            recovered = self._recoverer.recover(context, Deadline(START_S), self._wanted(session))
            return self._finish_recovery(session, context, recovered, begun, orphans_killed)
        except Exception as error:
            raise self._not_recovered(session, found.cause, error) from error

    def _recycle(self, reserved: Reserved) -> Session:
        session, begun = reserved.session, time.monotonic()
        try:
            self._state_saver.save_now([session])
            context = self._context(session, Cause.RECYCLED)
            recovered = self._recoverer.recycle(context, Deadline(START_S), self._wanted(session))
            return self._finish_recovery(session, context, recovered, begun, orphans_killed=0)
        except Exception as error:
            raise self._not_recovered(session, Cause.RECYCLED, error) from error

    def _context(self, session: Session, cause: Cause) -> RecoveryContext:
        return RecoveryContext(
            session.folder,
            session.capabilities,
            session.running,
            cause,
            self._state_saver.state_of(session),
            session.window,
            session.driver_state,
        )

    def _finish_recovery(
        self,
        session: Session,
        context: RecoveryContext,
        recovered: Recovered,
        begun: float,
        orphans_killed: int,
    ) -> Session:
        """Publish a recovered session with what the recovery has cost."""
        if recovered.set_aside is not None:
            self._emit(events.ProfileSetAside(session.session_id, str(recovered.set_aside)))
        if recovered.restored is not None:
            # Before it is published: the first save must not overwrite what it has not received.
            self._remember(session, recovered.restored)
        unrestored = recovered.restored.lost if recovered.restored is not None else ()
        recovery = Recovery(
            context.cause,
            recovered.method,
            orphans_killed,
            _milliseconds_since(begun),
            (*recovered.lost, *unrestored),
            state_restored=not unrestored,
        )
        published = self._publish_recovered(session, context, recovered, recovery)
        self._recoverer.accept(context)
        self._emit(
            events.SessionRecovered(
                session.session_id,
                recovery.cause.value,
                recovery.method.value,
                recovery.duration_ms,
                recovery.lost,
            )
        )
        return published

    def _publish_recovered(
        self, session: Session, context: RecoveryContext, recovered: Recovered, recovery: Recovery
    ) -> Session:
        """Publish a recovered session; if that fails, end what the recovery has started."""
        has_crashed = recovery.cause is not Cause.RECYCLED
        try:
            return self._publish(
                session,
                recovered.running,
                driver_state=recovered.driver_state,
                recoveries=session.recoveries + 1,
                last_recovery=recovery,
                memory_mb=None,
                crash_loop=self._crashed_again(session) if has_crashed else session.crash_loop,
            )
        except BrowserUnavailable as error:
            self._recoverer.undo(context, recovered)
            if recovered.method is Method.REATTACHED:
                raise BrowserLeftAlone(error.message) from error
            raise
        except Exception:
            self._recoverer.undo(context, recovered)
            raise

    def _crashed_again(self, session: Session) -> Failures:
        return CRASHES.failed(session.crash_loop, time.monotonic())

    def _not_recovered(self, session: Session, cause: Cause, error: Exception) -> Exception:
        overtaken = self._overtaken(session)
        if overtaken is not None:
            self._clear_overtaken(session)
            return overtaken
        self._emit(events.SessionRecoveryFailed(session.session_id, cause.value, str(error)))
        # Published as ready although it is dead: the next request finds it dead and retries the recovery.
        # A browser that lives has not crashed again: its session is recovered as soon as that is possible.
        has_crashed = not isinstance(error, (BrowserLeftAlone, AtCapacity))
        self._registry.publish(
            session, crash_loop=self._crashed_again(session) if has_crashed else session.crash_loop
        )
        if isinstance(error, AtCapacity):
            return error
        return RecoveryFailed(
            f"Session {session.session_id} could not be recovered after {cause.value}: "
            f"{str(error).rstrip('.')}. Retry, or delete the session."
        )

    def _pause(self, session: Session, seconds: float) -> None:
        """Wait before the recovery of a session in a crash loop, unless it is closed in the meantime."""
        over = time.monotonic() + seconds
        while time.monotonic() < over and self._registry.is_current(session):
            time.sleep(PAUSE_TICK_S)

    def _close(self, reserved: Reserved, why: CloseReason) -> None:
        session = reserved.session
        try:
            self._keep_for_key(session, why)
            self._launcher.stop(session.folder, session.running)
            self._await_displaced(session, reserved.displaced)
            self._clear(session)
            self._repository.end(session)
            if session.running is not None:
                self._devtools.forget(session.running.browser_guid)
            self._state_saver.forget(session)
        except Exception as error:
            self._close_failed(session, error)
            raise
        self._close_errors.pop(session.session_id, None)
        if self._registry.forget(session):
            self._emit(events.SessionClosed(session.session_id, why.value))

    def _keep_for_key(self, session: Session, why: CloseReason) -> None:
        if session.key is None or why is CloseReason.RETRIED:
            return
        if why is CloseReason.DELETED:
            self._repository.forget_key(session.key)
            return
        self._state_saver.save_now([session])
        state = self._state_saver.state_of(session)
        if state is not None:
            self._repository.keep_for_key(session, session.key, state)

    def _close_failed(self, session: Session, error: Exception) -> None:
        self._registry.close_failed(session, error)
        reason = str(error) or type(error).__name__
        # The close is retried every few seconds while another program holds a file of the session.
        if self._close_errors.get(session.session_id) != reason:
            self._close_errors[session.session_id] = reason
            self._emit(events.SessionCloseIncomplete(session.session_id, reason))

    def _await_displaced(self, session: Session, displaced: Future[Any] | None) -> None:
        """Wait until the work that this close has overtaken is done, and end what it still starts."""
        if displaced is None:
            return
        for _ in range(DISPLACED_ATTEMPTS):
            if wait([displaced], timeout=DISPLACED_PAUSE_S).done:
                return
            self._launcher.stop(session.folder, session.running)
        raise CleanupIncomplete(
            f"The start of session {session.session_id} has not ended; delete the session again later"
        )

    def _publish(self, session: Session, running: RunningBrowser, **changes: object) -> Session:
        begun = time.monotonic()
        try:
            seen = self._devtools.of(running).seen
        except DevToolsFailed as error:
            raise BrowserUnavailable(f"Chrome started, but does not answer ({error}); retry") from error
        readings = health.read(running, seen, self._probe_timeout)
        found = health.assess(readings, running, Silence(), self._probe_timeout)
        milliseconds = _milliseconds_since(begun)
        changes |= {
            "running": running,
            "health": Health(found.status, found.reason, datetime.now(timezone.utc), milliseconds),
            "current_url": readings.current_url,
        }
        published = self._registry.publish(session, **changes)
        if published is None:
            raise SessionLost(f"Session {session.session_id} was closed in the meantime")
        return published

    def _prepare(self, session: Session, running: RunningBrowser) -> None:
        """Restore the state that was kept for a new session's key, and open its first page."""
        kept = self._repository.kept_for_key(session.key) if session.key is not None else None
        if kept is not None and session.key is not None:
            self._remember(session, self._recoverer.restore_state(running, kept, Into.NEW_PROFILE))
        if session.first_page is None:
            return
        try:
            driver_client.navigate(
                running.driver_url, running.driver_session_id, session.first_page, FIRST_PAGE_S
            )
        except driver_client.CommandFailed as error:
            self._emit(events.FirstPageFailed(session.session_id, str(error)))

    def _remember(self, session: Session, restored: Restored) -> None:
        """Keep saving what the browser has not received beside what it has, and say what that is."""
        self._state_saver.remember(session, restored.state)
        if restored.lost:
            self._emit(events.StateNotRestored(session.session_id, ", ".join(restored.lost)))

    def _clear(self, session: Session) -> None:
        """End all processes of a session and remove its folder.

        Raises:
            CleanupIncomplete: A process or the folder is left.
        """
        self._launcher.stop(session.folder, session.running)
        self._folders.reclaim(session.folder)
        if not self._folders.remove(session.folder):
            raise CleanupIncomplete(
                f"The folder {session.folder.path} could not be removed; "
                "close the program that uses it, then delete the session again"
            )

    def _clear_overtaken(self, session: Session) -> None:
        try:
            self._clear(session)
        except Exception as error:  # noqa: BLE001 - waiting callers get the error that it was overtaken
            # The close that has overtaken it, or the next cleanup, retries.
            self._emit(events.SessionCloseIncomplete(session.session_id, str(error)))

    def _wanted(self, session: Session) -> Callable[[], bool]:
        return partial(self._registry.is_current, session)

    def _overtaken(self, session: Session) -> DroverError | None:
        if self._registry.is_current(session):
            return None
        if self._registry.stopping:
            return ShuttingDown("The service is stopping; retry after its restart")
        return SessionLost(
            f"Session {session.session_id} was closed in the meantime; create a new one with POST /sessions"
        )


def _milliseconds_since(begun: float) -> int:
    return round(1000 * (time.monotonic() - begun))
