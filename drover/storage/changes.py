"""Changes of the session database, as values.

Each change of a session names its owner, so that work which comes too late (the slow close of a session whose
id has been given to another one, a write of an instance that has lost the session) changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Owner:
    """A session as its owner knows it.

    Attributes:
        session_id: Its id.
        epoch: The number of its birth. No two sessions of a database have the same, and later ones have
            higher numbers; but after a failover that loses the last transactions, one that no other node knew
            may be given again. The database adds the instance that it belongs to.
    """

    session_id: str
    epoch: int


class Owned(Protocol):
    """Whatever names its owner."""

    @property
    def session_id(self) -> str:
        """The id of the session."""

    @property
    def epoch(self) -> int:
        """The number of its birth."""


def owner_of(owned: Owned) -> Owner:
    """Return the owner that a session or record names."""
    return Owner(owned.session_id, owned.epoch)


@dataclass(frozen=True, slots=True)
class SharedTerms:
    """What other nodes read of a session; times as durations, because no two clocks are compared.

    Attributes:
        key: Its key, if any.
        secret_hash: The SHA-256 of the secret part of the addresses of its sockets, if they have one.
        idle_timeout: In seconds, 0 = never.
        unused_s: Seconds since its last use.
        lease_s: Seconds that are left of its lease, if it has one.
    """

    key: str | None = None
    secret_hash: str | None = None
    idle_timeout: float = 0.0
    unused_s: float = 0.0
    lease_s: float | None = None


NO_TERMS: Final = SharedTerms()


@dataclass(frozen=True, slots=True)
class SaveSession:
    """Save a session, unless the database has a later revision of it.

    Attributes:
        revision: Counts the changes of the session.
        document: JSON text that the database does not interpret.
        terms: What other nodes read of the session.
        is_new: Insert it; else it is saved only if it is in the database, so that a deleted session stays
            deleted.
    """

    owner: Owner
    revision: int
    document: str
    terms: SharedTerms = NO_TERMS
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class SaveState:
    """Save the state of a session's browser as JSON text, if the session is in the database."""

    owner: Owner
    state: str
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class KeepForKey:
    """Keep a state for the next session with a key, if its session is in the database.

    Attributes:
        owner: Its session; None for a state that does not come from a session.
    """

    owner: Owner | None
    key: str
    state: str
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class ForgetKey:
    """Delete the state that is kept for a key.

    Attributes:
        owner: The session that had the key last, and ends; None if a client asks for it.
    """

    owner: Owner | None
    key: str


@dataclass(frozen=True, slots=True)
class EndSession:
    """Delete a session and the state of its browser."""

    owner: Owner


@dataclass(frozen=True, slots=True)
class Clear:
    """Delete everything of this instance.

    Attributes:
        up_to: The highest epoch that is deleted: rows of later sessions may be in the database already.
    """

    up_to: int


Change = SaveSession | SaveState | KeepForKey | ForgetKey | EndSession | Clear
