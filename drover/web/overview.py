"""The whole service at a peek: what `/events` tells, in the words of the REST routes."""

from __future__ import annotations

from collections.abc import Mapping

from drover.api.reports import process_json
from drover.api.serializers import session_json
from drover.net.addresses import Addresses
from drover.processes.host.memory import machine_memory
from drover.sessions.pool.session import Session
from process_cleanup import ProcessCleaner
from session_manager import SessionManager

_MEMORY_STEP_MB = 10


class Overview:
    """Reads the state of the service; it changes nothing and asks no browser.

    Args:
        manager: Whose sessions they are.
        cleaner: Knows what a cleanup would do.
        port: Where drivers find their doors on this machine.
    """

    def __init__(self, manager: SessionManager, cleaner: ProcessCleaner, port: int) -> None:
        self._manager = manager
        self._registry = manager.registry
        self._cleaner = cleaner
        self._addresses = Addresses(f"localhost:{port}")
        self._known: dict[str, tuple[Session, Mapping[str, object]]] = {}

    def sessions(self) -> list[Mapping[str, object]]:
        """Give every session object; only those that have changed are made anew."""
        before = self._known
        self._known = {
            session.session_id: self._kept_or_new(before.get(session.session_id), session)
            for session in self._registry.sessions()
        }
        return [told for _, told in self._known.values()]

    def processes(self) -> list[dict[str, object]]:
        """Give every Chrome-like process of the machine with its verdict; that reads the process table."""
        return [process_json(judgement) for judgement in self._cleaner.survey().judgements]

    def capacity(self) -> dict[str, object]:
        """Give how full the service and the memory of the machine are."""
        memory = machine_memory()
        return {
            "active_sessions": len(self._registry.sessions()),
            "max_sessions": self._registry.max_sessions,
            "waiting": self._registry.waiting,
            "warm": self._registry.warm_count(),
            "memory_used_mb": _MEMORY_STEP_MB * round(memory.used_mb / _MEMORY_STEP_MB),
            "memory_total_mb": round(memory.total_mb),
            "stopping": self._registry.stopping,
            "unavailable": self._manager.unavailable,
        }

    def _kept_or_new(
        self, known: tuple[Session, Mapping[str, object]] | None, session: Session
    ) -> tuple[Session, Mapping[str, object]]:
        # Sessions are frozen: the same object says the same.
        same = known is not None and known[0] is session
        return known if known and same else (session, session_json(session, self._addresses))
