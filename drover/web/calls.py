"""The request that a REST route answers, the parts of the service that it uses, and what it takes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from starlette.requests import Request

from drover.browser.capabilities.policy import Policy
from drover.core.deadline import REQUEST_S, Deadline
from drover.core.settings import Settings
from drover.net.addresses import Addresses
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


@dataclass(frozen=True)
class Call:
    """One request, with its whole body.

    Attributes:
        gone: Completes when the client disconnects.
    """

    services: Services
    request: Request
    body: bytes
    gone: Future[None]


_current: ContextVar[Call] = ContextVar("call")


@contextmanager
def answering(call: Call) -> Iterator[None]:
    """Let the functions below speak of this call in the `with` block."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


def current_call() -> Call:
    """Return the call that is being answered."""
    return _current.get()


def services() -> Services:
    """Return the services behind the route."""
    return current_call().services


def request_header(name: str) -> str | None:
    """Return a header of the request, or None if it was not sent."""
    return current_call().request.headers.get(name)


def own_addresses() -> Addresses:
    """Return the addresses of the driver endpoints, with the host name that this request's client used.

    Of several machines they name the one that has the session, whichever was asked.
    """
    cluster = services().cluster
    if cluster is not None:
        return cluster.addresses
    request = current_call().request
    scheme = str(request.scope["scheme"])
    return Addresses.seen_by(request.headers.get("host"), scheme, services().settings.port)


def request_deadline() -> Deadline:
    """Return the deadline of this request; it ends early if the client disconnects."""
    return Deadline(REQUEST_S, current_call().gone)
