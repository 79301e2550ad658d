"""The session database in SQLite: the sessions and the saved states of their browsers.

When `save` has returned, the data is on disk, even if the process crashes afterwards. The file contains
cookies, so only the user of the service can read it. There is one connection with its own lock; no other
lock is taken while that lock is held.
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
"""The application id in the header of the database file: "DRVR"."""
SCHEMA_VERSION: Final = 1
BUSY_S: Final = 5.0

_SCHEMA: Final = (
    # The order of `place` is the order of creation, even if the clock was set back.
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
# SQLite's messages for errors that are not caused by the file itself; Python 3.10 has no error codes.
_ENVIRONMENT_ERRORS: Final = (
    *("database is locked", "database or disk is full", "disk I/O error"),
    *("locking protocol", "unable to open database file"),
)


@dataclass(frozen=True, slots=True)
class SetAside:
    """An unusable database file that was renamed: its new path, and why it was not usable."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session as stored in the database; `document` is JSON text that the database does not interpret."""

    session_id: str
    generation: int
    document: str


@dataclass(frozen=True, slots=True)
class StoredState:
    """The saved state of a browser as JSON text, and the time of its capture."""

    state: str
    taken_at: datetime


class SessionDatabase:
    """The session database; every method raises BrowserUnavailable if the database cannot be used.

    Args:
        path: The database file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> SetAside | None:
        """Open or create the database; an unusable file is renamed, and a new database is created.

        Raises:
            StartRefused: The folder is not writable, the disk is full, or another program has locked the
                file.
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
        """Close the database; later calls raise BrowserUnavailable."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def save(self, row: SessionRow) -> None:
        """Save a session; it is on disk when this returns. A later generation is never overwritten."""
        values = asdict(row)
        with self._transaction() as connection:
            if connection.execute(_CHANGE, values).rowcount == 0:
                connection.execute(_INSERT, values)

    def update(self, row: SessionRow) -> None:
        """Save changes of a session if it is in the database; a deleted session stays deleted."""
        with self._transaction() as connection:
            connection.execute(_CHANGE, asdict(row))

    def load_all(self) -> tuple[SessionRow, ...]:
        """Return all sessions, the oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(_ALL_SESSIONS).fetchall()
        return tuple(SessionRow(str(name), generation, str(document)) for name, generation, document in rows)

    def delete(self, session_id: str) -> None:
        """Delete a session and its saved state."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM states WHERE session_id = ?", (session_id,))
            connection.execute("DELETE FROM sessions WHERE session_id = ?", (session_id,))

    def save_state(self, session_id: str, state: str, taken_at: datetime) -> None:
        """Save the state of a session's browser; it is dropped if the session is not in the database."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO states SELECT session_id, ?, ? FROM sessions WHERE session_id = ?",
                (state, taken_at.isoformat(), session_id),
            )

    def load_state(self, session_id: str) -> StoredState | None:
        """Return the saved state of a session's browser, or None."""
        return self._saved("SELECT state, taken_at FROM states WHERE session_id = ?", session_id)

    def keep_for_key(self, key: str, state: str, taken_at: datetime) -> None:
        """Save the final state of a session with a key, for the next session with that key."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (key, state, taken_at.isoformat())
            )

    def load_for_key(self, key: str) -> StoredState | None:
        """Return the state saved for a key, or None; it stays until `forget_key`, in case a start fails."""
        return self._saved("SELECT state, taken_at FROM kept WHERE key = ?", key)

    def forget_key(self, key: str) -> None:
        """Delete the state saved for a key."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM kept WHERE key = ?", (key,))

    def clear(self) -> None:
        """Delete all data, including that in the write-ahead log."""
        with self._transaction() as connection:
            for table in ("sessions", "states", "kept"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are constants
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
            # A row that is not valid counts as missing.
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
                raise BrowserUnavailable(
                    "The session database is closed, because the service is stopping; retry later"
                )
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise BrowserUnavailable(
                    f"{self._path} could not be used ({error}): check that the disk is not full and that the "
                    "folder is writable, then retry"
                ) from error

    def _try_open(self) -> str | None:
        """Open the file; return why it is not usable, or None."""
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
        # SQLite creates its other files with the mode of the first; files of a copy may have other modes.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
        for path in _parts(self._path):
            with suppress(FileNotFoundError):
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    path.chmod(0o600)

    def _move_away(self) -> Path:
        timestamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self._path.with_name(f"{self._path.name}.set-aside-{timestamp}")
        # The database first: if the process dies in between, SQLite ignores a log beside a new file.
        for path, new_path in zip(_parts(self._path), _parts(aside), strict=True):
            with suppress(FileNotFoundError):
                path.rename(new_path)
        return aside

    def _refusal(self, error: object) -> StartRefused:
        return StartObstructed(
            f"{self._path} cannot be used ({error}): check that the disk is not full, that the folder is "
            "writable, and that no other program has the file open"
        )


def _parts(path: Path) -> list[Path]:
    return [path.with_name(path.name + part) for part in ("", "-wal", "-shm")]


def _prepared(connection: sqlite3.Connection) -> str | None:
    """Initialize a new database or check an old one; if it is not usable, close it and return why."""
    try:
        reason = _prepare(connection)
    except sqlite3.Error as error:
        reason = str(error)
        if reason in _ENVIRONMENT_ERRORS:
            connection.close()
            raise
    if reason is not None:
        connection.close()
    return reason


def _prepare(connection: sqlite3.Connection) -> str | None:
    # A damaged character must not make the rest unreadable.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    tables = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    marks = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    ]
    if not tables and marks == [0, 0]:
        _create(connection)
    else:
        reason = _problem(connection, tables, *marks)
        if reason is not None:
            return reason
    # Deleted data is overwritten, because it contains cookies.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return None


def _problem(connection: sqlite3.Connection, tables: set[str], application: int, version: int) -> str | None:
    if application != APPLICATION_ID:
        return "it belongs to another program"
    if version > SCHEMA_VERSION:
        return "a newer version of Drover created it"
    if version != SCHEMA_VERSION or tables != set(_SCHEMA):
        return "its tables do not match Drover's schema"
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
