"""Which connections stay open when there are as many as there may be: decisions without a socket.

A thousand silent connections, made without any token, must not shut out the clients. So at the
limit the connection that never sent a request is closed first, then the one that has been idle longest, and
only then a new one is refused. A few more are accepted for the routes that show an operator what is going on.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Final, Generic, TypeVar

MOST: Final = 4096
MOST_ON_WINDOWS: Final = 400
"""`select` takes 512 sockets there, and some of them are ours."""
LEAST: Final = 64
RESERVE: Final = 16
"""Connections beyond the limit for `RESERVED_ROUTES`."""
OWN_DESCRIPTORS: Final = 128
DESCRIPTORS_OF_A_SESSION: Final = 12
RESERVED_ROUTES: Final = frozenset({"/health", "/ready", "/sessions"})

Connection = TypeVar("Connection", bound=Hashable)


def connection_limit(descriptors: int, max_sessions: int, *, windows: bool) -> int:
    """Return how many connections of clients may be open, given how many descriptors there may be."""
    left = descriptors - OWN_DESCRIPTORS - DESCRIPTORS_OF_A_SESSION * max_sessions - RESERVE
    return max(LEAST, min(left, MOST_ON_WINDOWS if windows else MOST))


def is_reserved(method: str, path: str) -> bool:
    """Return whether a request is served even beyond the limit of connections."""
    return method in {"GET", "HEAD"} and (path.rstrip("/") or "/") in RESERVED_ROUTES


class Admission(Enum):
    """What becomes of a new connection."""

    ADMITTED = "admitted"
    RESERVED_ROUTES_ONLY = "reserved routes only"
    REFUSED = "refused"


class ConnectionTable(Generic[Connection]):
    """The HTTP connections that could be closed for a new one, in the order in which they would be.

    Connections that serve a request, and WebSockets, are not in it.

    Args:
        limit: How many connections may be open before one has to be closed for a new one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._without_request: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}

    def admit(self, connection: Connection, others: int) -> tuple[Admission, Connection | None]:
        """Take in a new connection beside so many others; return what it may do, and which one to close."""
        if others < self._limit:
            self._without_request[connection] = None
            return Admission.ADMITTED, None
        victim = next(iter(self._without_request), None) or next(iter(self._idle), None)
        if victim is not None:
            self.remove(victim)
            self._without_request[connection] = None
            return Admission.ADMITTED, victim
        allowed = others < self._limit + RESERVE
        return (Admission.RESERVED_ROUTES_ONLY if allowed else Admission.REFUSED), None

    def busy(self, connection: Connection) -> None:
        """Note that a connection serves a request."""
        self.remove(connection)

    def idle(self, connection: Connection) -> None:
        """Note that a connection has nothing to do from now on."""
        self.remove(connection)
        self._idle[connection] = None

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        self._without_request.pop(connection, None)
        self._idle.pop(connection, None)
