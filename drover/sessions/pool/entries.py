"""The entries of the list of sessions, and how they are found. The registry uses them under its own lock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from drover.core.errors import (
    CleanupIncomplete,
    DroverError,
    KeyConflict,
    SessionNotFound,
    StorageUnavailable,
)
from drover.sessions.pool.acquire import Claim
from drover.sessions.pool.due_times import DueTimes
from drover.sessions.pool.session import Session, SessionState


@dataclass(slots=True)
class Entry:
    """One session as it is now, and the work on it.

    Attributes:
        work: The start, recovery or close that began last; None if it has succeeded.
        failure: Why the last close failed.
        recorded_use: The last use that was recorded, in seconds of the monotonic clock.
    """

    session: Session
    work: Future[Any] | None
    failure: Exception | None = None
    recorded_use: float = 0.0

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
    """The entries by the ids of their sessions, the oldest first.

    Whatever is asked about often is looked up: sessions by key and by secret, those that are starting, and
    those whose lease or idle timeout is over. So neither costs more with more sessions.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Entry] = {}
        self._by_key: dict[str, Entry] = {}
        self._by_secret: dict[str, Entry] = {}
        self._starting: set[str] = set()
        self._leases = DueTimes()
        self._idle = DueTimes()

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
    def eviction_candidates(self) -> list[Session]:
        """The sessions among which those to evict are chosen, with those that are closing.

        A session whose close has failed will not free its place.
        """
        return [entry.session for entry in self if not entry.is_stuck]

    @property
    def starting(self) -> int:
        """How many sessions are starting."""
        return len(self._starting)

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        self._by_id[entry.session.session_id] = entry
        self._index(entry)

    def put(self, entry: Entry, session: Session) -> None:
        """Replace the session of an entry by its next revision, unless it is that already."""
        before, revision = entry.session, entry.session.revision + 1
        after = session if session.revision == revision else replace(session, revision=revision)
        entry.session = after
        if _is_found_otherwise(before, after) and self._by_id.get(after.session_id) is entry:
            self._unindex(entry, before)
            self._index(entry)

    def remove(self, session: Session) -> None:
        """Remove the entry of a session."""
        entry = self._by_id.pop(session.session_id)
        self._unindex(entry, entry.session)

    def clear(self) -> None:
        """Remove all entries."""
        for known in (self._by_id, self._by_key, self._by_secret, self._starting, self._leases, self._idle):
            known.clear()

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
        return self._by_key.get(key)

    def by_secret(self, secret: str) -> Entry | None:
        """Return the entry of a client's session whose addresses contain this secret, if there is one."""
        entry = self._by_secret.get(secret)
        return None if entry is None or entry.session.warm else entry

    def named(self, claim: Claim) -> Entry | None:
        """Return the entry that a claim names by id or key; None if its session has to be created.

        Raises:
            KeyConflict: Id and key name two sessions.
        """
        by_id = self._by_id.get(claim.session_id) if claim.session_id else None
        by_key = self.by_key(claim.key) if claim.key else None
        if claim.key is None or (by_key is None and (by_id is None or by_id.session.key is None)):
            return by_id
        if by_key is None or claim.session_id not in {None, by_key.session.session_id}:
            raise KeyConflict.of(claim.session_id, claim.key)
        return by_key

    def ready_warm(self) -> Entry | None:
        """Return the entry of a warm browser that can be handed out, if there is one."""
        return next((one for one in self if one.session.warm and one.session.evictable), None)

    def same(self, session: Session) -> Entry | None:
        """Return the entry of the session in any generation, but not of a later session with the same id."""
        entry = self._by_id.get(session.session_id)
        is_same = entry is not None and (
            entry.session.folder is session.folder or entry.session.birth == session.birth
        )
        return entry if is_same else None

    def current(self, session: Session) -> Entry | None:
        """Return the entry of the session if it is still of the same generation."""
        entry = self.same(session)
        return entry if entry is not None and entry.session.generation == session.generation else None

    def take_expired_leases(self, now_mono: float) -> tuple[Entry, ...]:
        """Return the entries whose lease has expired; the caller ends it."""
        return tuple(self._by_id[name] for name in self._leases.take(now_mono))

    def take_idle(self, now_mono: float) -> tuple[Entry, ...]:
        """Return the entries whose session has exceeded its idle timeout; the caller closes it."""
        due = tuple(self._by_id[name] for name in self._idle.take(now_mono))
        idle = tuple(entry for entry in due if entry.session.idle_at(now_mono))
        for entry in due:
            # A session that is in use is due again with its last use, which is later when the use has ended.
            if entry not in idle and entry.session.state is not SessionState.CLOSING:
                self._await_idle(entry.session)
        return idle

    def _index(self, entry: Entry) -> None:
        session = entry.session
        if session.key is not None:
            self._by_key[session.key] = entry
        if session.socket_secret is not None:
            self._by_secret[session.socket_secret] = entry
        if session.state is SessionState.STARTING:
            self._starting.add(session.session_id)
        if session.lease is not None:
            self._leases.set(session.session_id, session.lease.expires_mono)
        self._await_idle(session)

    def _unindex(self, entry: Entry, session: Session) -> None:
        if session.key is not None and self._by_key.get(session.key) is entry:
            del self._by_key[session.key]
        if session.socket_secret is not None and self._by_secret.get(session.socket_secret) is entry:
            del self._by_secret[session.socket_secret]
        self._starting.discard(session.session_id)
        self._leases.remove(session.session_id)
        self._idle.remove(session.session_id)

    def _await_idle(self, session: Session) -> None:
        if session.idle_timeout > 0:
            self._idle.set(session.session_id, session.last_used_mono + session.idle_timeout)


def _is_found_otherwise(before: Session, after: Session) -> bool:
    """Return whether a change makes a difference to what `Entries` looks up.

    A later use does not: when the old time is reached, the new one is read.
    """
    return (
        before.state is not after.state
        or before.lease is not after.lease
        or before.key != after.key
        or before.idle_timeout != after.idle_timeout
        or before.last_used_mono > after.last_used_mono
        or before.socket_secret != after.socket_secret
    )
