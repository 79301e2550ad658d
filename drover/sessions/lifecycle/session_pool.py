"""SessionPool: finds sessions or starts new ones, and lets callers wait for a place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import partial

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.health import Assessment, Cause, HealthStatus
from drover.core.deadline import ClientDisconnected, Deadline, DeadlineExceeded
from drover.core.errors import AtCapacity, DroverError, SessionLost, SessionNotFound, StorageUnavailable
from drover.sessions.lifecycle.closer import Closer
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.pool.acquire import Available, Claim, InProgress, LookupOutcome, Reserved, Waiter
from drover.sessions.pool.acquire_request import AcquireRequest, new_session
from drover.sessions.pool.leases import check_lease
from drover.sessions.pool.registry import Change, SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from drover.storage.session_folders import SessionFolders

CLOSING_WAIT_S = 10.0
_OF_THE_PLACE = frozenset({"state", "generation", "callers", "commands", "revision"})

Take = Callable[[Session], Session]


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    """How places are given out.

    Attributes:
        queue_timeout: Seconds that a caller waits for a place.
        idle_timeout: Seconds without use after which a session is closed, unless the request sets its own
            value; 0 = never.
        hands_out_warm: Whether there is a warm pool.
        keeps_profiles: Whether sessions with a key keep their profile, unless the request says otherwise.
    """

    queue_timeout: float
    idle_timeout: float
    hands_out_warm: bool
    keeps_profiles: bool


@dataclass(eq=False, repr=False)
class SessionPool:
    """The sessions as callers get and release them.

    Every change of a session through it also makes room for the callers that wait.
    """

    _registry: SessionRegistry
    _worker: SessionWorker
    _closer: Closer
    _folders: SessionFolders
    _repository: SessionRepository
    _policy: PoolPolicy

    @property
    def obstacle(self) -> str | None:
        """Why no new session can be promised now; None if nothing is known against it."""
        if self._registry.stopping:
            return "the service is stopping"
        return self._repository.fault or self._folders.room.shortage or self._registry.memory.shortage()

    @property
    def draining(self) -> bool:
        """Whether sessions go on, but no new ones are accepted."""
        return self._registry.draining

    def acquire(self, request: AcquireRequest, deadline: Deadline) -> LookupOutcome:
        """Find the session that a request asks for, or begin to start one, after waiting for a place.

        The caller holds what is `Available` or `Reserved` until `release`; the start of what is `Reserved`
        has begun.

        Raises:
            StorageUnavailable: It needs a new session, and nothing can be written to disk at present.
            NotOwner: Another node has the session.
            AtCapacity: No place became free in time.
            ClientDisconnected: The client disconnected.
            DroverError: Another error of `SessionRegistry.claim`.
        """
        self._refuse_new(request)
        self._give_key(request)
        make = partial(
            new_session,
            request,
            self._folders,
            self._policy.idle_timeout,
            keeps_profile=self._policy.keeps_profiles,
        )
        claim = Claim(request.session_id, request.key, make, request.token, self._takes_warm(request))
        outcome = self._owned(self._claim(claim, deadline))
        if isinstance(outcome, Reserved):
            self._worker.start(outcome)
        return outcome

    def restore(self, session_id: str, take: Take, deadline: Deadline) -> None:
        """Begin to restore a session that no living node has; requests for it wait for that.

        Args:
            take: Takes it in the database, for the place that is reserved here; returns the session, ready
                and without a browser.

        Raises:
            NotOwner: Another node was faster.
            AtCapacity: No place became free in time.
            StorageUnavailable: The database does not answer.
        """
        request = AcquireRequest(session_id, None, None, CheckedCapabilities({}), None)
        make = partial(new_session, request, self._folders, self._policy.idle_timeout)
        outcome = self._claim(Claim(session_id, None, make), deadline)
        if isinstance(outcome, Available):
            self.release(outcome.session)
        elif isinstance(outcome, Reserved):
            with self.released(outcome):
                self._begin_restore(outcome, take)

    def find(self, session_id: str) -> Available | InProgress:
        """Return an existing session; a ready one is held until `release`.

        Raises:
            SessionNotFound: No session has this id.
        """
        return self._registry.find(session_id)

    def get(self, session_id: str) -> Session:
        """Return a session as it is now, without holding it.

        Raises:
            SessionNotFound: No session has this id.
        """
        return self._registry.get(session_id)

    def release(self, session: Session) -> None:
        """Release a session that `acquire` or `find` has returned."""
        self._registry.release(session)
        self._worker.evict()

    @contextmanager
    def released(self, outcome: Available | Reserved) -> Iterator[None]:
        """Release what `acquire` or `find` has returned when the `with` block ends."""
        try:
            yield
        finally:
            self.release(outcome.session)

    @contextmanager
    def hold(self, session: Session) -> Iterator[None]:
        """Protect a session from eviction and idle closing in the `with` block; not counted as activity."""
        self._registry.hold(session)
        try:
            yield
        finally:
            self.release(session)

    def update(self, session_id: str, change: Change) -> Session:
        """Replace a session by the result of a pure function, and return that.

        Raises:
            SessionNotFound: No session has this id.
            DroverError: What `change` raises; nothing is changed then.
        """
        changed = self._registry.update(session_id, change)
        self._worker.evict()
        return changed

    def expire_leases(self, now_mono: float) -> None:
        """End the leases that have expired."""
        self._registry.expire_leases(now_mono)
        self._worker.evict()

    def _begin_restore(self, reserved: Reserved, take: Take) -> None:
        try:
            session = take(reserved.session)
        except DroverError:
            self._decline(reserved)
            raise
        changes = {
            one.name: getattr(session, one.name) for one in fields(session) if one.name not in _OF_THE_PLACE
        }
        published = self._registry.publish(reserved.session, **changes)
        if published is None and not self._registry.stopping:
            # A close or an emergency has overtaken it. After a stop another node may go on with it.
            self._repository.forget(session)
        begun = self._registry.begin(published, SessionState.RECOVERING) if published is not None else None
        # Whoever waits for the place claims the session again, and waits for its recovery then.
        reserved.work.set_result(None)
        if isinstance(begun, Reserved):
            reason = "the node that had it is gone"
            self._worker.recover(begun, Assessment(HealthStatus.DEAD, reason, Cause.NODE_GONE))

    def _owned(self, outcome: LookupOutcome) -> LookupOutcome:
        """Claim the row of a session that is new; if that fails, leave no trace of the session.

        Raises:
            NotOwner: Another node has a session with its id or key.
            SessionLost: It was closed in the meantime.
            StorageUnavailable: The database does not answer.
        """
        is_new = isinstance(outcome, Reserved) or (isinstance(outcome, Available) and outcome.created)
        if not is_new:
            return outcome
        try:
            claimed = self._repository.claim(outcome.session)
            if claimed is outcome.session:
                return outcome
            session = self._with_epoch(claimed)
        except DroverError:
            self._decline(outcome)
            raise
        return replace(outcome, session=session)

    def _with_epoch(self, claimed: Session) -> Session:
        def change(known: Session) -> Session:
            if known.state is SessionState.CLOSING:
                raise SessionNotFound(f"Session {known.session_id} is being closed")
            return replace(known, epoch=claimed.epoch)

        try:
            return self.update(claimed.session_id, change)
        except SessionNotFound as error:
            # Nothing else would remove its row, and its id and key would never be free again.
            self._repository.forget(claimed)
            raise SessionLost(
                f"Session {claimed.session_id} was closed while it was created; retry"
            ) from error

    def _give_key(self, request: AcquireRequest) -> None:
        """Claim the key that an existing session gets by this request.

        Raises:
            SessionInUse: Another client holds the lease, so it gets no key.
        """
        if request.session_id is None or request.key is None:
            return
        with suppress(SessionNotFound):
            session = self._registry.get(request.session_id)
            if session.key is None and not self._registry.has(None, request.key):
                check_lease(session, request.token)
                self._repository.give_key(session, request.key)

    def _refuse_new(self, request: AcquireRequest) -> None:
        """Raise if the request needs a new session, and a new session could not be promised.

        So none is evicted, and no browser started, for nothing.

        Raises:
            StorageUnavailable: Nothing can be written to disk at present, or the disk is almost full.
        """
        trouble = self._repository.trouble or self._folders.room.shortage
        if trouble is not None and not self._registry.has(request.session_id, request.key):
            raise StorageUnavailable(trouble)

    def _takes_warm(self, request: AcquireRequest) -> bool:
        if not request.capabilities.is_default or request.url is not None or not self._policy.hands_out_warm:
            return False
        try:
            return request.key is None or self._repository.kept_for_key(request.key) is None
        except StorageUnavailable:
            # The session may exist; if it does not, its start fails with this error.
            return False

    def _claim(self, claim: Claim, deadline: Deadline) -> LookupOutcome:
        outcome = self._registry.claim(claim)
        if not isinstance(outcome, Waiter):
            return outcome
        self._worker.evict()
        # A close in progress is awaited even if the queue timeout is shorter: its place is about to be free.
        closing, queue_timeout = self._registry.makes_room, self._policy.queue_timeout
        timeout = max(queue_timeout, CLOSING_WAIT_S) if closing else queue_timeout
        try:
            return deadline.within(timeout).wait(outcome.granted)
        except (DeadlineExceeded, ClientDisconnected) as error:
            self._decline(self._registry.leave(outcome))
            if isinstance(error, ClientDisconnected):
                raise
            raise AtCapacity(self._registry.refusal) from error

    def _decline(self, outcome: LookupOutcome | None) -> None:
        """Release what was granted just as its caller left the wait queue."""
        if isinstance(outcome, Reserved):
            self._registry.forget(outcome.session)
            outcome.work.set_result(None)  # other callers that wait for it claim again
        elif isinstance(outcome, Available):
            self.release(outcome.session)
            if outcome.created:
                self._closer.close_unwanted(outcome.session)
