"""What must outlive the process, in SQLite: the sessions and the saved states of their browsers.

What `save` has returned from is on the disk, whatever happens to the process afterwards. The file
holds cookies, so it is for the service's user alone. One connection under a lock of its own; nothing
here calls out, so no other lock is ever taken inside it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Final

from drover.core.errors import BrowserUnavailable, StartObstructed, StartRefused

APPLICATION_ID: Final = 0x44525652
"""In the header of our databases: "DRVR"."""
SCHEMA_VERSION: Final = 1
BUSY_S: Final = 5.0

_SCHEMA: Final = (
    # In the order of their places, rows are in the order of their birth, whatever the clock said.
    "CREATE TABLE sessions (place INTEGER PRIMARY KEY, session_id TEXT UNIQUE, generation, document TEXT)",
    "CREATE TABLE states (session_id TEXT PRIMARY KEY, state TEXT, taken_at TEXT)",
    "CREATE TABLE kept (key TEXT PRIMARY KEY, state TEXT, taken_at TEXT)",
)
_ALL_SESSIONS: Final = "SELECT session_id, generation, document FROM sessions ORDER BY place"
_CHANGE: Final = (
    "UPDATE sessions SET generation = :generation, document = :document"
    " WHERE session_id = :session_id AND generation <= :generation"
)
_INSERT: Final = (
    "INSERT INTO sessions (session_id, generation, document) VALUES (:session_id, :generation, :document)"
    " ON CONFLICT DO NOTHING"
)
# SQLite's words where the file itself is not to blame; Python 3.10 shows no error code.
_BLAMELESS: Final = (
    *("database is locked", "database or disk is full", "disk I/O error"),
    *("locking protocol", "unable to open database file"),
)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that stood in the place of our database: where it is now, and what was wrong with it."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session as the database holds it; `document` is JSON text that only its reader interprets."""

    session_id: str
    generation: int
    document: str


@dataclass(frozen=True, slots=True)
class StoredState:
    """The state of a browser as JSON text, and when it was taken."""

    state: str
    taken_at: datetime


class SessionDatabase:
    """The sessions on disk; every method raises BrowserUnavailable where the disk does not do as told.

    Args:
        path: The database's file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> SetAside | None:
        """Open the database, or make a new one; what cannot be used in its place is set aside.

        Raises:
            StartRefused: The folder cannot be written to, the disk is full, or another program has locked
                the file.
        """
        try:
            reason = self._try_open()
            if reason is None:
                return None
            found = SetAside(self._move_away(), reason)
            reason = self._try_open()
        except (OSError, sqlite3.Error) as error:
            raise self._refusal(error) from error
        if reason is not None:
            raise self._refusal(reason)
        return found

    def close(self) -> None:
        """Close the database; what is asked of it afterwards fails."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def save(self, row: SessionRow) -> None:
        """Save a session; it is on the disk when this returns. A later generation is never overwritten."""
        values = asdict(row)
        with self._transaction() as connection:
            if connection.execute(_CHANGE, values).rowcount == 0:
                connection.execute(_INSERT, values)

    def update(self, row: SessionRow) -> None:
        """Save changes of a session that is in the database; a deleted one stays deleted."""
        with self._transaction() as connection:
            connection.execute(_CHANGE, asdict(row))

    def load_all(self) -> tuple[SessionRow, ...]:
        """Return all sessions, the oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(_ALL_SESSIONS).fetchall()
        return tuple(SessionRow(str(name), generation, str(document)) for name, generation, document in rows)

    def delete(self, session_id: str) -> None:
        """Forget a session and its saved state."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM states WHERE session_id = ?", (session_id,))
            connection.execute("DELETE FROM sessions WHERE session_id = ?", (session_id,))

    def save_state(self, session_id: str, state: str, taken_at: datetime) -> None:
        """Note the state of a session's browser; that of a session which is not in the store is dropped."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO states SELECT session_id, ?, ? FROM sessions WHERE session_id = ?",
                (state, taken_at.isoformat(), session_id),
            )

    def load_state(self, session_id: str) -> StoredState | None:
        """Give the saved state of a session's browser."""
        return self._saved("SELECT state, taken_at FROM states WHERE session_id = ?", session_id)

    def keep_for_key(self, key: str, state: str, taken_at: datetime) -> None:
        """Keep the last state of a keyed session that ends, for the next session of its key."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (key, state, taken_at.isoformat())
            )

    def load_for_key(self, key: str) -> StoredState | None:
        """Give what was kept for a key; it stays until `forget_key`, so that a failed start loses nothing."""
        return self._saved("SELECT state, taken_at FROM kept WHERE key = ?", key)

    def forget_key(self, key: str) -> None:
        """Forget what was kept for a key."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM kept WHERE key = ?", (key,))

    def clear(self) -> None:
        """Forget everything, in the log of writes as well."""
        with self._transaction() as connection:
            for table in ("sessions", "states", "kept"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are ours
        with self._connected() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _saved(self, query: str, name: str) -> StoredState | None:
        with self._transaction() as connection:
            row = connection.execute(query, (name,)).fetchone()
        if row is None:
            return None
        try:
            return StoredState(str(row[0]), datetime.fromisoformat(row[1]))
        except (TypeError, ValueError):
            # A row that cannot be understood is as good as none.
            return None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                raise BrowserUnavailable("The list of sessions on disk is closed; ask again later")
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise BrowserUnavailable(
                    f"{self._path} could not be used ({error}): see that the disk is not full and that the "
                    "folder can be written to, then ask again"
                ) from error

    def _try_open(self) -> str | None:
        """Open the file, or give what is wrong with it."""
        try:
            self._make_private()
        except (IsADirectoryError, PermissionError) as error:
            return str(error.strerror)
        connection = sqlite3.connect(
            self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        reason = _prepared(connection)
        if reason is None:
            self._connection = connection
        return reason

    def _make_private(self) -> None:
        # SQLite gives its other files the mode of the first; those of a copy may have had their own.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
        for path in _parts(self._path):
            with suppress(FileNotFoundError):
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    path.chmod(0o600)

    def _move_away(self) -> Path:
        moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self._path.with_name(f"{self._path.name}.set-aside-{moment}")
        # The database first: should we die in between, SQLite ignores a log that lies beside a new file.
        for path, new_path in zip(_parts(self._path), _parts(aside), strict=True):
            with suppress(FileNotFoundError):
                path.rename(new_path)
        return aside

    def _refusal(self, error: object) -> StartRefused:
        return StartObstructed(
            f"{self._path} cannot be used ({error}): see that the disk is not full, that the folder can be "
            "written to, and that no other program has the file open"
        )


def _parts(path: Path) -> list[Path]:
    return [path.with_name(path.name + part) for part in ("", "-wal", "-shm")]


def _prepared(connection: sqlite3.Connection) -> str | None:
    """Make a new database ours, or see that an old one is; gives what is wrong with it, closed then."""
    try:
        reason = _prepare(connection)
    except sqlite3.Error as error:
        reason = str(error)
        if reason in _BLAMELESS:
            connection.close()
            raise
    if reason is not None:
        connection.close()
    return reason


def _prepare(connection: sqlite3.Connection) -> str | None:
    # A letter that damage has made illegible must not hide the rest.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    tables = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    marks = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    ]
    if not tables and marks == [0, 0]:
        _create(connection)
    else:
        reason = _flaw(connection, tables, *marks)
        if reason is not None:
            return reason
    # What is deleted is overwritten as well: these are cookies.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return None


def _flaw(connection: sqlite3.Connection, tables: set[str], application: int, version: int) -> str | None:
    if application != APPLICATION_ID:
        return "it belongs to another program"
    if version > SCHEMA_VERSION:
        return "a newer version of Drover has made it"
    if version != SCHEMA_VERSION or tables != set(_SCHEMA):
        return "its tables are not those of Drover"
    findings = [finding for (finding,) in connection.execute("PRAGMA quick_check")]
    if findings != ["ok"]:
        return f"it is damaged: {findings[0].splitlines()[-1]}"
    connection.execute(_ALL_SESSIONS).fetchall()
    return None


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
