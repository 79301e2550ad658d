"""The state of the service for `/events`, in the JSON forms of the REST routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from drover.api.reports import ProcessObject
from drover.api.service_answers import NodeObject
from drover.api.session_answers import SessionObject
from drover.net.addresses import Addresses
from drover.processes.host.memory import machine_memory
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session
from drover.storage.cluster_values import Node
from process_cleanup import ProcessCleaner
from session_manager import SessionManager

if TYPE_CHECKING:
    from drover.cluster.cluster import Cluster  # imports psycopg

_MEMORY_STEP_MB = 10


class Overview:
    """Reader of the service's state; it changes nothing and calls no browser.

    Args:
        cluster: The other machines; None if there are none.
    """

    def __init__(
        self,
        manager: SessionManager,
        sessions: SessionRegistry,
        cleaner: ProcessCleaner,
        port: int,
        cluster: Cluster | None,
    ) -> None:
        self._manager = manager
        self._sessions = sessions
        self._cleaner = cleaner
        self._cluster = cluster
        self._addresses = Addresses(f"localhost:{port}") if cluster is None else cluster.addresses
        self._known: dict[str, tuple[Session, Mapping[str, object]]] = {}
        self._others: tuple[SessionObject, ...] = ()
        self._of_others: list[Mapping[str, object]] = []

    def sessions(self) -> list[Mapping[str, object]]:
        """Return every session object, those of other machines last.

        Only objects of changed sessions are built again.
        """
        before = self._known
        self._known = {
            session.session_id: self._kept_or_new(before.get(session.session_id), session)
            for session in self._sessions.sessions()
        }
        own = [session_object for _, session_object in self._known.values()]
        return own + [one for one in self._others_now() if one["session_id"] not in self._known]

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
            "memory_used_mb": _rounded(memory.used_mb),
            "memory_total_mb": round(memory.total_mb),
            "stopping": self._sessions.stopping,
            "unavailable": self._manager.unavailable,
            "without_database": self._cluster.trouble if self._cluster is not None else None,
            "nodes": [self._node(node) for node in self._cluster.nodes] if self._cluster is not None else [],
        }

    def _node(self, node: Node) -> dict[str, object]:
        available_mb = node.load.memory_available_mb
        return {
            **NodeObject.of(node).json_object(),
            "memory_available_mb": None if available_mb is None else _rounded(available_mb),
            "is_this": node.name == self._addresses.node,
        }

    def _others_now(self) -> list[Mapping[str, object]]:
        others = self._cluster.others if self._cluster is not None else ()
        if others is not self._others:
            self._others, self._of_others = others, [one.json_object() for one in others]
        return self._of_others

    def _kept_or_new(
        self, known: tuple[Session, Mapping[str, object]] | None, session: Session
    ) -> tuple[Session, Mapping[str, object]]:
        # Sessions are immutable, so the same object has the same JSON.
        if known is not None and known[0] is session:
            return known
        return session, SessionObject.of(session, self._addresses).json_object()


def _rounded(megabytes: float) -> int:
    """Return a measurement in steps, so that not every one is news."""
    return _MEMORY_STEP_MB * round(megabytes / _MEMORY_STEP_MB)
