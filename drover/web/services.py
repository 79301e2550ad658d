"""What the routes work with, and how they reach it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

from flask import current_app, request

from drover.core.deadline import REQUEST_S, Deadline
from drover.core.settings import Settings
from drover.net.access import AccessPolicy
from drover.net.addresses import Addresses
from drover.web.metrics import Metrics
from process_cleanup import ProcessCleaner
from session_manager import SessionManager

CLIENT_GONE = "drover.caller_gone"
"""Key in the ASGI scope of the future that is done when the caller has hung up."""

_EXTENSION = "drover"


@dataclass(frozen=True)
class Services:
    """The parts of the service that routes call; `started` is on the monotonic clock."""

    settings: Settings
    policy: AccessPolicy
    manager: SessionManager
    cleaner: ProcessCleaner
    metrics: Metrics
    started: float


def services() -> Services:
    """Give the services of the application that handles this request."""
    found: Services = current_app.extensions[_EXTENSION]
    return found


def offer(application_extensions: dict[str, object], offered: Services) -> None:
    """Make the services known to an application."""
    application_extensions[_EXTENSION] = offered


def own_addresses() -> Addresses:
    """Give the addresses of the drivers' doors, by the name by which this request's client calls us."""
    return Addresses.seen_by(request.headers.get("Host"), request.scheme, services().policy.port)


def request_deadline() -> Deadline:
    """Give the deadline of this request, which is over as soon as its caller hangs up."""
    gone: Future[None] | None = request.environ.get("asgi.scope", {}).get(CLIENT_GONE)
    return Deadline(REQUEST_S, gone)
