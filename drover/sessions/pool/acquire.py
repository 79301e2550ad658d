"""A caller's claim on a session, and its possible outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from drover.core.errors import DroverError
from drover.core.log_context import RequestContext, current_request
from drover.sessions.pool.session import Session


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What other nodes could do for a request that needs a new session; both only read memory.

    Attributes:
        has_place: Returns whether one of them has a free place.
        accepts_new: Returns whether one of them accepts new sessions, so that the request may wait there.
    """

    has_place: Callable[[], bool]
    accepts_new: Callable[[], bool]


_elsewhere: ContextVar[Elsewhere | None] = ContextVar("elsewhere", default=None)


@contextmanager
def may_go(elsewhere: Elsewhere) -> Iterator[None]:
    """Let claims of the `with` block fail with `NotOwner` where another node should make the session."""
    token = _elsewhere.set(elsewhere)
    try:
        yield
    finally:
        _elsewhere.reset(token)


@dataclass(frozen=True, slots=True)
class Claim:
    """A request for a session by id or key, and how to make it if there is none.

    Attributes:
        make: Returns a new session in state `starting`; must not do I/O.
        token: The token of the lease, if the caller holds one.
        takes_warm: Whether any browser with default capabilities is suitable.
        elsewhere: What other nodes could do for it; None if it cannot go to another node.
    """

    session_id: str | None
    key: str | None
    make: Callable[[], Session]
    token: str | None = None
    takes_warm: bool = False
    elsewhere: Elsewhere | None = field(default_factory=_elsewhere.get)


@dataclass(frozen=True, slots=True)
class Available:
    """The session exists and is ready; the caller holds it until `release`.

    `created` is set if it was a warm browser until now.
    """

    session: Session
    created: bool = False


@dataclass(frozen=True, slots=True)
class InProgress:
    """Another caller is starting, recovering or closing the session: wait for `work`, then retry."""

    session: Session
    work: Future[Any]


@dataclass(frozen=True, slots=True)
class Reserved:
    """Only this caller starts, recovers or closes the session, and completes `work`.

    `displaced` is the start or recovery that a close has overtaken; it ends the processes it has started.
    `request` is the one that gets the place of an evicted session.
    """

    session: Session
    work: Future[Any]
    displaced: Future[Any] | None = None
    request: RequestContext | None = None


LookupOutcome = Available | InProgress | Reserved


@dataclass(slots=True, eq=False)
class Waiter:
    """A place in the wait queue.

    Attributes:
        claim: What it waits for.
        granted: Completed with the outcome, when no lock is held.
        answer: The outcome, set a moment earlier under the registry's lock.
        request: The request that waits.
    """

    claim: Claim
    granted: Future[LookupOutcome] = field(default_factory=Future)
    answer: LookupOutcome | DroverError | None = None
    request: RequestContext | None = field(default_factory=current_request)

    def tell(self) -> None:
        """Complete `granted` with the answer."""
        if isinstance(self.answer, DroverError):
            self.granted.set_exception(self.answer)
        elif self.answer is not None:
            self.granted.set_result(self.answer)


def complete(work: Future[Any], job: Callable[[], object]) -> None:
    """Run a job, and complete the future with its result or its exception."""
    try:
        work.set_result(job())
    except BaseException as error:  # noqa: BLE001 - every waiting caller must get any exception
        work.set_exception(error)
