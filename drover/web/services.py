"""The parts of the service that routes use, and access to them from a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum

from flask import current_app, request

from drover.browser.capabilities.policy import Policy
from drover.core.deadline import REQUEST_S, Deadline
from drover.core.settings import Settings
from drover.net.addresses import Addresses
from drover.sessions.lifecycle.drain import Drain
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.storage.session_history import SessionHistory
from drover.web.metrics import Metrics
from drover.web.sessions import SessionList, SessionUseCases
from process_cleanup import EmergencyRecovery, ProcessCleaner

CLIENT_GONE = "drover.caller_gone"
"""Key in the ASGI scope of the future that completes when the client disconnects."""

_EXTENSION = "drover"


class Readiness(str, Enum):
    """Whether the service accepts new sessions, and if not, why."""

    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Services:
    """The parts of the service that routes use.

    Args:
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
        return Readiness.DRAINING if self.sessions.draining else Readiness.READY


def services() -> Services:
    """Return the services of the application that handles this request."""
    found: Services = current_app.extensions[_EXTENSION]
    return found


def offer(application_extensions: dict[str, object], offered: Services) -> None:
    """Store the services in an application's extensions."""
    application_extensions[_EXTENSION] = offered


def own_addresses() -> Addresses:
    """Return the addresses of the driver endpoints, with the host name that this request's client used."""
    return Addresses.seen_by(request.headers.get("Host"), request.scheme, services().settings.port)


def request_deadline() -> Deadline:
    """Return the deadline of this request; it ends early if the client disconnects."""
    gone: Future[None] | None = request.environ.get("asgi.scope", {}).get(CLIENT_GONE)
    return Deadline(REQUEST_S, gone)
