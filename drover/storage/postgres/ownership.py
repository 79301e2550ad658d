"""Ownership in PostgreSQL: who has a session, and the statements by which it changes hands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final
from uuid import UUID

import psycopg

from drover.core.errors import KeyConflict
from drover.storage.changes import Owner, SaveSession
from drover.storage.cluster_values import Answer, Load, Located, Node, NodeState, Summary, TakenRow
from drover.storage.postgres import nodes
from drover.storage.postgres.database import END, MINE, ClusterDatabase, mine_of
from drover.storage.postgres.link import Connection
from drover.storage.store import SessionRow, StoredState

_LOCATE: Final = """
    SELECT session_id, key, epoch, incarnation, n.state, n.url, n.name, revision
    FROM sessions s LEFT JOIN nodes n USING (incarnation)
    WHERE session_id = %(session_id)s OR key = %(key)s OR secret_hash = %(secret_hash)s
"""
_CLAIM: Final = """
    INSERT INTO sessions (session_id, key, secret_hash, incarnation, document, idle_s)
    SELECT %(session_id)s, %(key)s, %(secret_hash)s, incarnation, %(document)s, %(idle_timeout)s
    FROM nodes WHERE incarnation = %(me)s AND state IN ('up', 'draining')
    ON CONFLICT DO NOTHING RETURNING epoch
"""
_UNOWNED: Final = """(incarnation IS NULL OR EXISTS (
        SELECT FROM nodes n WHERE n.incarnation = s.incarnation AND n.state IN ('lost', 'left')))"""
"""The condition for a row `s` of sessions that no living node has."""
_MAY_TAKE: Final = f"session_id = %(session_id)s AND epoch = %(seen)s AND {_UNOWNED}"
_TAKE: Final = f"""
    UPDATE sessions s SET incarnation = %(me)s, epoch = nextval('epochs'), revision = 1 WHERE {_MAY_TAKE}
    RETURNING epoch, revision, document, extract(epoch FROM clock_timestamp() - last_used_at)::float8,
        extract(epoch FROM lease_until - clock_timestamp())::float8
"""
_REMOVE: Final = f"DELETE FROM sessions s WHERE {_MAY_TAKE} RETURNING key"
_END_UNOWNED: Final = f"DELETE FROM sessions s WHERE {_UNOWNED}"
_GIVE_KEY: Final = f"""
    UPDATE sessions SET key = %(key)s WHERE {MINE} AND (key IS NULL OR key = %(key)s)
"""
_PARK: Final = f"""
    UPDATE sessions SET incarnation = NULL, epoch = nextval('epochs')
    WHERE {MINE} AND (SELECT emergency FROM cluster FOR SHARE) = %(emergency)s
"""
_DROP_UNANSWERED: Final = f"DELETE FROM sessions WHERE {MINE} AND revision = 0"
_DESCRIBE: Final = f"""
    UPDATE sessions SET summary = %(summary)s, described = nextval('epochs'),
        last_used_at = clock_timestamp() - make_interval(secs => %(unused_s)s)
    WHERE {MINE} RETURNING described
"""
_VERSIONS: Final = """
    SELECT session_id, described, n.name FROM sessions s LEFT JOIN nodes n USING (incarnation)
    WHERE incarnation IS DISTINCT FROM %(me)s AND summary IS NOT NULL ORDER BY created_at, session_id
    LIMIT %(limit)s
"""
_SUMMARIES: Final = "SELECT session_id, summary FROM sessions WHERE session_id = ANY(%s)"
_IDLE: Final = f"""
    SELECT session_id, epoch FROM sessions s
    WHERE {_UNOWNED} AND idle_s > 0 AND extract(epoch FROM clock_timestamp() - last_used_at) > idle_s
        AND (lease_until IS NULL OR lease_until < clock_timestamp())
    LIMIT 100 FOR UPDATE SKIP LOCKED
"""
_STATE: Final = "SELECT state, taken_at FROM states WHERE session_id = %s"
# A session that has no save of its own yet has what its browser was started with: what is kept for its key.
_STATE_TO_RESTORE: Final = """
    SELECT coalesce(own.state, kept.state), coalesce(own.taken_at, kept.taken_at)
    FROM sessions LEFT JOIN states own USING (session_id) LEFT JOIN kept USING (key)
    WHERE session_id = %s AND (own.state IS NOT NULL OR kept.state IS NOT NULL)
"""
_KEEP: Final = """
    INSERT INTO kept (key, epoch, state, taken_at) VALUES (%(key)s, %(epoch)s, %(state)s, %(taken_at)s)
    ON CONFLICT (key) DO UPDATE SET epoch = excluded.epoch, state = excluded.state,
        taken_at = excluded.taken_at WHERE kept.epoch <= excluded.epoch
"""


@dataclass(eq=False, repr=False)
class Ownership:
    """The statements of one node; every method raises StorageUnavailable if the database does not answer."""

    _database: ClusterDatabase
    _beat: tuple[UUID, int] | None = field(default=None, init=False)

    def beat(self, load: Load) -> Answer:
        """Send a sign of life, and return what the database knows of nodes and of this node's sessions.

        If the database has lost its last transactions in a failover, its numbers go on from where they were.
        """
        obeyed = self._database.emergency
        state = NodeState.DRAINING if load.is_draining else NodeState.UP
        values = asdict(load) | {
            "me": self._database.incarnation,
            "state": state.value,
            "emergency": obeyed,
        }

        def statements(connection: Connection) -> tuple[Any, ...]:
            row = connection.execute(nodes.BEAT, values).fetchone()
            assert row is not None
            self._database.numbers.check(row[4], connection)
            if row[1] < obeyed:
                connection.execute(nodes.COUNT_EMERGENCIES, [obeyed])
            return row

        row = self._database.beating.run(statements)
        self._compare(row[0])
        return Answer(row[0], max(row[1], obeyed), tuple(_node(one) for one in row[2]), dict(row[3]))

    def _compare(self, beat: int | None) -> None:
        """Compare the number of a sign of life with that of the last one."""
        before, self._beat = self._beat, None if beat is None else (self._database.incarnation, beat)
        is_same_life = before is not None and before[0] == self._database.incarnation
        if before is not None and beat is not None and is_same_life and beat <= before[1]:
            self._database.suspect_loss()

    def declare_lost(self, incarnation: UUID, beat: int) -> bool:
        """Declare a node lost unless it has given a sign of life since; return whether it is lost by this."""
        return self._end_node(nodes.DECLARE_LOST, incarnation, beat)

    def leave(self) -> None:
        """Say that this node has left the cluster."""
        self._end_node(nodes.LEAVE, self._database.incarnation)

    def lost_nodes(self) -> tuple[Node, ...]:
        """Return the nodes that are lost and not back, with the number of sessions still to be restored."""
        rows = self._database.reading.run(lambda connection: connection.execute(nodes.LOST_NODES).fetchall())
        return tuple(
            Node(row[0], row[1], row[2], NodeState.LOST, row[3], Load(0, 0, row[4]), *row[5:]) for row in rows
        )

    def locate(
        self, session_id: str | None = None, key: str | None = None, secret_hash: str | None = None
    ) -> Located | None:
        """Return where the session with this id, key or secret address is; None if there is none.

        Raises:
            KeyConflict: Id and key name two sessions.
        """
        values = {"session_id": session_id, "key": key, "secret_hash": secret_hash}
        rows = self._database.reading.run(lambda connection: connection.execute(_LOCATE, values).fetchall())
        found = [
            Located(row[0], row[1], row[2], row[3], NodeState(row[4]) if row[4] else None, *row[5:])
            for row in rows
        ]
        if not found:
            return None
        is_another = found[0].session_id != session_id or found[0].key not in {None, key}
        if len(found) > 1 or (key and session_id and is_another):
            raise KeyConflict.of(session_id, key)
        return found[0]

    def claim(self, new: SaveSession) -> int | None:
        """Insert a new session; return its epoch, None if its id or key belongs to another one."""
        values = asdict(new.terms) | {
            "me": self._database.incarnation,
            "session_id": new.owner.session_id,
            "document": new.document,
        }
        row = self._database.reading.run(lambda connection: connection.execute(_CLAIM, values).fetchone())
        if row is None:
            return None
        self._database.numbers.note(row[0])
        return int(row[0])

    def take(self, session_id: str, seen: int) -> TakenRow | None:
        """Take a session whose owner is lost, or that is parked, as it was seen; None if that has changed."""

        def statements(connection: Connection) -> TakenRow | None:
            values = {"me": self._database.incarnation, "session_id": session_id, "seen": seen}
            row = connection.execute(_TAKE, values).fetchone()
            if row is None:
                return None
            self._database.numbers.note(row[0])
            state = connection.execute(_STATE_TO_RESTORE, [session_id]).fetchone()
            stored = StoredState(state[0], state[1]) if state is not None else None
            return TakenRow(SessionRow(Owner(session_id, row[0]), row[1], row[2]), stored, row[3], row[4])

        return self._database.reading.run(statements)

    def remove(self, session_id: str, seen: int, *, forgets_key: bool) -> bool:
        """Delete a session that no living node has, as it was seen; return whether it was deleted.

        Args:
            seen: Its epoch when it was seen.
            forgets_key: Whether what was kept for its key is deleted as well.
        """
        return self._database.reading.run(
            partial(_removed, session_id=session_id, seen=seen, forgets_key=forgets_key)
        )

    def summary(self, session_id: str) -> Mapping[str, object] | None:
        """Return a session as its last owner has described it, or None."""
        query = "SELECT summary FROM sessions WHERE session_id = %s AND summary IS NOT NULL"
        row = self._database.reading.run(
            lambda connection: connection.execute(query, [session_id]).fetchone()
        )
        return None if row is None else dict(json.loads(row[0]))

    def state_for(self, key: str) -> StoredState | None:
        """Return what was saved last of the session of a key, whoever has it; None if there is none."""
        query = "SELECT state, taken_at FROM states JOIN sessions USING (session_id) WHERE key = %s"
        return self._database.stored(query, key)

    def give_key(self, owner: Owner, key: str) -> bool:
        """Set the key of a session of this node; False if it has another one, or is no longer this node's.

        Repeat it if it fails: the answer may have been lost.

        Raises:
            KeyConflict: Another session has the key.
        """
        try:
            return self._change(_GIVE_KEY, owner, key=key) > 0
        except psycopg.errors.UniqueViolation as error:
            raise KeyConflict.of(owner.session_id, key) from error

    def park(self, owner: Owner) -> None:
        """Leave a session of this node to whichever node is asked for it next.

        If an emergency of all nodes has not reached this one yet, the session ends instead.
        """
        if not self._change(_PARK, owner, emergency=self._database.emergency):
            self._change(END, owner)

    def release(self, owner: Owner) -> None:
        """Release a session that this node never had in memory: the answer to its claim was lost."""
        if not self._change(_DROP_UNANSWERED, owner):
            self.park(owner)

    def describe(self, summaries: Sequence[tuple[Owner, float, Mapping[str, object]]]) -> None:
        """Write what other nodes show of this node's sessions, with the seconds since their last use."""

        def statements(connection: Connection) -> None:
            for owner, unused_s, summary in summaries:
                values = {"summary": json.dumps(summary), "unused_s": unused_s}
                row = connection.execute(
                    _DESCRIBE, mine_of(owner, self._database.incarnation) | values
                ).fetchone()
                if row is not None:
                    self._database.numbers.note(row[0])

        if summaries:
            self._database.reading.run(statements)

    def summaries(self, known: Mapping[str, int], limit: int) -> tuple[Summary, ...]:
        """Return the sessions of other nodes, the oldest first; described are those that are not known.

        Args:
            known: The versions of the descriptions that are known, by session.
        """

        def statements(connection: Connection) -> tuple[Summary, ...]:
            values = {"me": self._database.incarnation, "limit": limit}
            rows = connection.execute(_VERSIONS, values).fetchall()
            unknown = [row[0] for row in rows if known.get(row[0]) != row[1]]
            described = connection.execute(_SUMMARIES, [unknown]).fetchall() if unknown else []
            found = {session_id: json.loads(summary) for session_id, summary in described}
            return tuple(
                Summary(session_id, version, node, found.get(session_id))
                for session_id, version, node in rows
                if session_id in found or known.get(session_id) == version
            )

        return self._database.reading.run(statements)

    def tidy(self) -> int:
        """End the sessions of lost nodes whose idle time is over; return how many."""

        def statements(connection: Connection) -> int:
            connection.execute(nodes.EMERGENCY)
            rows = connection.execute(_IDLE).fetchall()
            for session_id, epoch in rows:
                _removed(connection, session_id, epoch, forgets_key=False)
            connection.execute(nodes.FORGET_NODES)
            return len(rows)

        return self._database.reading.run(statements)

    def begin_emergency(self) -> int:
        """Order all nodes to end their sessions, and delete what is kept and what no living node has.

        Returns:
            The number of the emergency.
        """

        def statements(connection: Connection) -> int:
            # Not one that this node has obeyed already, if the database has lost that.
            row = connection.execute(nodes.NEXT_EMERGENCY, [self._database.emergency]).fetchone()
            connection.execute("DELETE FROM kept")
            connection.execute(_END_UNOWNED)
            assert row is not None
            return int(row[0])

        return self._database.reading.run(statements)

    def _end_node(self, statement: str, incarnation: UUID, beat: int | None = None) -> bool:
        """End an incarnation; its sessions end with it if an emergency of all nodes has not reached it."""

        def statements(connection: Connection) -> bool:
            emergency = connection.execute(nodes.EMERGENCY).fetchone()
            assert emergency is not None
            values = {"incarnation": incarnation, "beat": beat, "emergency": emergency[0]}
            is_ended = connection.execute(statement, values).rowcount > 0
            if is_ended:
                connection.execute(nodes.END_OUTDATED, values)
            return is_ended

        return self._database.reading.run(statements)

    def _change(self, statement: str, owner: Owner, **values: object) -> int:
        parameters = mine_of(owner, self._database.incarnation) | values
        return self._database.reading.run(
            lambda connection: connection.execute(statement, parameters).rowcount
        )


def _removed(connection: Connection, session_id: str, seen: int, *, forgets_key: bool) -> bool:
    connection.execute(nodes.EMERGENCY)
    state = connection.execute(_STATE, [session_id]).fetchone()
    gone = connection.execute(_REMOVE, {"session_id": session_id, "seen": seen}).fetchone()
    if gone is None:
        return False
    if gone[0] is not None and forgets_key:
        connection.execute("DELETE FROM kept WHERE key = %s", [gone[0]])
    elif gone[0] is not None and state is not None:
        kept = {"key": gone[0], "epoch": seen, "state": state[0], "taken_at": state[1]}
        connection.execute(_KEEP, kept)
    return True


def _node(found: Mapping[str, Any]) -> Node:
    return Node(
        UUID(found["incarnation"]),
        found["name"],
        found["url"],
        NodeState(found["state"]),
        found["beat"],
        Load(found["free"], found["evictable"], found["sessions"], found["memory"]),
        found["max_sessions"],
        found["version"],
        datetime.fromtimestamp(found["seen"], timezone.utc),
        found["emergency"],
    )
