"""The state of the service for `/events`, in the JSON forms of the REST routes."""

from __future__ import annotations

from collections.abc import Mapping

from drover.api.answers import SessionObject
from drover.api.reports import ProcessObject
from drover.net.addresses import Addresses
from drover.processes.host.memory import machine_memory
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session
from process_cleanup import ProcessCleaner
from session_manager import SessionManager

_MEMORY_STEP_MB = 10


class Overview:
    """Reader of the service's state; it changes nothing and calls no browser.

    Args:
        manager: Tells whether sessions can be started.
        sessions: The list of sessions.
        cleaner: Classifies processes.
        port: The port that the service listens on.
    """

    def __init__(
        self, manager: SessionManager, sessions: SessionRegistry, cleaner: ProcessCleaner, port: int
    ) -> None:
        self._manager = manager
        self._sessions = sessions
        self._cleaner = cleaner
        self._addresses = Addresses(f"localhost:{port}")
        self._known: dict[str, tuple[Session, Mapping[str, object]]] = {}

    def sessions(self) -> list[Mapping[str, object]]:
        """Return every session object; only objects of changed sessions are built again."""
        before = self._known
        self._known = {
            session.session_id: self._kept_or_new(before.get(session.session_id), session)
            for session in self._sessions.sessions()
        }
        return [session_object for _, session_object in self._known.values()]

    def processes(self) -> list[dict[str, object]]:
        """Return every Chrome-like process on the machine with its verdict; reads the process table."""
        return [ProcessObject.of(judgement).json_object() for judgement in self._cleaner.survey().judgements]

    def capacity(self) -> dict[str, object]:
        """Return the load of the service and of the machine's memory."""
        memory = machine_memory()
        return {
            "active_sessions": len(self._sessions.sessions()),
            "max_sessions": self._sessions.max_sessions,
            "waiting": self._sessions.waiting,
            "warm": self._sessions.warm_count(),
            "memory_used_mb": _MEMORY_STEP_MB * round(memory.used_mb / _MEMORY_STEP_MB),
            "memory_total_mb": round(memory.total_mb),
            "stopping": self._sessions.stopping,
            "unavailable": self._manager.unavailable,
        }

    def _kept_or_new(
        self, known: tuple[Session, Mapping[str, object]] | None, session: Session
    ) -> tuple[Session, Mapping[str, object]]:
        # Sessions are immutable, so the same object has the same JSON.
        same = known is not None and known[0] is session
        return (
            known if known and same else (session, SessionObject.of(session, self._addresses).json_object())
        )
