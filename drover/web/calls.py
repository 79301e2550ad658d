"""The request that a REST route answers, and what routes take of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.requests import Request

from drover.core.deadline import REQUEST_S, Deadline
from drover.net.addresses import Addresses
from drover.web.services import Services


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
