"""What a caller asks of the registry, and what it may be told."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from drover.core.errors import KeyConflict
from drover.sessions.pool.session import Session


@dataclass(frozen=True, slots=True)
class Claim:
    """What a caller asks for: a session by id or key, and how to make it if there is none.

    `make` gives a new session in state `starting`; it must do no I/O. `token` is that of the lease, for
    whoever holds it. `takes_warm` where any browser with default capabilities will do.
    """

    session_id: str | None
    key: str | None
    make: Callable[[], Session]
    token: str | None = None
    takes_warm: bool = False


def named(claim: Claim, by_id: Session | None, by_key: Session | None) -> Session | None:
    """Give the session that a claim means, of those with its id and with its key; None where it is a new one.

    Raises:
        KeyConflict: Id and key name two sessions.
    """
    if claim.key is None:
        return by_id
    if by_key is not None and claim.session_id in {None, by_key.session_id}:
        return by_key
    if by_id is not None and by_key is None and by_id.key is None:
        return by_id
    if by_id is not None or by_key is not None:
        raise KeyConflict(
            f"session_id {claim.session_id} and key {claim.key} name two different sessions; "
            "send only one of them"
        )
    return None


@dataclass(frozen=True, slots=True)
class Available:
    """The session is there and ready; the caller holds it until `release`.

    `created` where it was a warm browser until now.
    """

    session: Session
    created: bool = False


@dataclass(frozen=True, slots=True)
class InProgress:
    """Somebody starts, recovers or closes the session: wait for it, then ask again."""

    session: Session
    work: Future[Any]


@dataclass(frozen=True, slots=True)
class Reserved:
    """The caller, and nobody else, starts, recovers or closes the session, and completes `work`.

    `displaced` is the start or recovery that a close has overtaken; it ends what it has started.
    """

    session: Session
    work: Future[Any]
    displaced: Future[Any] | None = None


LookupOutcome = Available | InProgress | Reserved


@dataclass(frozen=True, slots=True, eq=False)
class Waiter:
    """A place in the waiting line; `turn` is done with the answer when it comes."""

    claim: Claim
    granted: Future[LookupOutcome] = field(default_factory=Future)


def complete(work: Future[Any], job: Callable[[], object]) -> None:
    """Do a job, and complete the future that others wait for with what comes of it."""
    try:
        work.set_result(job())
    except BaseException as error:  # noqa: BLE001 - whatever it is, all who wait must hear of it
        work.set_exception(error)
