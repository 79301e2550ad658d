"""The session database of one node in PostgreSQL: writes in the name of its incarnation, and nothing else.

Every write names session, incarnation and epoch. A write that finds no such row changes nothing and says so:
the session belongs to another node by now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timezone
from functools import partial
from typing import Final
from uuid import UUID, uuid4

import psycopg

from drover.core import events
from drover.core.errors import StartObstructed, StartRefused, StorageUnavailable
from drover.core.events import Emit
from drover.storage.changes import (
    Change,
    Clear,
    EndSession,
    ForgetKey,
    KeepForKey,
    Owner,
    SaveSession,
    SaveState,
)
from drover.storage.cluster_values import NodeIdentity
from drover.storage.postgres import schema
from drover.storage.postgres.link import Answered, Connection, Link, Watchdog, check_url
from drover.storage.postgres.numbers import Numbers
from drover.storage.store import KeptState, SessionRow, SetAside, StoredState

START_PAUSE_S: Final = 1.0
MIGRATE_S: Final = 30.0
WRITE_S: Final = 3.0
NAME_S: Final = 15.0
"""How long a start waits for another node with its name to be lost."""
WRITTEN_AGAIN_S: Final = 5.0
"""After a lost connection: two signs of life of every node, with a failed attempt and the answers."""

MINE: Final = "session_id = %(session_id)s AND incarnation = %(me)s AND epoch = %(epoch)s"
"""The row of a session that this incarnation has under this epoch."""
_UPDATE: Final = f"""
    UPDATE sessions SET revision = %(revision)s, document = %(document)s, key = %(key)s,
        secret_hash = %(secret_hash)s, idle_s = %(idle_timeout)s,
        last_used_at = clock_timestamp() - make_interval(secs => %(unused_s)s),
        lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
    WHERE {MINE} AND revision <= %(revision)s
"""
_SAVE_STATE: Final = f"""
    INSERT INTO states SELECT session_id, epoch, %(state)s, %(taken_at)s FROM sessions WHERE {MINE} FOR SHARE
    ON CONFLICT (session_id) DO UPDATE SET epoch = excluded.epoch, state = excluded.state,
        taken_at = excluded.taken_at WHERE states.epoch <= excluded.epoch
"""
_KEEP: Final = f"""
    INSERT INTO kept SELECT %(key)s, epoch, %(state)s, %(taken_at)s FROM sessions WHERE {MINE}
        AND (SELECT emergency FROM cluster FOR SHARE) = %(emergency)s FOR SHARE
    ON CONFLICT (key) DO UPDATE SET epoch = excluded.epoch, state = excluded.state,
        taken_at = excluded.taken_at WHERE kept.epoch <= excluded.epoch
"""
_FORGET_KEY: Final = f"""
    DELETE FROM kept WHERE key = %(key)s AND EXISTS (SELECT FROM sessions WHERE {MINE})
"""
_PUT: Final = """
    INSERT INTO kept VALUES (%(key)s, nextval('epochs'), %(state)s, %(taken_at)s)
    ON CONFLICT (key) DO UPDATE SET epoch = excluded.epoch, state = excluded.state,
        taken_at = excluded.taken_at
"""
_FORGET_ANY: Final = "DELETE FROM kept WHERE key = %(key)s"
END: Final = f"DELETE FROM sessions WHERE {MINE}"
_CLEAR: Final = "DELETE FROM sessions WHERE incarnation = %(me)s AND epoch <= %(up_to)s"

_LEAVE_OLD: Final = """
    UPDATE nodes SET state = 'left'
    WHERE name = %(name)s AND data_id = %(data_id)s AND state IN ('up', 'draining')
        AND (%(is_start)s OR incarnation = ANY(%(past)s))
    RETURNING incarnation
"""
_JOIN: Final = """
    INSERT INTO nodes (incarnation, name, data_id, url, version, max_sessions, free, emergency)
    SELECT %(me)s, %(name)s, %(data_id)s, %(url)s, %(version)s, %(max_sessions)s, 0,
        coalesce(
            (SELECT max(emergency) FROM nodes WHERE name = %(name)s AND data_id = %(data_id)s), emergency)
    FROM cluster
    RETURNING emergency
"""
_RECLAIM: Final = """
    UPDATE sessions SET incarnation = %(me)s, epoch = nextval('epochs') WHERE incarnation IN (
        SELECT incarnation FROM nodes
        WHERE name = %(name)s AND data_id = %(data_id)s AND state IN ('lost', 'left')
    ) RETURNING session_id, epoch, revision, document, created_at
"""


class NameTaken(StorageUnavailable):
    """Another living node has the name of this one."""


class ClusterDatabase:
    """The database as this node's repository of sessions sees it.

    Args:
        identify: Returns this node; called when the data folder is locked.

    Attributes:
        identity: This node.
        incarnation: This life of the node as a member of the cluster.
        emergency: The number of the last emergency of the whole cluster that this node has obeyed.
        numbers: The epochs and versions that this node has seen.
    """

    def __init__(self, url: str, identify: Callable[[], NodeIdentity], emit: Emit) -> None:
        check_url(url)
        self._identify = identify
        self.incarnation = UUID(int=0)
        self.emergency = 0
        self._emit = emit
        self._past: set[UUID] = set()
        self._without_key: set[Owner] = set()
        self._look: Callable[[], object] = lambda: None
        self._waits_no_longer = False
        self._watchdog = Watchdog()
        self._answered = Answered()
        self.numbers = Numbers()
        links = (Link(url, self._watchdog, self._answered, self.numbers.look) for _ in range(3))
        self.writing, self.reading, self.beating = links

    def open(self) -> SetAside | None:
        """Create or migrate the tables; wait for the database as long as that takes.

        Nothing of the sessions on this machine may be judged before the database has said whose they are.

        Raises:
            StartObstructed: There is no database yet, and `stop_waiting` was called.
        """
        self.identity = self._identify()
        is_told = False
        while True:
            try:
                self.writing.run(schema.migrate, MIGRATE_S)
            except StorageUnavailable as error:
                if self._waits_no_longer:
                    raise StartObstructed(error.message) from error
                if not is_told:
                    self._emit(events.DatabaseAwaited(error.message))
                is_told = True
                time.sleep(START_PAUSE_S)
            else:
                return None

    @property
    def may_lack_rows(self) -> bool:
        """Whether it may have failed over a moment ago, so that nodes are about to write lost rows again."""
        return time.monotonic() - self._answered.reopened_at < WRITTEN_AGAIN_S

    @property
    def losses(self) -> int:
        """How often it may have lost its last transactions: what they wrote is to be written again."""
        return self._answered.losses

    def suspect_loss(self) -> None:
        """Note that it has lost transactions although no connection ended, as behind a pooler."""
        self._answered.reopen()

    def stop_waiting(self) -> None:
        """Wait no longer for the database: the service is stopping."""
        self._waits_no_longer = True

    def call_while_name_is_taken(self, look: Callable[[], object]) -> None:
        """Have a function called about every second while another node has the name of this one."""
        self._look = look

    def close(self) -> None:
        """Close the connections."""
        for link in (self.writing, self.reading, self.beating):
            link.close()
        self._watchdog.stop()

    def load_all(self) -> tuple[SessionRow, ...]:
        """Join the cluster; return the sessions of this node that no other one has taken, the oldest first.

        Raises:
            StartRefused: Another living node has the name of this one.
        """
        over = time.monotonic() + NAME_S
        while True:
            try:
                rows = self._joined()
            except StorageUnavailable as error:
                if time.monotonic() > over:
                    refusal = StartRefused if isinstance(error, NameTaken) else StartObstructed
                    raise refusal(error.message) from error
            else:
                self._emit(events.ClusterJoined(self.identity.name, len(rows)))
                return rows
            time.sleep(START_PAUSE_S)

    def _joined(self) -> tuple[SessionRow, ...]:
        try:
            return self.join(is_start=True)
        except NameTaken:
            self._look()
            raise

    def join(self, *, is_start: bool = False) -> tuple[SessionRow, ...]:
        """Begin a new incarnation, and reclaim what no other node has taken from the last one.

        Args:
            is_start: Whether this process joins for the first time: as it has locked the data folder, a node
                with the same folder lives no more. Later that can only be a copy of this machine.

        Raises:
            NameTaken: Another living node has the name of this one.
            StorageUnavailable: The database could not be used.
        """
        new = uuid4()
        values = asdict(self.identity) | {
            "me": new,
            "is_start": is_start,
            # They never live again. But this node lives under one if the answer to that attempt was lost, or
            # if the database has lost how it ended.
            "past": list(self._past),
        }
        self._past.add(new)

        def statements(connection: Connection) -> tuple[int, tuple[SessionRow, ...]]:
            self._past |= {row[0] for row in connection.execute(_LEAVE_OLD, values).fetchall()}
            obeyed = connection.execute(_JOIN, values).fetchone()
            assert obeyed is not None
            rows = sorted(connection.execute(_RECLAIM, values).fetchall(), key=lambda row: row[4])
            for row in rows:
                self.numbers.note(row[1])
            return obeyed[0], tuple(SessionRow(Owner(row[0], row[1]), row[2], row[3]) for row in rows)

        try:
            self.emergency, rows = self.beating.run(statements, WRITE_S)
        except psycopg.errors.UniqueViolation as error:
            raise NameTaken(
                f"Another node at DROVER_DATABASE_URL has the name {self.identity.name}{self._whose_name()}: "
                "set DROVER_NODE_NAME to another name, or stop that node"
            ) from error
        self.incarnation = new
        return rows

    def write(self, changes: Sequence[Change]) -> frozenset[Owner]:
        """Write changes in their order, all of them or none; they are on disk when this returns.

        Not the sessions whose key another one got while the database had forgotten whose it was.
        """
        me, emergency = self.incarnation, self.emergency

        def written(change: Change, connection: Connection) -> bool:
            return connection.execute(*_statement(change, me, emergency)).rowcount > 0

        def written_alone(change: Change, connection: Connection) -> bool:
            try:
                with connection.transaction():
                    return written(change, connection)
            except psycopg.errors.UniqueViolation:
                assert isinstance(change, SaveSession)
                self._without_key.add(change.owner)
                return False

        def statements(
            write: Callable[[Change, Connection], bool], connection: Connection
        ) -> frozenset[Owner]:
            done = [(change, write(change, connection)) for change in changes]
            sessions = [(change, is_done) for change, is_done in done if isinstance(change, SaveSession)]
            return frozenset(change.owner for change, is_done in sessions if not is_done)

        try:
            return self.writing.run(partial(statements, written), WRITE_S)
        except psycopg.errors.UniqueViolation:
            return self.writing.run(partial(statements, written_alone), WRITE_S)

    def has_lost_key(self, owner: Owner) -> bool:
        """Return whether another session has the key of a session of this node."""
        return owner in self._without_key

    def check_files(self) -> bool:
        """Return False: there are no files."""
        return False

    def last_epoch(self) -> int:
        """Return 0: epochs come from the database."""
        return 0

    def load_state(self, owner: Owner) -> StoredState | None:
        """Return the saved state of a session's browser, or None."""
        return self.stored("SELECT state, taken_at FROM states WHERE session_id = %s", owner.session_id)

    def load_for_key(self, key: str) -> StoredState | None:
        """Return the state that is kept for a key, or None."""
        return self.stored("SELECT state, taken_at FROM kept WHERE key = %s", key)

    def load_kept(self) -> tuple[KeptState, ...]:
        """Return what is kept for all keys, without the states; the oldest first."""
        query = "SELECT key, taken_at, octet_length(state) FROM kept ORDER BY taken_at"
        rows = self.reading.run(lambda connection: connection.execute(query).fetchall())
        return tuple(KeptState(key, taken_at.astimezone(timezone.utc), size) for key, taken_at, size in rows)

    def stored(self, query: str, name: str) -> StoredState | None:
        """Return the state that a query with one parameter finds, or None."""
        row = self.reading.run(lambda connection: connection.execute(query, [name]).fetchone())
        return StoredState(row[0], row[1].astimezone(timezone.utc)) if row is not None else None

    def _whose_name(self) -> str:
        def statements(connection: Connection) -> tuple[str] | None:
            query = "SELECT url FROM nodes WHERE name = %s AND state IN ('up', 'draining')"
            return connection.execute(query, [self.identity.name]).fetchone()

        found = self.reading.run(statements)
        return f" (at {found[0]})" if found else ""


def _statement(change: Change, me: UUID, emergency: int) -> tuple[str, dict[str, object]]:
    """Return the SQL of a change and its parameters."""
    if isinstance(change, Clear):
        return _CLEAR, {"me": me, "up_to": change.up_to}
    if isinstance(change, (KeepForKey, ForgetKey)):
        return _statement_for_key(change, me, emergency)
    mine = mine_of(change.owner, me)
    if isinstance(change, SaveSession):
        row = {"revision": change.revision, "document": change.document}
        return _UPDATE, mine | asdict(change.terms) | row
    if isinstance(change, SaveState):
        return _SAVE_STATE, mine | {"state": change.state, "taken_at": change.taken_at}
    assert isinstance(change, EndSession)
    return END, mine


def _statement_for_key(
    change: KeepForKey | ForgetKey, me: UUID, emergency: int
) -> tuple[str, dict[str, object]]:
    mine = mine_of(change.owner, me) if change.owner is not None else {}
    if isinstance(change, ForgetKey):
        return (_FORGET_KEY if mine else _FORGET_ANY), mine | {"key": change.key}
    kept = {"key": change.key, "state": change.state, "taken_at": change.taken_at, "emergency": emergency}
    return (_KEEP if mine else _PUT), mine | kept


def mine_of(owner: Owner, me: UUID) -> dict[str, object]:
    """Return the parameters of `MINE`."""
    return {"me": me} | asdict(owner)
