"""Ends sessions: for a client, by the clock, for want of somebody who would take them, and at a stop."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

from drover.core.deadline import Deadline, DeadlineExceeded
from drover.core.errors import CleanupIncomplete, SessionNotFound
from drover.sessions.lifecycle.session_worker import CloseReason, SessionWorker
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState

STOP_S = 7.0


class Closer:
    """Begins closes, and waits for them where somebody wants to know.

    Args:
        registry: The list of sessions.
        worker: Closes them in the background.
    """

    def __init__(self, registry: SessionRegistry, worker: SessionWorker) -> None:
        self._registry = registry
        self._worker = worker

    def close(self, session_id: str, deadline: Deadline) -> None:
        """Close a session in whatever state; its processes are seen gone and its folder removed.

        Raises:
            SessionNotFound: There is none of this id.
            CleanupIncomplete: Something survived; the session stays in the list.
        """
        self._registry.get(session_id)
        work = self._close_whatever(session_id, CloseReason.DELETED)
        try:
            deadline.wait(work)
        except DeadlineExceeded as error:
            raise CleanupIncomplete(f"Session {session_id} is still closing; DELETE it again") from error

    def close_unwanted(self, session: Session) -> None:
        """Begin to close a session that was made for one caller who never got it."""
        with suppress(SessionNotFound):
            self._close_whatever(session.session_id, CloseReason.UNWANTED)

    def close_idle(self) -> None:
        """Begin to close the sessions whose idle time is over."""
        for reserved in self._registry.take_idle(time.monotonic()):
            self._worker.close(reserved, CloseReason.IDLE)

    def close_again(self) -> None:
        """Begin again to close the sessions whose last close left something behind."""
        for session in self._registry.unclosed():
            self._begin(session, CloseReason.RETRIED)

    def close_all(self, sessions: Iterable[Session]) -> None:
        """Close sessions at a stop, side by side, within some seconds."""
        works: list[Future[Any]] = []
        for session in sessions:
            with suppress(SessionNotFound):
                works.append(self._close_whatever(session.session_id, CloseReason.STOPPING))
        wait(works, timeout=STOP_S)

    def _close_whatever(self, session_id: str, why: CloseReason) -> Future[Any]:
        """Begin to close a session, whatever state it moves on to meanwhile; gives the close to wait for.

        Raises:
            SessionNotFound: There is none of this id.
        """
        while True:
            work = self._begin(self._registry.get(session_id, or_warm=True), why)
            if work is not None:
                return work

    def _begin(self, session: Session, why: CloseReason) -> Future[Any] | None:
        """Begin to close a session; gives the close to wait for, None where it has moved on: look again."""
        begun = self._registry.begin(session, SessionState.CLOSING)
        if isinstance(begun, Reserved):
            self._worker.close(begun, why)
        return begun.work if begun and begun.session.state is SessionState.CLOSING else None
