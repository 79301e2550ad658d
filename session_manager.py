"""SessionManager: acquires, checks, recovers, leases and closes sessions.

The registry holds the only lock, and nothing slow happens under it. Slow work runs in the
background, once per session, as a future that all callers await with their own deadlines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from drover.browser.browsers import Browsers
from drover.browser.recovery import Recovery
from drover.core import events
from drover.core.deadline import ClientDisconnected, Deadline, DeadlineExceeded
from drover.core.errors import (
    BrowserUnavailable,
    RecoveryFailed,
    SessionLost,
    SessionNotFound,
    StorageUnavailable,
)
from drover.core.events import Emit
from drover.sessions.lifecycle.closer import Closer
from drover.sessions.lifecycle.health_monitor import HealthMonitor
from drover.sessions.lifecycle.session_pool import SessionPool
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.pool.acquire import Available, InProgress, Reserved
from drover.sessions.pool.acquire_request import (
    Acquired,
    AcquireRequest,
    lease_asked_for,
    new_lease,
    taken,
)
from drover.sessions.pool.leases import given_back, leased, without_lease
from drover.sessions.pool.session import Lease, Session, SessionState, used

SCREENSHOT_S = 10.0


@dataclass(eq=False, repr=False)
class SessionManager:
    """The service's use cases on sessions."""

    _pool: SessionPool
    _closer: Closer
    _monitor: HealthMonitor
    _browsers: Browsers
    _repository: SessionRepository
    _emit: Emit

    def acquire(self, request: AcquireRequest, deadline: Deadline) -> Acquired:
        """Return an existing session, checked and recovered if it is dead, or a new one; counts as activity.

        Raises:
            DroverError: One of the errors that `POST /sessions` documents, at the latest at the deadline.
            ClientDisconnected: The client disconnected.
        """
        self.expire_leases()
        recovery: Recovery | None = None
        while True:
            outcome = self._pool.acquire(request, deadline)
            if isinstance(outcome, Reserved):
                return self._started(outcome, request, deadline)
            # If the session is lost in the meantime, the next claim gets another one.
            with suppress(SessionLost, SessionNotFound):
                if isinstance(outcome, InProgress):
                    recovery = self._await(outcome, deadline) or recovery
                else:
                    with self._pool.released(outcome), self._closed_unless_handed_over(outcome, request):
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
            outcome = self._pool.find(session_id)
            with suppress(SessionLost):
                if isinstance(outcome, InProgress):
                    recovery = self._await(outcome, deadline) or recovery
                else:
                    with self._pool.released(outcome):
                        checked = self._monitor.check_and_recover(outcome.session, deadline)
                        if checked is not None:
                            session = self._pool.get(session_id)
                            return Acquired(session, created=False, recovery=checked.recovery or recovery)
            _check_time(deadline)

    def report(self, session_id: str, deadline: Deadline) -> Session:
        """Return an existing session after a health check, without recovering it.

        Raises:
            SessionNotFound: No session has this id.
        """
        session = self._pool.get(session_id)
        if session.state is SessionState.READY:
            self._monitor.assess(session, deadline)
        return self._pool.get(session_id)

    def screenshot(self, session_id: str, deadline: Deadline, *, recover: bool = True) -> bytes:
        """Return the page in front as PNG; the session is checked first, and recovered if it is dead.

        Args:
            deadline: By when the page must be rendered.

        Raises:
            SessionNotFound: No session has this id.
            BrowserUnavailable: The page did not render in time, or the session is dead and not recovered.
        """
        session = self.check(session_id, deadline).session if recover else self.report(session_id, deadline)
        if session.running is None:
            raise BrowserUnavailable(f"Session {session_id} is {session.state.value}; retry")
        with self._pool.hold(session):
            return self._browsers.screenshot(session.running, deadline.within(SCREENSHOT_S))

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
        session = self._pool.update(session_id, lambda known: used(leased(known, wanted, token)))
        self._confirm(session, wanted, deadline)
        return session.lease or wanted

    def end_lease(self, session_id: str, token: str | None, deadline: Deadline) -> None:
        """End the lease of a session; does nothing if it has no lease.

        Raises:
            SessionNotFound: No session has this id.
            SessionInUse: Another client holds the lease.
            StorageUnavailable: It has ended, but that could not be written to disk yet.
        """
        session = self._pool.update(session_id, lambda known: given_back(known, token))
        self._repository.confirm(session, deadline, lease_ended=True)

    def expire_leases(self) -> None:
        """End the leases that have expired."""
        self._pool.expire_leases(time.monotonic())

    def close(self, session_id: str, deadline: Deadline, *, keep: bool = False) -> None:
        """Close a session in any state: wait until its processes are gone and its folder is removed.

        Args:
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
        self._closer.save(session_id)

    def hand_back(self, acquired: Acquired | Available, request: AcquireRequest) -> None:
        """Close a new session that its client does not get, unless other clients can name it by id or key."""
        if acquired.created and request.session_id is None and request.key is None:
            self._closer.close_unwanted(acquired.session)

    @property
    def draining(self) -> bool:
        """Whether sessions go on, but no new ones are accepted."""
        return self._pool.draining

    @property
    def unavailable(self) -> str | None:
        """Why no session can be started now; None if nothing is known against it."""
        return self._pool.obstacle or self._browsers.launcher.unavailable

    def _started(self, reserved: Reserved, request: AcquireRequest, deadline: Deadline) -> Acquired:
        session_id = reserved.session.session_id
        created = Available(reserved.session, created=True)
        with self._pool.released(reserved), self._closed_unless_handed_over(created, request):
            try:
                deadline.wait(reserved.work)
            except DeadlineExceeded as error:
                raise BrowserUnavailable(
                    f"The browser of session {session_id} is still starting; retry"
                ) from error
            return self._taken(created, request, None, deadline)

    @contextmanager
    def _closed_unless_handed_over(self, acquired: Available, request: AcquireRequest) -> Iterator[None]:
        """Hand a new session back if its caller fails."""
        try:
            yield
        except (ClientDisconnected, BrowserUnavailable, RecoveryFailed):
            self.hand_back(acquired, request)
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
        session = self._pool.update(
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
                    self._pool.update(session.session_id, partial(without_lease, lease=granted))
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
