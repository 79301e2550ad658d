"""Closing of sessions: on request, when idle, when their client is gone, and when the service stops."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from drover.core.deadline import Deadline, DeadlineExceeded
from drover.core.errors import CleanupIncomplete, NothingKept, SessionNotFound
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.acquire import InProgress, Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState

BEGIN_S = 5.0


@dataclass(eq=False, repr=False)
class Closer:
    """Begins to close sessions, and waits for the result if it is needed."""

    _registry: SessionRegistry
    _worker: SessionWorker
    _state_saver: StateSaver
    _kept: KeptLogins

    def close(self, session_id: str, deadline: Deadline, *, keep: bool = False) -> None:
        """Close a session in any state: wait until its processes are gone and its folder is removed.

        Args:
            keep: Keep its state for the next session of its key, instead of deleting what was kept.

        Raises:
            SessionNotFound: No session has this id.
            CleanupIncomplete: Something survived; the session stays in the list.
            StorageUnavailable: It is closed, but what is to be deleted is not deleted on disk yet.
        """
        key = self._registry.get(session_id).key
        why = CloseReason.QUIT if keep else CloseReason.DELETED
        try:
            begun = self._begin_until_closing(session_id, why, deadline)
            deadline.wait(begun.work)
        except DeadlineExceeded as error:
            raise CleanupIncomplete(f"Session {session_id} is still closing; delete it again") from error
        if key is not None and not keep and isinstance(begun, InProgress):
            # The close that was in progress may have been one that keeps the state.
            with suppress(NothingKept):
                self._kept.forget(key, deadline)

    def save(self, session_id: str) -> None:
        """Save the state of a session's browser now: its client is about to close windows of it.

        Raises:
            SessionNotFound: No session has this id.
        """
        self._state_saver.save_now([self._registry.get(session_id)])

    def close_unwanted(self, session: Session) -> None:
        """Begin to close a session that was created for one client and never handed over."""
        with suppress(SessionNotFound):
            self._begin_until_closing(session.session_id, CloseReason.UNWANTED, Deadline(BEGIN_S))

    def give_away(self, session: Session) -> None:
        """Begin to end a session that another node has by now; nothing is saved from it."""
        with suppress(SessionNotFound, DeadlineExceeded):
            self._begin_until_closing(session.session_id, CloseReason.GIVEN_AWAY, Deadline(BEGIN_S))

    def close_idle(self) -> None:
        """Begin to close the sessions that have exceeded their idle timeout."""
        for reserved in self._registry.take_idle(time.monotonic()):
            self._worker.close(reserved, CloseReason.IDLE)

    def close_again(self) -> None:
        """Retry to close the sessions whose last close failed."""
        for session in self._registry.unclosed():
            self._begin(session, CloseReason.RETRIED)

    def close_all(self, sessions: Iterable[Session], deadline: Deadline) -> tuple[Session, ...]:
        """Close sessions in parallel when the service stops; return those that are not closed in time."""
        works: dict[Future[Any], Session] = {}
        left: list[Session] = []
        for session in sessions:
            try:
                begun = self._begin_until_closing(session.session_id, CloseReason.STOPPING, deadline)
            except SessionNotFound:
                continue
            except DeadlineExceeded:
                left.append(session)
            else:
                works[begun.work] = session
        done = wait(works, timeout=deadline.remaining()).done
        left += [one for work, one in works.items() if work not in done or work.exception() is not None]
        return tuple(left)

    def _begin_until_closing(
        self, session_id: str, why: CloseReason, deadline: Deadline
    ) -> Reserved | InProgress:
        """Begin to close a session, even if its state changes in the meantime, or join a close in progress.

        Raises:
            SessionNotFound: No session has this id.
            DeadlineExceeded: It has changed at every attempt until the deadline.
        """
        while True:
            begun = self._begin(self._registry.get(session_id, or_warm=True), why)
            if begun is not None:
                return begun
            deadline.check()

    def _begin(self, session: Session, why: CloseReason) -> Reserved | InProgress | None:
        """Begin to close a session, or join a close in progress; None if the session has changed: retry."""
        begun = self._registry.begin(session, SessionState.CLOSING)
        if isinstance(begun, Reserved):
            self._worker.close(begun, why)
        return begun if begun and begun.session.state is SessionState.CLOSING else None
