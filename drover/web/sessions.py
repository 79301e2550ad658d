"""What the REST API needs of the sessions: the use cases, and the list as it is now."""

from __future__ import annotations

from typing import Protocol

from drover.core.deadline import Deadline
from drover.sessions.pool.acquire_request import Acquired, AcquireRequest
from drover.sessions.pool.memory_room import MemoryRoom
from drover.sessions.pool.session import Lease, Session


class SessionUseCases(Protocol):
    """The use cases, as `SessionManager` documents them; each raises a `DroverError` if it fails."""

    def acquire(self, request: AcquireRequest, deadline: Deadline) -> Acquired:
        """Return an existing session, checked and recovered if it is dead, or a new one."""

    def check(self, session_id: str, deadline: Deadline) -> Acquired:
        """Return an existing session, checked and recovered if it is dead."""

    def report(self, session_id: str, deadline: Deadline) -> Session:
        """Return an existing session after a health check, without recovering it."""

    def screenshot(self, session_id: str, deadline: Deadline) -> bytes:
        """Return the page in front as PNG."""

    def lease(
        self, session_id: str, ttl_s: float, holder: str | None, token: str | None, deadline: Deadline
    ) -> Lease:
        """Lease a session, or renew the lease that `token` belongs to."""

    def end_lease(self, session_id: str, token: str | None, deadline: Deadline) -> None:
        """End the lease of a session."""

    def close(self, session_id: str, deadline: Deadline, *, keep: bool = False) -> None:
        """Close a session in any state."""

    @property
    def unavailable(self) -> str | None:
        """Why no session can be started now; None if nothing is known against it."""


class SessionList(Protocol):
    """The list of sessions, which is read without any wait."""

    max_sessions: int

    def sessions(self) -> tuple[Session, ...]:
        """Return all sessions as they are now, the oldest first, without warm ones."""

    def get(self, session_id: str) -> Session:
        """Return a session as it is now; raise `SessionNotFound` if there is none with this id."""

    def warm_count(self) -> int:
        """Return how many warm browsers are ready."""

    @property
    def waiting(self) -> int:
        """How many callers wait for a place."""

    @property
    def memory(self) -> MemoryRoom:
        """The last measurement of the memory."""

    @property
    def stopping(self) -> bool:
        """Whether the service is stopping."""

    @property
    def draining(self) -> bool:
        """Whether sessions go on, but no new ones are accepted."""
