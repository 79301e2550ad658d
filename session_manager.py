"""SessionManager: finds, opens, heals, hands over and closes sessions.

The one lock is its registry's, and nothing slow happens under it. What is slow runs in the
background, once per session, as a future that all callers await with their own deadlines.
"""

from __future__ import annotations

import threading
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
from drover.core.errors import AtCapacity, BrowserUnavailable, RecoveryFailed, SessionLost, SessionNotFound
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
from drover.sessions.pool.leases import expired, given_back, leased
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Lease, Session, SessionState, used
from drover.storage.session_folders import SessionFolders
from process_cleanup import CleanupReport, ProcessCleaner

ROOM_S = 10.0
STOP_S = 7.0
SCREENSHOT_S = 10.0
EMERGENCY_WAIT_S = 10.0


class SessionManager:
    """The service's use cases on sessions.

    Args:
        registry: The list of sessions.
        worker: Starts, recovers and closes them in the background.
        launcher: Starts and stops browsers.
        devtools: The DevTools connections to them.
        state_saver: Holds what was taken from them.
        repository: Keeps on disk what must outlive the process.
        folders: The sessions' folders.
        cleaner: Ends every browser in an emergency.
        emit: Hears what happens.
        monitor: Checks sessions and has them recovered.
        closer: Ends sessions.
        queue_timeout: Seconds that a caller waits for a place.
        idle_timeout: Seconds unused after which a session that names no other is closed; 0 = never.
        hands_out_warm: Whether warm browsers stand ready.
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
        cleaner: ProcessCleaner,
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
        self._cleaner = cleaner
        self._emit = emit
        self._monitor = monitor
        self._queue_timeout = queue_timeout
        self._closer = closer
        self._idle_timeout = idle_timeout
        self._hands_out_warm = hands_out_warm
        self._emergency = threading.Lock()

    def acquire(self, request: AcquireRequest, deadline: Deadline) -> Acquired:
        """Get or create a session: found, checked, healed where it is dead; that is a use of it.

        Raises:
            DroverError: As the contract has it; nobody waits longer than the deadline.
            ClientDisconnected: The caller hung up.
        """
        self.expire_leases()
        make = partial(new_session, request, self._folders, self._idle_timeout)
        claim = Claim(request.session_id, request.key, make, request.token, self._takes_warm(request))
        recovery: Recovery | None = None
        while True:
            answer = self._claim(claim, deadline)
            if isinstance(answer, Reserved):
                return self._create(answer, request, deadline)
            # Whoever asks for a session that is lost meanwhile asks again, and so gets another.
            with suppress(SessionLost, SessionNotFound):
                if isinstance(answer, InProgress):
                    recovery = self._await(answer, deadline) or recovery
                    continue
                with self._held(answer), self._closed_unless_handed_over(answer, request):
                    healed = self._monitor.heal(answer.session, deadline)
                    if healed is not None:
                        return self._taken(answer, request, healed.recovery or recovery)

    def check(self, session_id: str, deadline: Deadline) -> Acquired:
        """Give a session that exists, checked and healed where it is dead; that is no use of it.

        Raises:
            SessionNotFound: There is none of this id.
            RecoveryFailed: It is dead and could not be brought back.
        """
        recovery: Recovery | None = None
        while True:
            answer = self.registry.find(session_id)
            with suppress(SessionLost):
                if isinstance(answer, InProgress):
                    recovery = self._await(answer, deadline) or recovery
                    continue
                with self._held(answer):
                    healed = self._monitor.heal(answer.session, deadline)
                    if healed is not None:
                        return self._handed_over(answer, healed.recovery or recovery)

    def report(self, session_id: str, deadline: Deadline) -> Session:
        """Give a session that exists with a fresh health check, and heal nothing.

        Raises:
            SessionNotFound: There is none of this id.
        """
        session = self.registry.get(session_id)
        if session.state is SessionState.READY:
            self._monitor.assess(session, deadline)
        return self.registry.get(session_id)

    def screenshot(self, session_id: str, deadline: Deadline) -> bytes:
        """Give the page in front as PNG, after the session was checked and healed.

        Raises:
            SessionNotFound: There is none of this id.
            BrowserUnavailable: The page did not let itself be drawn in time.
        """
        session = self.check(session_id, deadline).session
        if session.running is None:
            raise BrowserUnavailable(f"Session {session_id} is {session.state.value}; ask again")
        with self.registry.hold(session):
            return capture_front_page(self._devtools, session.running, deadline.within(SCREENSHOT_S))

    def lease(self, session_id: str, ttl_s: float, holder: str | None, token: str | None) -> Lease:
        """Lease a session, or renew the lease of this token; that is a use of it.

        Raises:
            SessionNotFound: There is none of this id.
            SessionInUse: Somebody else holds it.
        """
        self.expire_leases()
        wanted = new_lease(ttl_s, holder)
        session = self.registry.update(session_id, lambda known: used(leased(known, wanted, token)))
        self._repository.save(session)
        return session.lease or wanted

    def end_lease(self, session_id: str, token: str | None) -> None:
        """Give the lease of a session back; nothing happens where there is none.

        Raises:
            SessionNotFound: There is none of this id.
            SessionInUse: Somebody else holds it.
        """
        self._repository.save(self.registry.update(session_id, lambda known: given_back(known, token)))

    def expire_leases(self) -> None:
        """End the leases whose time is over."""
        now = time.monotonic()
        self.registry.update_all(lambda session: expired(session, now))

    def close(self, session_id: str, deadline: Deadline) -> None:
        """Close a session in whatever state; its processes are seen gone and its folder removed.

        Raises:
            SessionNotFound: There is none of this id.
            CleanupIncomplete: Something survived; the session stays in the list.
        """
        self._closer.close(session_id, deadline)

    def hand_back(self, acquired: Acquired, request: AcquireRequest) -> None:
        """Take a session back whose caller has left before he could hear of it; one that has a name stays."""
        if acquired.created and request.session_id is None and request.key is None:
            self._closer.close_unwanted(acquired.session)

    @property
    def unavailable(self) -> str | None:
        """Tell why no session can be started at this moment; None where one can."""
        return "the service is stopping" if self.registry.stopping else self._launcher.unavailable

    def emergency(self) -> CleanupReport:
        """End every Chrome of the machine and forget every session; nothing starts meanwhile.

        A start or recovery that is under way ends what it has started and publishes nothing.
        """
        with self._emergency:
            self._emit(events.EmergencyStarted())
            works = self.registry.close_gate()
            try:
                report = self._cleaner.end_everything()
                if works:
                    wait(works, timeout=EMERGENCY_WAIT_S)
                    report = report.followed_by(self._cleaner.end_everything())
                self._launcher.reap()
                self._state_saver.forget_all()
                self._repository.forget_all()
            finally:
                self.registry.open_gate()
            self._emit(events.EmergencyFinished(report.killed_count))
            self._emit(events.SessionDataCleared())
            return report

    def stop(self, *, keep_browsers: bool) -> None:
        """Take no more requests, fail all who wait, and close every session within some seconds.

        Args:
            keep_browsers: Leave the sessions' browsers running, for the next start to take back.
        """
        sessions = self.registry.stop()
        if keep_browsers:
            wait(self.registry.works(), timeout=STOP_S)
            self._state_saver.save_now(sessions)
            self._closer.close_all(session for session in sessions if session.warm)
        else:
            self._closer.close_all(sessions)
            self.kill()
        self._state_saver.close()
        self._worker.shut_down()

    def kill(self) -> None:
        """End at once whatever still runs; what is left on disk goes at the next start."""
        alive = self.registry.running()
        end([identity for running in alive for identity in (running.browser, running.driver)], grace=0)

    def _takes_warm(self, request: AcquireRequest) -> bool:
        if request.capabilities.capabilities or request.url is not None or not self._hands_out_warm:
            return False
        return request.key is None or self._repository.kept_for_key(request.key) is None

    def _claim(self, claim: Claim, deadline: Deadline) -> Available | InProgress | Reserved:
        answer = self.registry.claim(claim)
        if not isinstance(answer, Waiter):
            return answer
        # Where a session gives up its place already, its end is awaited even by those who would not queue.
        patience = max(self._queue_timeout, ROOM_S) if self.registry.makes_room else self._queue_timeout
        try:
            return deadline.within(patience).wait(answer.granted)
        except (DeadlineExceeded, ClientDisconnected) as error:
            self._decline(self.registry.leave(answer))
            if isinstance(error, ClientDisconnected):
                raise
            raise AtCapacity(
                f"All {self.registry.max_sessions} sessions are in use and none became free in time; "
                "close one, or ask again later"
            ) from error

    def _decline(self, answer: Available | InProgress | Reserved | None) -> None:
        """Give back what came at the very moment at which its caller left the line."""
        if isinstance(answer, Reserved):
            self.registry.forget(answer.session)
            answer.work.set_result(None)  # whoever waits for it asks again
        elif isinstance(answer, Available):
            self.registry.release(answer.session)
            if answer.created:
                self._closer.close_unwanted(answer.session)

    def _create(self, reserved: Reserved, request: AcquireRequest, deadline: Deadline) -> Acquired:
        session_id = reserved.session.session_id
        with self._held(reserved):
            self._worker.start(reserved)
            answer = Available(reserved.session, created=True)
            with self._closed_unless_handed_over(answer, request):
                try:
                    deadline.wait(reserved.work)
                except DeadlineExceeded as error:
                    raise BrowserUnavailable(
                        f"The browser of session {session_id} is still starting; ask for it again"
                    ) from error
                return self._taken(answer, request, None)

    @contextmanager
    def _closed_unless_handed_over(self, answer: Available, request: AcquireRequest) -> Iterator[None]:
        """Close a new session without a name when its caller does not get it: nobody else can ask for it."""
        try:
            yield
        except (ClientDisconnected, BrowserUnavailable, RecoveryFailed):
            if answer.created and request.session_id is None and request.key is None:
                self._closer.close_unwanted(answer.session)
            raise

    def _taken(self, answer: Available, request: AcquireRequest, recovery: Recovery | None) -> Acquired:
        """Hand a session over: note the use, what the client changes of it, and the lease that it gets."""
        wanted = lease_asked_for(request)
        if answer.created and answer.session.lease is not None:
            # It was leased to its client from birth, and the time counts from now.
            request = replace(request, token=answer.session.lease.token)
        session = self.registry.update(
            answer.session.session_id, partial(taken, request=request, lease=wanted)
        )
        if answer.created:
            try:
                self._repository.save_durably(session)
            except BrowserUnavailable:
                # A session that is not on disk would be lost without a word at the next start.
                self._closer.close_unwanted(session)
                raise
        else:
            self._repository.save(session)
        granted = session.lease if wanted is not None else None
        return Acquired(session, answer.created, recovery, granted)

    def _await(self, working: InProgress, deadline: Deadline) -> Recovery | None:
        """Wait for somebody else's work; gives the recovery, where it was one."""
        try:
            result = deadline.wait(working.work)
        except DeadlineExceeded as error:
            session = working.session
            raise BrowserUnavailable(
                f"Session {session.session_id} is still {session.state.value}; ask again"
            ) from error
        recovering = working.session.state is SessionState.RECOVERING
        return result.last_recovery if recovering and isinstance(result, Session) else None

    def _handed_over(self, answer: Available, recovery: Recovery | None) -> Acquired:
        return Acquired(self.registry.get(answer.session.session_id), created=False, recovery=recovery)

    @contextmanager
    def _held(self, answer: Available | Reserved) -> Iterator[None]:
        try:
            yield
        finally:
            self.registry.release(answer.session)
