"""The tables of the session database, their versions, and the statements of each change.

The incarnation of a session is the instance that owns it. A file has one instance, so it is always `local`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Final

from drover.storage.changes import (
    Change,
    Clear,
    EndSession,
    ForgetKey,
    KeepForKey,
    SaveSession,
    SaveState,
)

APPLICATION_ID: Final = 0x44525652
"""The application id in the header of the database file: "DRVR"."""
SCHEMA_VERSION: Final = 2

# The order of `epoch` is the order of creation, even if the clock was set back.
_SESSIONS: Final = (
    "CREATE TABLE sessions (session_id TEXT PRIMARY KEY, incarnation TEXT, epoch INTEGER, revision INTEGER,"
    " document TEXT)"
)
_STATES: Final = "CREATE TABLE states (session_id TEXT PRIMARY KEY, epoch INTEGER, state TEXT, taken_at TEXT)"
_KEPT: Final = "CREATE TABLE kept (key TEXT PRIMARY KEY, state TEXT, taken_at TEXT)"
_SCHEMA: Final = (_SESSIONS, _STATES, _KEPT)

_SCHEMA_1: Final = (
    "CREATE TABLE sessions (place INTEGER PRIMARY KEY, session_id TEXT UNIQUE, generation, document TEXT)",
    "CREATE TABLE states (session_id TEXT PRIMARY KEY, state TEXT, taken_at TEXT)",
    _KEPT,
)
_COPY_SESSIONS_1: Final = (
    "INSERT INTO sessions SELECT session_id, 'local', place, 0, document FROM sessions_1"
    " WHERE session_id IS NOT NULL"
)
_COPY_STATES_1: Final = (
    "INSERT INTO states SELECT session_id, place, state, taken_at FROM states_1 JOIN sessions_1"
    " USING (session_id)"
)
_MIGRATE_1: Final = (
    "ALTER TABLE sessions RENAME TO sessions_1",
    "ALTER TABLE states RENAME TO states_1",
    _SESSIONS,
    _STATES,
    _COPY_SESSIONS_1,
    _COPY_STATES_1,
    "DROP TABLE sessions_1",
    "DROP TABLE states_1",
)

ALL_SESSIONS: Final = (
    "SELECT session_id, epoch, revision, document FROM sessions WHERE incarnation = 'local' ORDER BY epoch"
)
LAST_EPOCH: Final = "SELECT max(epoch) FROM sessions"
STATE: Final = "SELECT state, taken_at FROM states WHERE session_id = :session_id AND epoch = :epoch"
ALL_KEPT: Final = "SELECT key, taken_at, length(CAST(state AS BLOB)) FROM kept ORDER BY taken_at, key"
KEPT_STATE: Final = "SELECT state, taken_at FROM kept WHERE key = :key"

_INSERT: Final = (
    "INSERT INTO sessions VALUES (:session_id, 'local', :epoch, :revision, :document)"
    " ON CONFLICT (session_id) DO UPDATE SET incarnation = excluded.incarnation, epoch = excluded.epoch,"
    " revision = excluded.revision, document = excluded.document WHERE excluded.epoch > sessions.epoch"
    " OR (excluded.epoch = sessions.epoch AND excluded.revision > sessions.revision)"
)
_UPDATE: Final = (
    "UPDATE sessions SET revision = :revision, document = :document"
    " WHERE session_id = :session_id AND incarnation = 'local' AND epoch = :epoch AND revision < :revision"
)
_SAVE_STATE: Final = (
    "INSERT OR REPLACE INTO states SELECT session_id, epoch, :state, :taken_at FROM sessions"
    " WHERE session_id = :session_id AND incarnation = 'local' AND epoch = :epoch"
)
_KEEP: Final = (
    "INSERT OR REPLACE INTO kept SELECT :key, :state, :taken_at FROM sessions"
    " WHERE session_id = :session_id AND incarnation = 'local' AND epoch = :epoch"
)
_PUT: Final = "INSERT OR REPLACE INTO kept VALUES (:key, :state, :taken_at)"
_FORGET_KEY: Final = "DELETE FROM kept WHERE key = :key"
_END: Final = (
    "DELETE FROM states WHERE session_id = :session_id AND epoch = :epoch",
    "DELETE FROM sessions WHERE session_id = :session_id AND incarnation = 'local' AND epoch = :epoch",
)
_CLEAR: Final = (
    "DELETE FROM sessions WHERE incarnation = 'local'",
    "DELETE FROM states WHERE session_id NOT IN (SELECT session_id FROM sessions)",
    "DELETE FROM kept",
)

Statement = tuple[str, Mapping[str, object]]


def statements(change: Change) -> Iterator[Statement]:
    """Yield the SQL of a change, with its parameters."""
    if isinstance(change, SaveSession):
        row = asdict(change.owner) | {"revision": change.revision, "document": change.document}
        yield (_INSERT if change.is_new else _UPDATE), row
    elif isinstance(change, SaveState):
        state = {"state": change.state, "taken_at": change.taken_at.isoformat()}
        yield _SAVE_STATE, asdict(change.owner) | state
    elif isinstance(change, KeepForKey):
        kept = {"key": change.key, "state": change.state, "taken_at": change.taken_at.isoformat()}
        yield (_PUT, kept) if change.owner is None else (_KEEP, asdict(change.owner) | kept)
    elif isinstance(change, ForgetKey):
        yield _FORGET_KEY, {"key": change.key}
    elif isinstance(change, EndSession):
        yield from ((sql, asdict(change.owner)) for sql in _END)
    elif isinstance(change, Clear):
        yield from ((sql, {}) for sql in _CLEAR)


def prepare(connection: sqlite3.Connection) -> str | None:
    """Create the tables of a new database, or check and migrate old ones; return why it is not usable."""
    set_text_factory(connection)
    # Deleted data is overwritten, because it contains cookies.
    connection.execute("PRAGMA secure_delete = ON").fetchall()
    tables = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    marks = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    ]
    if not tables and marks == [0, 0]:
        _execute(connection, (*_SCHEMA, f"PRAGMA application_id = {APPLICATION_ID}"))
    else:
        reason = _problem(connection, tables, *marks)
        if reason is not None:
            return reason
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return None


def set_text_factory(connection: sqlite3.Connection) -> None:
    """Let a damaged character not make the rest unreadable."""
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")


def _problem(connection: sqlite3.Connection, tables: set[str], application: int, version: int) -> str | None:
    if application != APPLICATION_ID:
        return "it belongs to another program"
    if version > SCHEMA_VERSION:
        return "a newer version of Drover created it"
    is_old = version == 1 and tables == set(_SCHEMA_1)
    if not is_old and (version != SCHEMA_VERSION or tables != set(_SCHEMA)):
        return "its tables do not match Drover's schema"
    findings = [finding for (finding,) in connection.execute("PRAGMA quick_check")]
    if findings != ["ok"]:
        return f"it is damaged: {findings[0].splitlines()[-1]}"
    if is_old:
        _execute(connection, _MIGRATE_1)
    connection.execute(ALL_SESSIONS).fetchall()
    return None


def _execute(connection: sqlite3.Connection, commands: tuple[str, ...]) -> None:
    """Execute commands and set the version, all of them or none."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for command in (*commands, f"PRAGMA user_version = {SCHEMA_VERSION}"):
            connection.execute(command)
