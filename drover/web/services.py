"""The parts of the service that REST routes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from drover.api.answers import SessionObject
from drover.browser.capabilities.policy import Policy
from drover.core.deadline import Deadline
from drover.core.settings import Settings
from drover.net.addresses import Addresses
from drover.sessions.lifecycle.drain import Drain
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.storage.cluster_values import Node
from drover.storage.session_history import SessionHistory
from drover.web.metrics import Metrics
from drover.web.sessions import SessionList, SessionUseCases
from process_cleanup import EmergencyRecovery, ProcessCleaner


class Readiness(str, Enum):
    """Whether the service accepts new sessions, and if not, why."""

    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    WITHOUT_DATABASE = "without_database"


class ClusterView(Protocol):
    """What routes need of the other nodes; nothing here waits, but for what is said to."""

    @property
    def addresses(self) -> Addresses:
        """The addresses of this node, as other machines reach it."""

    @property
    def trouble(self) -> str | None:
        """Why this node serves nothing at present, or None."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that live or are lost."""

    @property
    def others(self) -> tuple[SessionObject, ...]:
        """The sessions of all other nodes as clients see them."""

    @property
    def is_complete(self) -> bool:
        """Whether what is known of other nodes' sessions is recent."""

    def begin_emergency(self) -> int:
        """Order all nodes to end their sessions; waits for the database.

        Raises:
            StorageUnavailable: The database does not answer.
        """

    def await_emergency(self, number: int, deadline: Deadline) -> tuple[str, ...]:
        """Wait until all other living nodes have ended their sessions; return the names of the rest."""


@dataclass(frozen=True)
class Services:
    """The parts of the service that routes use.

    Args:
        cluster: The other nodes; None if there is only one machine.
        port_trouble: Returns which address of the service refuses connections, or None.
        started: When the service started, on the monotonic clock.
        document: Returns the OpenAPI document.
    """

    settings: Settings
    capability_policy: Policy
    manager: SessionUseCases
    sessions: SessionList
    cleaner: ProcessCleaner
    emergency: EmergencyRecovery
    drain: Drain
    cluster: ClusterView | None
    metrics: Metrics
    kept_logins: KeptLogins
    history: SessionHistory
    port_trouble: Callable[[], str | None]
    started: float
    document: Callable[[], Mapping[str, object]]

    @property
    def unavailable(self) -> str | None:
        """The reason why the service is unhealthy, or None."""
        return self.port_trouble() or self.manager.unavailable

    @property
    def readiness(self) -> Readiness:
        """Whether new sessions are accepted."""
        if self.sessions.stopping:
            return Readiness.STOPPING
        if self.sessions.draining:
            return Readiness.DRAINING
        is_cut_off = self.cluster is not None and self.cluster.trouble is not None
        return Readiness.WITHOUT_DATABASE if is_cut_off else Readiness.READY
