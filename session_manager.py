"""SessionManager: finds, starts, checks, recovers, leases and closes sessions.

The registry holds the only lock, and nothing slow happens under it. Slow work runs in the
background, once per session, as a future that all callers await with their own deadlines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from drover.browser.devtools import DevTools
from drover.browser.launcher import Launcher
from drover.browser.recovery import Recovery
from drover.browser.screenshot import capture_front_page
from drover.core import events
from drover.core.deadline import ClientDisconnected, Deadline, DeadlineExceeded
from drover.core.errors import (
    AtCapacity,
    BrowserUnavailable,
    RecoveryFailed,
    SessionLost,
    SessionNotFound,
    StorageUnavailable,
)
from drover.core.events import Emit
from drover.processes.termination import end
from drover.sessions.lifecycle.closer import Closer
from drover.sessions.lifecycle.health_monitor import HealthMonitor
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.acquire import Available, Claim, InProgress, Reserved, Waiter
from drover.sessions.pool.acquire_request import (
    Acquired,
    AcquireRequest,
    lease_asked_for,
    new_lease,
    new_session,
    taken,
)
from drover.sessions.pool.leases import expired, given_back, leased, without_lease
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Lease, Session, SessionState, used
from drover.storage.session_folders import SessionFolders

CLOSING_WAIT_S = 10.0
STOP_S = 7.0
SCREENSHOT_S = 10.0


class SessionManager:
    """The service's use cases on sessions.

    Args:
        registry: The list of sessions.
        worker: Starts, recovers and closes them in the background.
        launcher: Starts and stops browsers.
        devtools: The DevTools connections to the browsers.
        state_saver: Holds the states that were saved from the browsers.
        repository: Keeps on disk what must outlive the process.
        folders: The sessions' folders.
        emit: Receives events.
        monitor: Checks sessions and has them recovered.
        closer: Closes sessions.
        queue_timeout: Seconds that a caller waits for a place.
        idle_timeout: Seconds without use after which a session is closed, unless the request sets its own
            value; 0 = never.
        hands_out_warm: Whether there is a warm pool.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        worker: SessionWorker,
        launcher: Launcher,
        devtools: DevTools,
        state_saver: StateSaver,
        repository: SessionRepository,
        folders: SessionFolders,
        emit: Emit,
        *,
        monitor: HealthMonitor,
        closer: Closer,
        queue_timeout: float,
        idle_timeout: float,
        hands_out_warm: bool,
    ) -> None:
        self.registry = registry
        self._worker = worker
        self._launcher = launcher
        self._devtools = devtools
        self._state_saver = state_saver
        self._repository = repository
        self._folders = folders
        self._emit = emit
        self._monitor = monitor
        self._queue_timeout = queue_timeout
        self._closer = closer
        self._idle_timeout = idle_timeout
        self._hands_out_warm = hands_out_warm

    def acquire(self, request: AcquireRequest, deadline: Deadline) -> Acquired:
        """Return an existing session, checked and recovered if it is dead, or a new one; counts as activity.

        Raises:
            DroverError: One of the errors that `POST /sessions` documents, at the latest at the deadline.
            ClientDisconnected: The client disconnected.
        """
        self.expire_leases()
        make = partial(new_session, request, self._folders, self._idle_timeout)
        claim = Claim(request.session_id, request.key, make, request.token, self._takes_warm(request))
        recovery: Recovery | None = None
        while True:
            self._refuse_new(request)
            outcome = self._claim(claim, deadline)
            if isinstance(outcome, Reserved):
                return self._create(outcome, request, deadline)
            # If the session is lost in the meantime, the next claim gets another one.
            with suppress(SessionLost, SessionNotFound):
                if isinstance(outcome, InProgress):
                    recovery = self._await(outcome, deadline) or recovery
                else:
                    with self._held(outcome), self._closed_unless_handed_over(outcome, request):
                        checked = self._monitor.check_and_recover(outcome.session, deadline)
                        if checked is not None:
                            return self._taken(outcome, request, checked.recovery or recovery, deadline)
            _check_time(deadline)

    def check(self, session_id: str, deadline: Deadline) -> Acquired:
        """Return an existing session, checked and recovered if it is dead; does not count as activity.

        Raises:
            SessionNotFound: No session has this id.
            RecoveryFailed: It is dead and could not be recovered.
        """
        recovery: Recovery | None = None
        while True:
            outcome = self.registry.find(session_id)
            with suppress(SessionLost):
                if isinstance(outcome, InProgress):
                    recovery = self._await(outcome, deadline) or recovery
                else:
                    with self._held(outcome):
                        checked = self._monitor.check_and_recover(outcome.session, deadline)
                        if checked is not None:
                            return self._handed_over(outcome, checked.recovery or recovery)
            _check_time(deadline)

    def report(self, session_id: str, deadline: Deadline) -> Session:
        """Return an existing session after a health check, without recovering it.

        Raises:
            SessionNotFound: No session has this id.
        """
        session = self.registry.get(session_id)
        if session.state is SessionState.READY:
            self._monitor.assess(session, deadline)
        return self.registry.get(session_id)

    def screenshot(self, session_id: str, deadline: Deadline) -> bytes:
        """Return the page in front as PNG; the session is checked first, and recovered if it is dead.

        Raises:
            SessionNotFound: No session has this id.
            BrowserUnavailable: The page did not render in time.
        """
        session = self.check(session_id, deadline).session
        if session.running is None:
            raise BrowserUnavailable(f"Session {session_id} is {session.state.value}; retry")
        with self.registry.hold(session):
            return capture_front_page(self._devtools, session.running, deadline.within(SCREENSHOT_S))

    def lease(
        self, session_id: str, ttl_s: float, holder: str | None, token: str | None, deadline: Deadline
    ) -> Lease:
        """Lease a session, or renew the lease that `token` belongs to; counts as activity.

        Raises:
            SessionNotFound: No session has this id.
            SessionInUse: Another client holds the lease.
            StorageUnavailable: It could not be written to disk, and is not granted.
        """
        self.expire_leases()
        wanted = new_lease(ttl_s, holder)
        session = self.registry.update(session_id, lambda known: used(leased(known, wanted, token)))
        self._confirm(session, wanted, deadline)
        return session.lease or wanted

    def end_lease(self, session_id: str, token: str | None, deadline: Deadline) -> None:
        """End the lease of a session; does nothing if it has no lease.

        Raises:
            SessionNotFound: No session has this id.
            SessionInUse: Another client holds the lease.
            StorageUnavailable: It has ended, but that could not be written to disk yet.
        """
        session = self.registry.update(session_id, lambda known: given_back(known, token))
        self._repository.confirm(session, deadline, lease_ended=True)

    def expire_leases(self) -> None:
        """End the leases that have expired."""
        now = time.monotonic()
        self.registry.update_all(lambda session: expired(session, now))

    def close(self, session_id: str, deadline: Deadline, *, keep: bool = False) -> None:
        """Close a session in any state: wait until its processes are gone and its folder is removed.

        Args:
            session_id: The session to close.
            deadline: Until when to wait.
            keep: Keep its state for the next session of its key, instead of deleting what was kept.

        Raises:
            SessionNotFound: No session has this id.
            CleanupIncomplete: Something survived; the session stays in the list.
        """
        self._closer.close(session_id, deadline, keep=keep)

    def save(self, session_id: str) -> None:
        """Save the state of a session's browser now: its client is about to close windows of it.

        Raises:
            SessionNotFound: No session has this id.
        """
        self._state_saver.save_now([self.registry.get(session_id)])

    def hand_back(self, acquired: Acquired, request: AcquireRequest) -> None:
        """Close a new session whose client disconnected before the answer, unless it named an id or a key."""
        if acquired.created and request.session_id is None and request.key is None:
            self._closer.close_unwanted(acquired.session)

    @property
    def unavailable(self) -> str | None:
        """Why no session can be started now; None if nothing is known against it."""
        if self.registry.stopping:
            return "the service is stopping"
        return (
            self._repository.trouble
            or self._folders.room.shortage
            or self.registry.memory.shortage()
            or self._launcher.unavailable
        )

    def stop(self, *, keep_browsers: bool) -> tuple[str, ...]:
        """Accept no more requests, fail all waiting callers, and close every session within `STOP_S` seconds.

        Args:
            keep_browsers: Leave the sessions' browsers running; the next start of the service adopts them.

        Returns:
            The ids of sessions that could not be closed in time. Their processes are ended, and on disk they
            have ended too, so that none of them comes back; what is left of them is a folder.
        """
        deadline = Deadline(STOP_S)
        sessions = self.registry.stop()
        if keep_browsers:
            wait(self.registry.works(), timeout=deadline.remaining())
            self._state_saver.save_now(sessions)
            left = self._closer.close_all([session for session in sessions if session.warm], deadline)
        else:
            left = self._closer.close_all(sessions, deadline)
            self.kill()
        for session in left:
            self._end_on_disk(session)
        # A start that was overtaken ends what it has started; its folder is removed only then.
        wait(self.registry.works(), timeout=deadline.remaining())
        return tuple(session.session_id for session in left)

    def _end_on_disk(self, session: Session) -> None:
        state = self._state_saver.state_of(session)
        if session.key is not None and state is not None:
            self._repository.keep_for_key(session, session.key, state)
        self._repository.forget(session)

    def kill(self) -> None:
        """End immediately every process that still runs; folders are removed at the next start."""
        alive = self.registry.running()
        end([identity for running in alive for identity in (running.browser, running.driver)], grace=0)

    def _takes_warm(self, request: AcquireRequest) -> bool:
        if not request.capabilities.is_default or request.url is not None or not self._hands_out_warm:
            return False
        try:
            return request.key is None or self._repository.kept_for_key(request.key) is None
        except StorageUnavailable:
            # The session may exist; if it does not, its start fails with this error.
            return False

    def _claim(self, claim: Claim, deadline: Deadline) -> Available | InProgress | Reserved:
        outcome = self.registry.claim(claim)
        if not isinstance(outcome, Waiter):
            return outcome
        # A close in progress is awaited even if the queue timeout is shorter: its place is about to be free.
        closing = self.registry.makes_room
        timeout = max(self._queue_timeout, CLOSING_WAIT_S) if closing else self._queue_timeout
        try:
            return deadline.within(timeout).wait(outcome.granted)
        except (DeadlineExceeded, ClientDisconnected) as error:
            self._decline(self.registry.leave(outcome))
            if isinstance(error, ClientDisconnected):
                raise
            raise AtCapacity(self.registry.refusal) from error

    def _decline(self, outcome: Available | InProgress | Reserved | None) -> None:
        """Release what was granted just as its caller left the wait queue."""
        if isinstance(outcome, Reserved):
            self.registry.forget(outcome.session)
            outcome.work.set_result(None)  # other callers that wait for it claim again
        elif isinstance(outcome, Available):
            self.registry.release(outcome.session)
            if outcome.created:
                self._closer.close_unwanted(outcome.session)

    def _refuse_new(self, request: AcquireRequest) -> None:
        """Raise if the request needs a new session, and a new session could not be promised.

        So none is evicted, and no browser started, for nothing.

        Raises:
            StorageUnavailable: Nothing can be written to disk at present, or the disk is almost full.
        """
        trouble = self._repository.trouble or self._folders.room.shortage
        if trouble is not None and not self.registry.has(request.session_id, request.key):
            raise StorageUnavailable(trouble)

    def _create(self, reserved: Reserved, request: AcquireRequest, deadline: Deadline) -> Acquired:
        session_id = reserved.session.session_id
        with self._held(reserved):
            self._worker.start(reserved)
            created = Available(reserved.session, created=True)
            with self._closed_unless_handed_over(created, request):
                try:
                    deadline.wait(reserved.work)
                except DeadlineExceeded as error:
                    raise BrowserUnavailable(
                        f"The browser of session {session_id} is still starting; retry"
                    ) from error
                return self._taken(created, request, None, deadline)

    @contextmanager
    def _closed_unless_handed_over(self, acquired: Available, request: AcquireRequest) -> Iterator[None]:
        """Close a new session if its caller fails, unless other clients can name it by its id or key."""
        try:
            yield
        except (ClientDisconnected, BrowserUnavailable, RecoveryFailed):
            if acquired.created and request.session_id is None and request.key is None:
                self._closer.close_unwanted(acquired.session)
            raise

    def _taken(
        self, acquired: Available, request: AcquireRequest, recovery: Recovery | None, deadline: Deadline
    ) -> Acquired:
        """Hand a session over: record the use, the client's changes to it, and its lease.

        Raises:
            StorageUnavailable: What the response promises could not be written; a new session is closed.
        """
        wanted = lease_asked_for(request)
        if acquired.created and acquired.session.lease is not None:
            # The session was leased to its client when it was reserved; the time counts from now.
            request = replace(request, token=acquired.session.lease.token)
        session = self.registry.update(
            acquired.session.session_id, partial(taken, request=request, lease=wanted)
        )
        try:
            self._confirm(session, wanted, deadline)
        except StorageUnavailable:
            if acquired.created:
                # A session that is not on disk would silently be lost at the next start.
                self._closer.close_unwanted(session)
            raise
        if acquired.created and session.capabilities.ignored:
            names = ", ".join(f"{one.name} ({one.reason})" for one in session.capabilities.ignored)
            self._emit(events.CapabilitiesIgnored(session.session_id, names))
        granted = session.lease if wanted is not None else None
        return Acquired(session, acquired.created, recovery, granted)

    def _confirm(self, session: Session, granted: Lease | None, deadline: Deadline) -> None:
        """Wait until what is promised of a session is on disk; if it is not, take a new lease back."""
        try:
            self._repository.confirm(session, deadline)
        except (StorageUnavailable, ClientDisconnected):
            if granted is not None:
                with suppress(SessionNotFound):
                    self.registry.update(session.session_id, partial(without_lease, lease=granted))
            raise

    def _await(self, in_progress: InProgress, deadline: Deadline) -> Recovery | None:
        """Wait for work that another caller began; return the recovery, if it was one."""
        try:
            result = deadline.wait(in_progress.work)
        except DeadlineExceeded as error:
            session = in_progress.session
            raise BrowserUnavailable(
                f"Session {session.session_id} is still {session.state.value}; retry"
            ) from error
        recovering = in_progress.session.state is SessionState.RECOVERING
        return result.last_recovery if recovering and isinstance(result, Session) else None

    def _handed_over(self, found: Available, recovery: Recovery | None) -> Acquired:
        return Acquired(self.registry.get(found.session.session_id), created=False, recovery=recovery)

    @contextmanager
    def _held(self, outcome: Available | Reserved) -> Iterator[None]:
        try:
            yield
        finally:
            self.registry.release(outcome.session)


def _check_time(deadline: Deadline) -> None:
    """Raise if there is no time for another attempt to get a session that was lost during the last one.

    Raises:
        BrowserUnavailable: The deadline has passed.
        ClientDisconnected: The client disconnected.
    """
    try:
        deadline.check()
    except DeadlineExceeded as error:
        raise BrowserUnavailable("The session was closed or lost at every attempt; retry later") from error
