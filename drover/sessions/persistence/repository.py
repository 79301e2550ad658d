"""The repository of sessions: keeps on disk what must outlive the process.

A failure of the database does not lose a session: it is logged, and the next change is written again.
Only before `POST` answers must the session be on disk, so there a failure is raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from drover.browser.saved_state import SavedState
from drover.core import events
from drover.core.errors import DroverError
from drover.core.events import Emit
from drover.sessions.persistence.records import Loaded, SessionRecord, from_rows, to_row
from drover.sessions.pool.session import Session
from drover.storage.database import SessionDatabase


class SessionRepository:
    """Saves and loads sessions and saved states.

    Args:
        store: The database.
        boot_id: Identifies the current boot of the machine.
        emit: Receives events about failures.
    """

    def __init__(self, store: SessionDatabase, boot_id: str, emit: Emit) -> None:
        self._store = store
        self._boot_id = boot_id
        self._emit = emit

    def open(self) -> Loaded:
        """Open the database and return the sessions of the earlier run.

        Raises:
            StartRefused: The folder is not writable.
        """
        set_aside = self._store.open()
        if set_aside is not None:
            self._emit(events.StoreSetAside(str(set_aside.path), set_aside.reason))
        loaded = from_rows(self._store.load_all())
        for session_id in loaded.unreadable:
            self._emit(events.StoreFailed(f"session {session_id} cannot be read and is forgotten"))
            self._store.delete(session_id)
        return loaded

    def close(self) -> None:
        """Close the database."""
        self._store.close()

    def save_durably(self, session: Session) -> None:
        """Save a new session before its client gets the answer.

        Raises:
            BrowserUnavailable: It could not be written.
        """
        self._store.save(to_row(SessionRecord.of(session, self._boot_id)))

    def save(self, session: Session) -> None:
        """Save the changes of a session that is in the database; a failure is logged."""
        with self._logged():
            self._store.update(to_row(SessionRecord.of(session, self._boot_id)))

    def save_state(self, session_id: str, state: SavedState) -> None:
        """Save the state of a session's browser."""
        with self._logged():
            self._store.save_state(session_id, state.to_json(), datetime.now(timezone.utc))

    def state_of(self, session_id: str) -> SavedState | None:
        """Return the state last saved from a session's browser."""
        with self._logged():
            saved = self._store.load_state(session_id)
            return _read(saved.state) if saved else None
        return None

    def keep_for_key(self, key: str, state: SavedState) -> None:
        """Keep the state of a session that ends, for the next session with its key."""
        with self._logged():
            self._store.keep_for_key(key, state.to_json(), datetime.now(timezone.utc))

    def kept_for_key(self, key: str) -> SavedState | None:
        """Return the state that was kept for a key; it stays until `forget_key`."""
        with self._logged():
            saved = self._store.load_for_key(key)
            return _read(saved.state) if saved else None
        return None

    def forget_key(self, key: str) -> None:
        """Delete the state that was kept for a key."""
        with self._logged():
            self._store.forget_key(key)

    def forget(self, session_id: str) -> None:
        """Delete a session and the state of its browser."""
        with self._logged():
            self._store.delete(session_id)

    def forget_all(self) -> None:
        """Delete all sessions and states."""
        with self._logged():
            self._store.clear()

    @contextmanager
    def _logged(self) -> Iterator[None]:
        try:
            yield
        except DroverError as error:
            self._emit(events.StoreFailed(error.message))


def _read(text: str) -> SavedState | None:
    try:
        return SavedState.from_json(text)
    except ValueError:
        # Written by another version, so not usable.
        return None
