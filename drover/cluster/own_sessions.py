"""The sessions of this node, as the cluster needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drover.sessions.lifecycle.closer import Closer
from drover.sessions.lifecycle.session_pool import SessionPool
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.registry import SessionRegistry
from process_cleanup import EmergencyRecovery


@dataclass(frozen=True, slots=True)
class OwnSessions:
    """The sessions of this node, and what works on them.

    Attributes:
        obstacle: Returns why this machine can start no browser now; None if nothing is known against it.
    """

    registry: SessionRegistry
    pool: SessionPool
    closer: Closer
    state_saver: StateSaver
    kept: KeptLogins
    emergency: EmergencyRecovery
    obstacle: Callable[[], str | None]
