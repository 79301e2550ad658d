"""The repository of one node of a cluster: rows belong to a node, and change hands in the database only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from drover.browser.saved_state import SavedState
from drover.core.deadline import Deadline
from drover.core.errors import NotOwner, StorageUnavailable
from drover.core.events import Emit
from drover.sessions.persistence.pending_writes import shared_terms
from drover.sessions.persistence.records import from_row
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.writer import PROMISE_S
from drover.sessions.pool.session import Session
from drover.storage.changes import Owner, SaveSession, owner_of
from drover.storage.cluster_values import TakenRow
from drover.storage.postgres.database import ClusterDatabase
from drover.storage.postgres.ownership import Ownership

UNCLAIMED = 0
"""The epoch of a session that has no row yet: a warm browser, or a start whose claim has no answer."""


class ClusterRepository(SessionRepository):
    """Saves and loads the sessions of this node; claims and takes sessions for it.

    Args:
        boot_id: Identifies the current boot of the machine.
    """

    def __init__(self, database: ClusterDatabase, ownership: Ownership, boot_id: str, emit: Emit) -> None:
        super().__init__(database, boot_id, emit)
        self._ownership = ownership

    @property
    def fault(self) -> str | None:
        """Return None: a database that does not answer makes no node unhealthy, or all would be restarted."""
        return None

    def next_epoch(self) -> int:
        """Return `UNCLAIMED`: the database gives a session its epoch, when its row is claimed."""
        return UNCLAIMED

    def record(self, session: Session) -> None:
        """Save a session in the background; never waits."""
        if session.epoch != UNCLAIMED:
            super().record(session)

    def confirm(self, session: Session, deadline: Deadline, *, lease_ended: bool = False) -> None:
        """Wait until everything is in the database that a response promises of a session."""
        if session.epoch == UNCLAIMED:
            raise StorageUnavailable(f"Session {session.session_id} is not claimed yet; retry")
        super().confirm(session, deadline, lease_ended=lease_ended)

    def claim(self, session: Session) -> Session:
        """Insert the row of a new session; return the session under its epoch."""
        epoch = self.insert(session)
        if epoch is None:
            raise NotOwner(f"Another node has session {session.session_id} or its key; ask that node")
        return self._claimed(replace(session, epoch=epoch))

    def insert(self, session: Session) -> int | None:
        """Insert a row that the database does not have, or has lost; return its epoch.

        None if another node has the session or its key.
        """
        terms = shared_terms(session, time.monotonic())
        return self._ownership.claim(SaveSession(owner_of(session), 0, self._document(session), terms))

    def give_key(self, session: Session, key: str) -> None:
        """Claim a key for a session that has none, before it is shown with it."""
        if not self._ownership.give_key(owner_of(session), key):
            raise NotOwner(f"Session {session.session_id} was given to another node; ask that node")

    def session_elsewhere(self, key: str) -> str | None:
        """Return the id of the session of a key that another node has, or that is parked."""
        found = self._ownership.locate(key=key)
        return found.session_id if found is not None else None

    def state_elsewhere(self, key: str) -> SavedState | None:
        """Return what was saved last of the session of a key that another node has, or that is parked."""
        return self._read(self._ownership.state_for(key), key)

    def leave(self, session: Session) -> None:
        """Park a session with a key: its id and key go on, and the next node that is asked restores it."""
        if session.key is None or session.epoch == UNCLAIMED:
            super().leave(session)
            return
        self._writer.wait(self._writer.look(lambda pending: pending.ticket), Deadline(PROMISE_S))
        self._ownership.park(self._writer.look(lambda pending: pending.owner(session)))
        self._writer.change(lambda pending: pending.drop(session))

    def taken(self, row: TakenRow, reserved: Session) -> tuple[Session, SavedState | None]:
        """Return a session that was taken from another node in the place that was reserved for it.

        It is ready without a browser, with what was saved of it; the times count on this node's clocks.

        Raises:
            NotOwner: This version of the program cannot read it; it is left to others.
        """
        record = from_row(row.row)
        if record is None:
            self._ownership.park(row.row.owner)
            raise NotOwner(
                f"Session {reserved.session_id} belongs to a newer version of Drover; ask another node"
            )
        now, now_mono = datetime.now(timezone.utc), time.monotonic()
        found = record.to_session(now_mono, now)
        lease = found.lease
        if lease is not None:
            left_s = row.lease_s if row.lease_s is not None else 0.0
            lease = replace(lease, expires_at=now + timedelta(seconds=left_s), expires_mono=now_mono + left_s)
        session = replace(
            found,
            folder=reserved.folder,
            running=None,
            lease=lease,
            last_used=now - timedelta(seconds=row.unused_s),
            last_used_mono=now_mono - row.unused_s,
        )
        return self._claimed(session), self._read(row.state, session.session_id)

    def write_again(self, session: Session, state: SavedState | None) -> None:
        """Write all of a session and the state of its browser: the database may have lost changes."""
        now = datetime.now(timezone.utc)
        self._writer.change(lambda pending: pending.renew(session, state, now))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write nothing in the `with` block, in which sessions get newer epochs and `moved` is called."""
        with self._writer.paused():
            yield

    def moved(self, session: Session, epoch: int) -> None:
        """Go on with a session of this node under a newer epoch."""
        self._writer.change(lambda pending: pending.move(session, epoch))

    def knows(self, owner: Owner) -> bool:
        """Return whether this node has a session under this epoch, or its end is to be written."""
        return self._writer.look(lambda pending: pending.has(owner))

    def _claimed(self, session: Session) -> Session:
        self._writer.change(lambda pending: pending.claimed(session))
        return session
