"""What the repository of sessions needs of a database, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from drover.core.errors import StorageUnavailable
from drover.storage.changes import Change, Owner


class DatabaseLocked(StorageUnavailable):
    """Another program, such as a backup, has locked the database."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """An unusable database file that was renamed: its new path, and why it was not usable."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session as stored in the database; `document` is JSON text that the database does not interpret."""

    owner: Owner
    revision: int
    document: str


@dataclass(frozen=True, slots=True)
class StoredState:
    """The saved state of a browser as JSON text, and the time of its capture."""

    state: str
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class KeptState:
    """What is kept for a key: its name in `taken_at`, the time of its capture, and its size in bytes."""

    key: str
    taken_at: datetime
    size: int


class SessionStore(Protocol):
    """A database of sessions; every method raises StorageUnavailable if the database cannot be used."""

    def open(self) -> SetAside | None:
        """Open or create the database; return what was set aside for it.

        Raises:
            StartRefused: It cannot be used.
        """

    def close(self) -> None:
        """Close the database; later calls raise StorageUnavailable."""

    def write(self, changes: Sequence[Change]) -> frozenset[Owner]:
        """Write changes in their order, all of them or none; they are on disk when this returns.

        Returns:
            The owners in whose name nothing was written, because their sessions belong to another node.
        """

    def check_files(self) -> bool:
        """Put back files that were removed or replaced while the database was open; return whether so."""

    def load_all(self) -> tuple[SessionRow, ...]:
        """Return all sessions of this instance, the oldest first."""

    def last_epoch(self) -> int:
        """Return the highest epoch of all sessions, 0 if there are none."""

    def load_state(self, owner: Owner) -> StoredState | None:
        """Return the saved state of a session's browser, or None."""

    def load_for_key(self, key: str) -> StoredState | None:
        """Return the state that is kept for a key, or None."""

    def load_kept(self) -> tuple[KeptState, ...]:
        """Return what is kept for all keys, without the states; the oldest first."""
