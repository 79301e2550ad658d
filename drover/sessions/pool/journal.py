"""What the registry tells of every change that must outlive the process."""

from __future__ import annotations

from typing import Protocol

from drover.sessions.pool.session import Session


class Journal(Protocol):
    """Hears of changes in their order; called under the registry's lock, so it does no I/O."""

    def next_epoch(self) -> int:
        """Return the number of another birth of a session, higher than all before."""

    def record(self, session: Session) -> None:
        """Note a session as it is now, to be written to disk."""
