"""The entries of the list of sessions, and how they are found. The registry uses them under its own lock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from drover.core.errors import CleanupIncomplete, DroverError, SessionNotFound, StorageUnavailable
from drover.sessions.pool.acquire import Claim, named
from drover.sessions.pool.session import Session, SessionState


@dataclass(slots=True)
class Entry:
    """One session as it is now, and the work on it.

    Attributes:
        session: The session.
        work: The start, recovery or close that began last; None if it has succeeded.
        failure: Why the last close failed.
    """

    session: Session
    work: Future[Any] | None
    failure: Exception | None = None

    def put(self, session: Session) -> None:
        """Replace the session by its next revision."""
        self.session = replace(session, revision=self.session.revision + 1)

    @property
    def in_progress(self) -> Future[Any] | None:
        """The start, recovery or close that is in progress; work that has failed is not."""
        return self.work if self.work is not None and not self.work.done() else None

    @property
    def is_closing(self) -> bool:
        """Whether a close is in progress."""
        return self.session.state is SessionState.CLOSING and self.in_progress is not None

    @property
    def is_stuck(self) -> bool:
        """Whether its last close failed and no other close is in progress."""
        return self.session.state is SessionState.CLOSING and self.in_progress is None

    @property
    def not_closed(self) -> DroverError:
        """The error for requests for a session whose close failed."""
        session_id, failure = self.session.session_id, self.failure
        if isinstance(failure, StorageUnavailable):
            return StorageUnavailable(
                f"Session {session_id} is closed, but its deletion is not on disk yet ({failure.message})"
            )
        return CleanupIncomplete(f"Session {session_id} could not be closed yet; delete it again to retry")


class Entries:
    """The entries by the ids of their sessions, the oldest first."""

    def __init__(self) -> None:
        self._by_id: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_id.values())

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._by_id

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All sessions, warm ones included."""
        return tuple(entry.session for entry in self)

    @property
    def works(self) -> tuple[Future[Any], ...]:
        """The futures of all starts, recoveries and closes in progress."""
        return tuple(entry.work for entry in self if entry.work is not None)

    @property
    def evictable(self) -> list[Session]:
        """The sessions among which those to evict are chosen, with those that are closing.

        A session whose close has failed will not free its place.
        """
        return [entry.session for entry in self if not entry.is_stuck]

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        self._by_id[entry.session.session_id] = entry

    def remove(self, session: Session) -> None:
        """Remove the entry of a session."""
        del self._by_id[session.session_id]

    def clear(self) -> None:
        """Remove all entries."""
        self._by_id.clear()

    def of(self, session: Session) -> Entry:
        """Return the entry of a session that is in the list."""
        return self._by_id[session.session_id]

    def get(self, session_id: str, *, or_warm: bool = False) -> Entry:
        """Return the entry with an id; a warm one only if `or_warm`.

        Raises:
            SessionNotFound: No session has this id.
        """
        entry = self._by_id.get(session_id)
        if entry is None or (entry.session.warm and not or_warm):
            raise SessionNotFound(f"There is no session {session_id}; GET /sessions lists all sessions")
        return entry

    def by_key(self, key: str) -> Entry | None:
        """Return the entry with a key, if there is one."""
        return next((entry for entry in self if entry.session.key == key), None)

    def named(self, claim: Claim) -> Entry | None:
        """Return the entry that a claim names by id or key; None if its session has to be created.

        Raises:
            KeyConflict: Id and key name two sessions.
        """
        by_id = self._by_id.get(claim.session_id) if claim.session_id else None
        by_key = self.by_key(claim.key) if claim.key else None
        meant = named(claim, by_id.session if by_id else None, by_key.session if by_key else None)
        return None if meant is None else self._by_id[meant.session_id]

    def ready_warm(self) -> Entry | None:
        """Return the entry of a warm browser that can be handed out, if there is one."""
        return next((one for one in self if one.session.warm and one.session.evictable), None)

    def same(self, session: Session) -> Entry | None:
        """Return the entry of the session in any generation, but not of a later session with the same id."""
        entry = self._by_id.get(session.session_id)
        return entry if entry is not None and entry.session.birth == session.birth else None

    def current(self, session: Session) -> Entry | None:
        """Return the entry of the session if it is still of the same generation."""
        entry = self.same(session)
        return entry if entry is not None and entry.session.generation == session.generation else None
