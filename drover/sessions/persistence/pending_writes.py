"""What has changed in memory and is not on disk yet: of each session and key only the newest.

Every change gets a ticket, a number that grows. A batch contains all changes up to its ticket, so a change is
on disk as soon as a batch of the same or a later ticket has been written.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from drover.browser.saved_state import SavedState
from drover.sessions.persistence.records import SessionRecord
from drover.sessions.pool.session import KeepAlive, Session
from drover.storage.changes import (
    Change,
    Clear,
    EndSession,
    ForgetKey,
    KeepForKey,
    Owned,
    Owner,
    SaveSession,
    SaveState,
    SharedTerms,
    owner_of,
)

ToDocument = Callable[[Session], str]


@dataclass(frozen=True, slots=True)
class CapturedState:
    """The state of a browser, and the time of its capture, which names what is kept for a key."""

    state: SavedState
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is to be kept for a key, and by whose session, if any; without a state it is to be deleted."""

    owner: Owner | None
    state: CapturedState | None


@dataclass(frozen=True, slots=True)
class Terms:
    """The part of a session that responses promise to clients.

    Attributes:
        lease: Token and expiry of the lease.
    """

    key: str | None
    idle_timeout: float
    keep_alive: KeepAlive | None
    lease: tuple[str, datetime] | None

    @classmethod
    def of(cls, session: Session | SessionRecord) -> Terms:
        """Return the terms of a session."""
        lease = (session.lease.token, session.lease.expires_at) if session.lease is not None else None
        return cls(session.key, session.idle_timeout, session.keep_alive, lease)

    def include(self, promised: Terms) -> bool:
        """Return whether these hold all that was promised; the end of a lease is not promised."""
        lease = self.lease if promised.lease is None else promised.lease
        return self == replace(promised, lease=lease)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One session that is on disk, or will be, and what is to be written of it.

    Attributes:
        is_new: It may not be on disk yet.
        is_tried: A batch with it has been taken, so it may be on disk although that failed.
        revision: The newest revision that was recorded.
        terms: The part of it that responses promise.
        promised: The ticket of the last change of the terms; 0 if that is on disk.
        saved: The terms that are on disk.
        session: The newest revision, if it is to be written.
        state: The state of its browser, if that is to be written.
        ended: It is to be deleted.
    """

    is_new: bool
    is_tried: bool = False
    revision: int = -1
    terms: Terms | None = None
    promised: int = 0
    saved: Terms | None = None
    session: Session | None = None
    state: CapturedState | None = None
    ended: bool = False

    @property
    def is_written(self) -> bool:
        return self.session is None and self.state is None and not self.ended


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes to write together, in this order.

    Attributes:
        ticket: The ticket of the newest change in it.
        cleared: The deletion of everything is part of it, up to this epoch; None if it is not.
        entries: The sessions as they were when it was taken.
        kept: What was to be kept for keys when it was taken.
    """

    ticket: int
    cleared: int | None
    entries: dict[Owner, _Entry]
    kept: dict[str, _Kept]

    def changes(self, to_document: ToDocument) -> Iterator[Change]:
        """Yield the changes: sessions before what belongs to them, and deletions of sessions last."""
        if self.cleared is not None:
            yield Clear(self.cleared)
        for owner, entry in self.entries.items():
            if entry.session is not None:
                document = to_document(entry.session)
                terms = shared_terms(entry.session, time.monotonic())
                yield SaveSession(owner, entry.session.revision, document, terms, is_new=entry.is_new)
        for owner, entry in self.entries.items():
            if entry.state is not None:
                yield SaveState(owner, entry.state.state.to_json(), entry.state.taken_at)
        for key, kept in self.kept.items():
            if kept.state is None:
                yield ForgetKey(kept.owner, key)
            else:
                yield KeepForKey(kept.owner, key, kept.state.state.to_json(), kept.state.taken_at)
        for owner, entry in self.entries.items():
            if entry.ended:
                yield EndSession(owner)


class PendingWrites:
    """The changes that are not on disk yet. Not thread-safe: its owner holds a lock.

    Changes of a session that has been ended, or was dropped by `clear`, are ignored: they come too late.

    Attributes:
        written_ticket: The changes up to this one are on disk.
    """

    def __init__(self) -> None:
        self.written_ticket = 0
        self._ticket = 0
        self._cleared = 0
        self._cleared_up_to = 0
        # Not by epoch alone: after a failover the database may give a number again that another session had.
        self._entries: dict[Owner, _Entry] = {}
        self._moved: dict[Owner, Owner] = {}
        self._kept: dict[str, _Kept] = {}
        self._refused: set[Owner] = set()

    def __bool__(self) -> bool:
        is_written = all(entry.is_written for entry in self._entries.values())
        return self._cleared > 0 or bool(self._kept) or not is_written

    def adopt(self, record: SessionRecord) -> None:
        """Add a session that is on disk as it is."""
        terms = Terms.of(record)
        self._entries[owner_of(record)] = _Entry(
            is_new=False, revision=record.revision, terms=terms, saved=terms
        )

    def claimed(self, session: Session) -> None:
        """Add a session whose row the database has, but nothing else of it yet."""
        self._entries[owner_of(session)] = _Entry(is_new=False, is_tried=True)

    def move(self, session: Session, epoch: int) -> None:
        """Go on with a session under a newer epoch; all of it is written anew at its next record.

        Work that is in progress still names it by the epoch that it began with.
        """
        before = self.owner(session)
        after = replace(before, epoch=epoch)
        entry = self._entries.pop(before, None)
        self._refused.discard(before)
        if entry is None:
            return
        self._entries[after] = replace(entry, revision=-1, saved=None)
        self._moved = {one: after if now == before else now for one, now in self._moved.items()}
        self._moved[before] = after
        self._kept = {
            key: replace(kept, owner=after) if kept.owner == before else kept
            for key, kept in self._kept.items()
        }

    def owner(self, owned: Owned) -> Owner:
        """Return a session under its present epoch, by whichever epoch of it is known."""
        named = owner_of(owned)
        return self._moved.get(named, named)

    def renew(self, session: Session, state: SavedState | None, taken_at: datetime) -> None:
        """Write all of a session anew, and the state of its browser: the database may have lost it."""
        owner = self.owner(session)
        entry = self._entries.get(owner)
        if entry is None or entry.ended:
            return
        if session.revision >= entry.revision:
            # A newer one has been recorded since the loss, and is written anyway.
            self._entries[owner] = replace(entry, revision=-1, terms=None, saved=None)
            self.record(session)
        if state is not None:
            self.save_state(session, state, taken_at)

    @property
    def ticket(self) -> int:
        """The ticket of the newest change."""
        return self._ticket

    def drop(self, owned: Owned) -> None:
        """Write nothing more of a session, which stays on disk as it is."""
        self._remove(self.owner(owned))

    def has(self, owner: Owner) -> bool:
        """Return whether a session is on disk under this epoch, or will be, or is to be deleted."""
        return owner in self._entries or (self._cleared > 0 and owner.epoch <= self._cleared_up_to)

    def is_refused(self, owned: Owned) -> bool:
        """Return whether the database has refused a write of a session, because another node has it."""
        return self.owner(owned) in self._refused

    def record(self, session: Session) -> None:
        """Save a session; the first record of one that was not adopted inserts it."""
        owner = self.owner(session)
        entry = self._entries.get(owner) or _Entry(is_new=True)
        if entry.ended or session.revision <= entry.revision:
            return
        ticket, terms = self._next_ticket(), Terms.of(session)
        promised = ticket if terms != entry.terms else entry.promised
        self._entries[owner] = replace(
            entry, revision=session.revision, terms=terms, promised=promised, session=session
        )

    def save_state(self, owned: Owned, state: SavedState, taken_at: datetime) -> None:
        """Save the state of a session's browser."""
        owner = self.owner(owned)
        entry = self._entries.get(owner)
        if entry is not None and not entry.ended:
            self._next_ticket()
            self._entries[owner] = replace(entry, state=CapturedState(state, taken_at))

    def keep(self, owned: Owned, key: str, state: SavedState, taken_at: datetime) -> None:
        """Keep the state of a session for the next one with its key."""
        owner = self.owner(owned)
        entry = self._entries.get(owner)
        if entry is not None and not entry.ended:
            self._next_ticket()
            self._kept[key] = _Kept(owner, CapturedState(state, taken_at))

    def put(self, key: str, state: SavedState, taken_at: datetime) -> int:
        """Keep a state that does not come from a session; return its ticket."""
        self._kept[key] = _Kept(None, CapturedState(state, taken_at))
        return self._next_ticket()

    def forget_key(self, owned: Owned | None, key: str) -> int:
        """Delete what is kept for a key, in the name of its session if any; return the deletion's ticket."""
        self._kept[key] = _Kept(self.owner(owned) if owned is not None else None, None)
        return self._next_ticket()

    def end(self, owned: Owned) -> int:
        """Delete a session; return the ticket of the deletion, 0 if the session is not on disk."""
        owner = self.owner(owned)
        entry = self._entries.get(owner)
        if entry is None:
            return 0
        if entry.is_new and not entry.is_tried:
            self._remove(owner)
            return 0
        if not entry.ended:
            entry = _Entry(is_new=False, is_tried=True, promised=self._next_ticket(), ended=True)
            self._entries[owner] = entry
        return entry.promised

    def clear(self) -> int:
        """Delete all sessions and everything that is kept; return the ticket of the deletion."""
        self._cleared_up_to = max((owner.epoch for owner in self._entries), default=self._cleared_up_to)
        self._entries.clear()
        self._moved.clear()
        self._kept.clear()
        self._cleared = self._next_ticket()
        return self._cleared

    def promised(self, session: Session, *, lease_ended: bool = False) -> int:
        """Return the ticket of what a response promises of a session, 0 if that is on disk.

        Args:
            session: The session as the response describes it.
            lease_ended: Whether the response promises that the session is not leased any more.
        """
        entry = self._entries.get(self.owner(session))
        if entry is None:
            return 0
        is_saved = entry.saved is not None and entry.saved.include(Terms.of(session))
        return 0 if is_saved and not lease_ended else entry.promised

    def is_known(self, key: str) -> bool:
        """Return whether `kept` says what is kept for a key; else the database does."""
        return self._cleared > 0 or key in self._kept

    def kept(self, key: str) -> CapturedState | None:
        """Return the state that is to be kept for a key, or None."""
        found = self._kept.get(key)
        return found.state if found is not None else None

    def take(self) -> Batch:
        """Return everything that is to be written; it stays pending until `written`."""
        due = {owner: entry for owner, entry in self._entries.items() if not entry.is_written}
        self._entries |= {owner: replace(entry, is_tried=True) for owner, entry in due.items()}
        cleared = self._cleared_up_to if self._cleared else None
        return Batch(self._ticket, cleared, due, dict(self._kept))

    def written(self, batch: Batch, refused: frozenset[Owner] = frozenset()) -> None:
        """Drop the changes of a batch that is on disk, except for what has changed again in the meantime.

        Args:
            refused: The owners whose sessions belong to another node by now; nothing was written of them.
        """
        self._refused |= refused
        for owner, wrote in batch.entries.items():
            entry = self._entries.get(owner)
            if entry is not None and wrote.ended:
                self._remove(owner)
                self._refused.discard(owner)
            elif entry is not None:
                self._entries[owner] = replace(
                    entry,
                    is_new=entry.is_new and wrote.session is None,
                    promised=entry.promised if entry.promised > batch.ticket else 0,
                    saved=entry.saved if wrote.session is None else Terms.of(wrote.session),
                    session=entry.session if entry.session is not wrote.session else None,
                    state=entry.state if entry.state is not wrote.state else None,
                )
        self._kept = {key: kept for key, kept in self._kept.items() if kept is not batch.kept.get(key)}
        if self._cleared <= batch.ticket:
            self._cleared = 0
        self.written_ticket = batch.ticket

    def _remove(self, owner: Owner) -> None:
        self._entries.pop(owner, None)
        self._moved = {one: now for one, now in self._moved.items() if now != owner}

    def _next_ticket(self) -> int:
        self._ticket += 1
        return self._ticket


def shared_terms(session: Session, now_mono: float) -> SharedTerms:
    """Return what other nodes read of a session, at a time of the monotonic clock."""
    return SharedTerms(
        session.key,
        secret_hash(session.socket_secret) if session.socket_secret is not None else None,
        session.idle_timeout,
        max(now_mono - session.last_used_mono, 0.0),
        session.lease.expires_mono - now_mono if session.lease is not None else None,
    )


def secret_hash(secret: str) -> str:
    """Return the hash by which the database finds the address of a socket without knowing its secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
