"""What others read from the registry: consistent answers, each under the one lock, which is held briefly."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from drover.browser.running_browser import RunningBrowser
from drover.core.errors import SessionNotFound
from drover.processes.cleanup.cleanup_plan import ProtectedSession
from drover.sessions.pool.admission import Admission, MemoryRoom, Room
from drover.sessions.pool.entries import Entries
from drover.sessions.pool.session import Session, SessionState
from drover.sessions.pool.wait_queue import WaitQueue


class RegistryReader:
    """All sessions and those who wait for one, to be read."""

    def __init__(self, max_sessions: int, max_waiting: int) -> None:
        self.max_sessions = max_sessions
        self._lock = threading.Lock()
        self._entries = Entries()
        self._admission = Admission(max_sessions, self._entries)
        self._queue = WaitQueue(max_waiting)

    def __repr__(self) -> str:
        with self._lock:
            states = [entry.session.state.value for entry in self._entries]
            counts = ", ".join(f"{states.count(state.value)} {state.value}" for state in SessionState)
            return (
                f"<SessionRegistry {len(states)}/{self.max_sessions}: {counts}, {len(self._queue)} waiting>"
            )

    @property
    def stopping(self) -> bool:
        """Whether the service is stopping and accepts no more claims."""
        with self._lock:
            return self._admission.stopping

    @property
    def draining(self) -> bool:
        """Whether sessions go on, but no new ones are accepted."""
        with self._lock:
            return self._admission.draining

    @property
    def makes_room(self) -> bool:
        """Whether a session is being closed, so that a place becomes free soon."""
        with self._lock:
            entries = tuple(self._entries)
        return any(entry.is_closing for entry in entries)

    def get(self, session_id: str, *, or_warm: bool = False) -> Session:
        """Return a session as it is now, without holding it; a warm one only if `or_warm`.

        Raises:
            SessionNotFound: No session has this id.
        """
        with self._lock:
            return self._entries.get(session_id, or_warm=or_warm).session

    def has(self, session_id: str | None, key: str | None) -> bool:
        """Return whether there is a session with this id or this key."""
        with self._lock:
            by_id = session_id is not None and session_id in self._entries
            return by_id or (key is not None and self._entries.by_key(key) is not None)

    def has_open(self, session_id: str | None, key: str | None, secret: str | None = None) -> bool:
        """Return whether a session with this id, key, or secret in its addresses is not closing."""
        with self._lock:
            entries = self._entries
            found = (
                entries.get(session_id, or_warm=True) if session_id and session_id in entries else None,
                entries.by_key(key) if key is not None else None,
                entries.by_secret(secret) if secret is not None else None,
            )
            return any(one is not None and one.session.state is not SessionState.CLOSING for one in found)

    def of_secret(self, secret: str) -> Session:
        """Return the session whose BiDi and DevTools addresses contain this secret.

        Raises:
            SessionNotFound: There is none.
        """
        with self._lock:
            entry = self._entries.by_secret(secret)
            if entry is None:
                raise SessionNotFound("No session has this address; it may have been closed")
            return entry.session

    def is_current(self, session: Session) -> bool:
        """Return whether the work on a session of this generation is still wanted."""
        with self._lock:
            return self._entries.current(session) is not None

    def unclosed(self) -> tuple[Session, ...]:
        """Return the sessions whose last close failed."""
        with self._lock:
            entries = tuple(self._entries)
        return tuple(entry.session for entry in entries if entry.is_stuck)

    def sessions(self) -> tuple[Session, ...]:
        """Return all sessions as they are now, the oldest first, without warm ones."""
        return tuple(session for session in self._everything() if not session.warm)

    def works(self) -> tuple[Future[Any], ...]:
        """Return the futures of all starts, recoveries and closes in progress."""
        with self._lock:
            return self._entries.works

    def running(self) -> tuple[RunningBrowser, ...]:
        """Return the running browsers of all sessions, warm ones included."""
        return tuple(session.running for session in self._everything() if session.running is not None)

    def warm_count(self) -> int:
        """Return how many warm browsers are ready."""
        return sum(one.warm and one.state is SessionState.READY for one in self._everything())

    @property
    def room(self) -> Room:
        """What could be done for a request that comes now and needs a new session."""
        with self._lock:
            return self._room

    @property
    def waiting(self) -> int:
        """How many callers wait for a place."""
        with self._lock:
            return len(self._queue)

    def protected(self) -> tuple[ProtectedSession, ...]:
        """Return what a cleanup must not touch: the folder and processes of every session, in any state."""
        return tuple(
            ProtectedSession(
                session.session_id,
                str(session.folder.path),
                session.running.pids if session.running else frozenset(),
            )
            for session in self._everything()
        )

    @property
    def memory(self) -> MemoryRoom:
        """The last measurement of the memory."""
        return self._admission.memory

    @property
    def refusal(self) -> str:
        """Why a request for a new session waits: memory is short, or all places are taken."""
        with self._lock:
            return self._admission.refusal

    @property
    def _room(self) -> Room:
        room = self._admission.room
        return replace(room, free=0) if self._queue else room

    def _everything(self) -> tuple[Session, ...]:
        with self._lock:
            return self._entries.sessions
