"""The parts of the service that REST routes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from drover.browser.capabilities.policy import Policy
from drover.core.settings import Settings
from drover.sessions.lifecycle.drain import Drain
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.session_history import SessionHistory
from drover.web.metrics import Metrics
from process_cleanup import EmergencyRecovery, ProcessCleaner
from session_manager import SessionManager

if TYPE_CHECKING:
    from drover.cluster.cluster import Cluster  # imports psycopg


class Readiness(str, Enum):
    """Whether the service accepts new sessions, and if not, why."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    WITHOUT_DATABASE = "without_database"


@dataclass(frozen=True)
class Services:
    """The parts of the service that routes use.

    Args:
        cluster: The other nodes; None if there is only one machine.
        port_trouble: Returns which address of the service refuses connections, or None.
        is_starting: Returns whether the start is not over yet.
        started: When the service started, on the monotonic clock.
    """

    settings: Settings
    capability_policy: Policy
    manager: SessionManager
    sessions: SessionRegistry
    cleaner: ProcessCleaner
    emergency: EmergencyRecovery
    drain: Drain
    cluster: Cluster | None
    metrics: Metrics
    kept_logins: KeptLogins
    history: SessionHistory
    port_trouble: Callable[[], str | None]
    is_starting: Callable[[], bool]
    started: float
    document: Callable[[], Mapping[str, object]]

    @property
    def unavailable(self) -> str | None:
        """The reason why the service is unhealthy, or None."""
        return self.port_trouble() or self.manager.unavailable

    @property
    def active_sessions(self) -> int:
        """The number of sessions."""
        return len(self.sessions.sessions())

    @property
    def readiness(self) -> Readiness:
        """Whether new sessions are accepted."""
        if self.sessions.stopping:
            return Readiness.STOPPING
        if self.sessions.draining:
            return Readiness.DRAINING
        if self.is_starting():
            return Readiness.STARTING
        is_cut_off = self.cluster is not None and self.cluster.trouble is not None
        return Readiness.WITHOUT_DATABASE if is_cut_off else Readiness.READY
