"""The repository of sessions: keeps on disk what must outlive the process.

Every change is recorded in memory, in the order in which the registry makes it, and written in the
background. Only a request that promises something to its client waits until that is on disk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial

from drover.browser.saved_state import SavedState
from drover.core import events
from drover.core.deadline import Deadline
from drover.core.errors import StartObstructed, StorageUnavailable
from drover.core.events import Emit
from drover.sessions.persistence.pending_writes import CapturedState, PendingWrites
from drover.sessions.persistence.records import SessionRecord, from_row, to_document
from drover.sessions.persistence.writer import PROMISE_S, Writer
from drover.sessions.pool.session import Session
from drover.storage.changes import Owned, owner_of
from drover.storage.store import KeptState, SessionStore, StoredState


class SessionRepository:
    """Saves and loads sessions and saved states; the journal of the registry.

    Args:
        boot_id: Identifies the current boot of the machine.
    """

    def __init__(self, database: SessionStore, boot_id: str, emit: Emit) -> None:
        self._database = database
        self._boot_id = boot_id
        self._emit = emit
        self._writer = Writer(database, self._document, emit)
        self._epochs: Iterator[int] = itertools.count(1)

    def open(self) -> tuple[SessionRecord, ...]:
        """Open the database and return the sessions of the earlier run, the oldest first.

        A session that cannot be read stays in the database: another version may be able to read it.

        Raises:
            StartRefused: The folder is not writable.
        """
        set_aside = self._database.open()
        if set_aside is not None:
            self._emit(events.StoreSetAside(str(set_aside.path), set_aside.reason))
        loaded: list[SessionRecord] = []
        for row in self._database.load_all():
            record = from_row(row)
            if record is None:
                name = row.owner.session_id
                self._emit(events.StoreFailed(f"session {name} of an earlier run cannot be read"))
            else:
                self._writer.change(partial(PendingWrites.adopt, record=record))
                loaded.append(record)
        self._epochs = itertools.count(self._database.last_epoch() + 1)
        self._writer.start()
        return tuple(loaded)

    def close(self) -> None:
        """Write what is pending, and close the database.

        Raises:
            StorageUnavailable: Something could not be written.
        """
        try:
            self._writer.stop()
        finally:
            self._database.close()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be promised at present; None if nothing is known against it."""
        return self._writer.trouble

    @property
    def fault(self) -> str | None:
        """Why the service is unhealthy, as far as its storage goes; None if nothing is known against it."""
        return self.trouble

    def hold(self, reason: str | None) -> None:
        """Write and promise nothing for this reason, until it is None again."""
        self._writer.hold(reason)

    def next_epoch(self) -> int:
        """Return the number of another birth of a session, higher than all before."""
        return next(self._epochs)

    def claim(self, session: Session) -> Session:
        """Claim the id and the key of a new session; return the session under the epoch that it has by this.

        Raises:
            NotOwner: Another node has a session with this id or key.
            StorageUnavailable: The database does not answer.
        """
        return session

    def give_key(self, session: Session, key: str) -> None:
        """Claim a key for a session that has none, before it is shown with it.

        Raises:
            KeyConflict: Another session has the key.
            StorageUnavailable: The database does not answer.
        """

    def record(self, session: Session) -> None:
        """Save a session in the background; never waits."""
        self._writer.change(lambda pending: pending.record(session))

    def confirm(self, session: Session, deadline: Deadline, *, lease_ended: bool = False) -> None:
        """Wait until everything is on disk that a response promises of a session.

        Args:
            session: The session as the response describes it.
            lease_ended: Whether the response promises that the session is not leased any more.

        Raises:
            StorageUnavailable: It could not be written in time; the attempts go on.
        """
        ticket = self._writer.look(lambda pending: pending.promised(session, lease_ended=lease_ended))
        self._writer.wait(ticket, deadline)
        if self._writer.look(lambda pending: pending.is_refused(session)):
            raise StorageUnavailable(f"Session {session.session_id} was given to another node; retry")

    def save_state(self, session: Session, state: SavedState) -> None:
        """Save the state of a session's browser in the background."""
        now = datetime.now(timezone.utc)
        self._writer.change(lambda pending: pending.save_state(session, state, now))

    def state_of(self, record: SessionRecord) -> SavedState | None:
        """Return the state last saved from the browser of a session of the earlier run.

        If none was saved yet, that is what its browser was started with: what is kept for its key.

        Raises:
            StartRefused: The database could not be read.
        """
        try:
            saved = self._read(self._database.load_state(owner_of(record)), record.session_id)
            return saved or (self.kept_for_key(record.key) if record.key is not None else None)
        except StorageUnavailable as error:
            raise StartObstructed(error.message) from error

    def keep_for_key(self, session: Session, key: str, state: SavedState) -> datetime:
        """Keep the state of a session that ends for the next session with its key, in the background.

        Returns:
            The time that names it.
        """
        now = datetime.now(timezone.utc)
        self._writer.change(lambda pending: pending.keep(session, key, state, now))
        return now

    def put_for_key(self, key: str, state: SavedState, deadline: Deadline) -> None:
        """Keep a state that does not come from a session for a key, and wait until it is on disk.

        Raises:
            StorageUnavailable: It could not be written in time; the attempts go on.
        """
        now = datetime.now(timezone.utc)
        self._writer.wait(self._writer.change(lambda pending: pending.put(key, state, now)), deadline)

    def kept_for_key(self, key: str) -> SavedState | None:
        """Return the state that is kept for a key; it stays until another one replaces it.

        Raises:
            StorageUnavailable: The database could not be read.
        """
        kept = self.kept_login(key)
        return kept.state if kept is not None else None

    def kept_login(self, key: str) -> CapturedState | None:
        """Return the state that is kept for a key with the time of its capture, or None.

        Raises:
            StorageUnavailable: The database could not be read.
        """
        is_pending, found = self._writer.look(lambda pending: (pending.is_known(key), pending.kept(key)))
        if is_pending:
            return found
        stored = self._database.load_for_key(key)
        state = self._read(stored, key)
        return CapturedState(state, stored.taken_at) if stored is not None and state is not None else None

    def keeps(self, key: str) -> bool:
        """Return whether a state is kept for a key, also one that this version cannot read.

        Raises:
            StorageUnavailable: The database could not be read.
        """
        is_pending, found = self._writer.look(lambda pending: (pending.is_known(key), pending.kept(key)))
        return found is not None if is_pending else self._database.load_for_key(key) is not None

    def session_elsewhere(self, key: str) -> str | None:  # noqa: ARG002 - there is no other node
        """Return the id of the session of a key that this node does not have, or None.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        return None

    def state_elsewhere(self, key: str) -> SavedState | None:  # noqa: ARG002 - there is no other node
        """Return what was saved last of the session of a key that this node does not have, or None.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        return None

    def kept_keys(self, deadline: Deadline) -> tuple[KeptState, ...]:
        """Return what is kept for all keys, the oldest first; waits until all that is pending is on disk.

        Raises:
            StorageUnavailable: The database could not be written or read.
        """
        self._writer.wait(self._writer.look(lambda pending: pending.ticket if pending else 0), deadline)
        return self._database.load_kept()

    def forget_key(self, session: Session, key: str) -> None:
        """Delete the state that is kept for the key of a session that ends, in the background."""
        self._writer.change(lambda pending: pending.forget_key(session, key))

    def forget_key_durably(self, key: str, deadline: Deadline) -> None:
        """Delete the state that is kept for a key, and wait until that is on disk.

        Raises:
            StorageUnavailable: It could not be written in time; the attempts go on.
        """
        self._writer.wait(self._writer.change(lambda pending: pending.forget_key(None, key)), deadline)

    def forget(self, owned: Owned) -> int:
        """Delete a session and its state in the background; return the ticket of the deletion."""
        return self._writer.change(lambda pending: pending.end(owned))

    def end(self, owned: Owned) -> None:
        """Delete a session and the state of its browser, and wait until that and all before it is on disk.

        Raises:
            StorageUnavailable: It could not be written in time; the attempts go on.
        """
        self._writer.wait(self.forget(owned), Deadline(PROMISE_S))

    def leave(self, session: Session) -> None:
        """Record that a session ends because the service stops, so that another node may go on with it.

        Raises:
            StorageUnavailable: It could not be written in time; the attempts go on.
        """
        self.end(session)

    def forget_all(self, deadline: Deadline) -> None:
        """Delete all sessions and states, and wait until that is on disk.

        Raises:
            StorageUnavailable: It could not be written in time; the attempts go on.
        """
        self._writer.wait(self._writer.change(PendingWrites.clear), deadline)

    def _document(self, session: Session) -> str:
        return to_document(SessionRecord.of(session, self._boot_id))

    def _read(self, stored: StoredState | None, of: str) -> SavedState | None:
        if stored is None:
            return None
        try:
            return SavedState.from_json(stored.state)
        except ValueError as error:
            self._emit(events.StoreFailed(f"the saved state of {of} cannot be read: {error}"))
            return None
