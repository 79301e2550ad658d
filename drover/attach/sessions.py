"""What the driver endpoints need of the sessions, beside the look-ups of `DriverAccess`."""

from __future__ import annotations

from typing import Protocol

from drover.core.deadline import Deadline
from drover.sessions.pool.acquire_request import Acquired, AcquireRequest


class SessionUseCases(Protocol):
    """The use cases, as `SessionManager` documents them; all of them may block."""

    def acquire(self, request: AcquireRequest, deadline: Deadline) -> Acquired:
        """Return an existing session, checked and recovered if it is dead, or a new one."""

    def hand_back(self, acquired: Acquired, request: AcquireRequest) -> None:
        """Close a new session whose client disconnected before the answer, unless it named an id or a key."""

    def check(self, session_id: str, deadline: Deadline) -> Acquired:
        """Return an existing session, checked and recovered if it is dead."""

    def save(self, session_id: str) -> None:
        """Save the state of a session's browser now: its client is about to close windows of it."""

    def close(self, session_id: str, deadline: Deadline, *, keep: bool = False) -> None:
        """Close a session in any state."""

    @property
    def draining(self) -> bool:
        """Whether sessions go on, but no new ones are accepted."""

    @property
    def unavailable(self) -> str | None:
        """Why no session can be started now; None if nothing is known against it."""
