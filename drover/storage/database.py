"""The session database in SQLite: the sessions and the saved states of their browsers.

When `write` has returned, its changes are on disk, even if the process or the machine crashes afterwards. The
files contain cookies, so only the user of the service can read them. There is one connection that writes and
one that reads, so that a reader never waits for a writer. Each has its own lock.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from drover.core.errors import StartObstructed, StartRefused, StorageUnavailable
from drover.storage import schema
from drover.storage.changes import Change, Clear, Owner
from drover.storage.schema import prepare, statements
from drover.storage.store import DatabaseLocked, KeptState, SessionRow, SetAside, StoredState

OPEN_BUSY_S: Final = 5.0
BUSY_S: Final = 1.0
"""How long one attempt waits while another program has locked the database."""
LOCK_S: Final = 5.0

# SQLite's messages for errors that are not caused by the file itself; Python 3.10 has no error codes.
_LOCKED: Final = ("database is locked", "locking protocol")
_ENVIRONMENT_ERRORS: Final = (
    *_LOCKED,
    *("database or disk is full", "disk I/O error", "unable to open database file"),
)


@dataclass(frozen=True, slots=True)
class _Opened:
    """The connections, and the files that they have opened."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    files: tuple[tuple[Path, os.stat_result], ...]

    def close(self) -> None:
        for connection in (self.reader, self.writer):
            with suppress(sqlite3.Error):
                connection.close()

    def are_in_place(self) -> bool:
        return all(_is_same(path, opened) for path, opened in self.files)


class SessionDatabase:
    """The session database; every method raises StorageUnavailable if the database cannot be used.

    Args:
        path: The database file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._opened: _Opened | None = None
        self._is_closed = False

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
        """Close the database; later calls raise StorageUnavailable."""
        with _held(self._writing), _held(self._reading):
            self._is_closed = True
            if self._opened is not None:
                self._opened.close()

    def write(self, changes: Sequence[Change]) -> frozenset[Owner]:
        """Write changes in their order, all of them or none; they are on disk when this returns.

        Files of the database that were removed or replaced are put back first.

        Returns:
            No owner: a file has one instance, so that no session in it belongs to another one.

        Raises:
            DatabaseLocked: Another program has locked the database.
        """
        with _held(self._writing), self._translated():
            self._put_back()
            connection = self._connections().writer
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for change in changes:
                    for sql, parameters in statements(change):
                        connection.execute(sql, parameters)
            if any(isinstance(change, Clear) for change in changes):
                # The write-ahead log contains cookies too.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return frozenset()

    def check_files(self) -> bool:
        """Put back files that were removed or replaced while the database was open; return whether so."""
        with _held(self._writing), self._translated():
            return self._put_back()

    def load_all(self) -> tuple[SessionRow, ...]:
        """Return all sessions of this instance, the oldest first."""
        rows = self._read(schema.ALL_SESSIONS, {})
        return tuple(
            SessionRow(Owner(str(name), _number(epoch)), _number(revision), str(document))
            for name, epoch, revision, document in rows
        )

    def last_epoch(self) -> int:
        """Return the highest epoch of all sessions, 0 if there are none."""
        ((found,),) = self._read(schema.LAST_EPOCH, {})
        return _number(found)

    def load_state(self, owner: Owner) -> StoredState | None:
        """Return the saved state of a session's browser, or None."""
        return _stored(self._read(schema.STATE, asdict(owner)))

    def load_for_key(self, key: str) -> StoredState | None:
        """Return the state that is kept for a key, or None."""
        return _stored(self._read(schema.KEPT_STATE, {"key": key}))

    def load_kept(self) -> tuple[KeptState, ...]:
        """Return what is kept for all keys, without the states; the oldest first."""
        found = []
        for key, taken_at, size in self._read(schema.ALL_KEPT, {}):
            # A row that is not valid counts as missing.
            with suppress(ValueError):
                found.append(KeptState(str(key), datetime.fromisoformat(str(taken_at)), _number(size)))
        return tuple(found)

    def _read(self, query: str, parameters: dict[str, object]) -> list[tuple[object, ...]]:
        with _held(self._reading), self._translated():
            return self._connections().reader.execute(query, parameters).fetchall()

    def _connections(self) -> _Opened:
        if self._is_closed or self._opened is None:
            raise StorageUnavailable("The session database is closed; retry when the service runs again")
        return self._opened

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if str(error) in _LOCKED:
                raise DatabaseLocked(
                    f"Another program has locked {self._path}; retry when it is done, or find out which "
                    "program has the file open"
                ) from error
            raise StorageUnavailable(
                f"{self._path} could not be used ({error}): check that the disk is not full and that the "
                "folder is writable, then retry"
            ) from error

    def _try_open(self) -> str | None:
        """Open the file; return why it is not usable, or None."""
        try:
            self._make_private()
        except (IsADirectoryError, PermissionError) as error:
            if not self._path.is_dir():
                # Another user's file, or one that another program has open, is no damaged database.
                raise
            return os.strerror(errno.EISDIR) if sys.platform == "win32" else str(error.strerror)
        writer = self._connect(OPEN_BUSY_S)
        try:
            reason = _prepared(writer)
            if reason is not None:
                return reason
            writer.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_S)}").fetchall()
            reader = self._connect(BUSY_S)
            schema.set_text_factory(reader)
            # The files exist from the first access on.
            reader.execute(schema.LAST_EPOCH).fetchall()
            files = tuple((path, path.stat()) for path in _parts(self._path) if path.exists())
        except BaseException:
            writer.close()
            raise
        self._opened = _Opened(writer, reader, files)
        return None

    def _connect(self, busy_s: float) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=busy_s, isolation_level=None, check_same_thread=False)

    def _put_back(self) -> bool:
        """If a file was removed or replaced, write the database to its path from the files that are open."""
        if self._opened is None and not self._is_closed:
            # An earlier attempt has put the file back, but could not open it.
            with _held(self._reading):
                self._open_again()
        opened = self._connections()
        if opened.are_in_place():
            return False
        copy = self._path.with_name(f"{self._path.name}.copy")
        copy.unlink(missing_ok=True)
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            opened.writer.backup(connection)
        with _held(self._reading):
            # If only the log is not in its place, a crash in between must not lose what is in the log.
            opened.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            (_, database), *logs = opened.files
            for path, ours in logs:
                if _is_same(path, ours):
                    path.unlink()
            if self._path.exists() and not _is_same(self._path, database):
                self._move_away()
            copy.replace(self._path)
            # When it is closed, SQLite removes the log of the old file by its name.
            opened.close()
            self._opened = None
            self._open_again()
        return True

    def _open_again(self) -> None:
        reason = self._try_open()
        if reason is not None:
            raise OSError(reason)

    def _make_private(self) -> None:
        # SQLite creates its other files with the mode of the first; files of a copy may have other modes.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        for path in _parts(self._path):
            with suppress(FileNotFoundError):
                if sys.platform != "win32" and stat.S_IMODE(path.stat().st_mode) & 0o077:
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


@contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock, unless the disk hangs while another thread holds it."""
    if not lock.acquire(timeout=LOCK_S):
        raise StorageUnavailable("The disk of the session database does not answer; retry later")
    try:
        yield
    finally:
        lock.release()


def _parts(path: Path) -> list[Path]:
    return [path.with_name(path.name + part) for part in ("", "-wal", "-shm")]


def _is_same(path: Path, opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), opened)
    except FileNotFoundError:
        return False


def _number(value: object) -> int:
    # A damaged row may hold anything.
    return value if isinstance(value, int) else 0


def _stored(rows: list[tuple[object, ...]]) -> StoredState | None:
    if not rows:
        return None
    try:
        return StoredState(str(rows[0][0]), datetime.fromisoformat(str(rows[0][1])))
    except ValueError:
        # A row that is not valid counts as missing.
        return None


def _prepared(connection: sqlite3.Connection) -> str | None:
    """Initialize a new database or check an old one; if it is not usable, close it and return why."""
    try:
        reason = prepare(connection)
    except sqlite3.Error as error:
        reason = str(error)
        if reason in _ENVIRONMENT_ERRORS:
            raise
    if reason is not None:
        connection.close()
    return reason
