"""What of the sessions must outlive the process, kept on disk in step with the list of sessions.

A store that fails loses no session: the failure is logged, and the next change is written again.
Only what `POST` answers is a promise, so there a failure is the caller's to hear of.
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
    """Notes sessions and saved states in the store.

    Args:
        store: The database.
        boot_id: Which run of the machine this is.
        emit: Hears what could not be written.
    """

    def __init__(self, store: SessionDatabase, boot_id: str, emit: Emit) -> None:
        self._store = store
        self._boot_id = boot_id
        self._emit = emit

    def open(self) -> Loaded:
        """Open the store and give what an earlier run has left in it.

        Raises:
            StartRefused: The folder cannot be written to.
        """
        set_aside = self._store.open()
        if set_aside is not None:
            self._emit(events.StoreSetAside(str(set_aside.path), set_aside.reason))
        loaded = from_rows(self._store.load_all())
        for session_id in loaded.unreadable:
            self._emit(events.StoreFailed(f"session {session_id} cannot be understood and is forgotten"))
            self._store.delete(session_id)
        return loaded

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def save_durably(self, session: Session) -> None:
        """Note a session before its client hears of it.

        Raises:
            BrowserUnavailable: It could not be written.
        """
        self._store.save(to_row(SessionRecord.of(session, self._boot_id)))

    def save(self, session: Session) -> None:
        """Note changes of a session that is in the store."""
        with self._logged():
            self._store.update(to_row(SessionRecord.of(session, self._boot_id)))

    def save_state(self, session_id: str, state: SavedState) -> None:
        """Note what was taken from a session's browser."""
        with self._logged():
            self._store.save_state(session_id, state.to_json(), datetime.now(timezone.utc))

    def state_of(self, session_id: str) -> SavedState | None:
        """Give what was last noted of a session's browser."""
        with self._logged():
            saved = self._store.load_state(session_id)
            return _read(saved.state) if saved else None
        return None

    def keep_for_key(self, key: str, state: SavedState) -> None:
        """Keep the state of a session that ends, for the next one of its key."""
        with self._logged():
            self._store.keep_for_key(key, state.to_json(), datetime.now(timezone.utc))

    def kept_for_key(self, key: str) -> SavedState | None:
        """Give what was kept for a key; it stays until `forget_key`."""
        with self._logged():
            saved = self._store.load_for_key(key)
            return _read(saved.state) if saved else None
        return None

    def forget_key(self, key: str) -> None:
        """Forget what was kept for a key."""
        with self._logged():
            self._store.forget_key(key)

    def forget(self, session_id: str) -> None:
        """Forget a session and what was taken from its browser."""
        with self._logged():
            self._store.delete(session_id)

    def forget_all(self) -> None:
        """Forget everything."""
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
        # Written by another version: as good as none.
        return None
