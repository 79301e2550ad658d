"""Keep-alive visits: open each session's page in the background, so that its login does not expire."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from drover.browser.background_tab import visit
from drover.browser.devtools import DevTools, DevToolsFailed
from drover.core import events
from drover.core.errors import SessionNotFound
from drover.core.events import Emit
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session

VISITORS = 2
VISIT_S = 20.0


class KeepAliveVisitor:
    """Visits the pages that are due, in parallel, at most `VISITORS` at a time.

    Args:
        registry: The list of sessions.
        devtools: The DevTools connections to their browsers.
        emit: Receives events.
    """

    def __init__(self, registry: SessionRegistry, devtools: DevTools, emit: Emit) -> None:
        self._registry = registry
        self._devtools = devtools
        self._emit = emit
        self._visits: dict[str, Future[None]] = {}
        self._executor = ThreadPoolExecutor(VISITORS, thread_name_prefix="keep-alive")

    def tick(self) -> None:
        """Begin the visits that are due; they do not count as activity of the sessions.

        A page that is still loading is not visited again: the visits of one session would delay those of
        the others.
        """
        now = time.monotonic()
        self._visits = {name: visit for name, visit in self._visits.items() if not visit.done()}
        for session in self._registry.sessions():
            if session.keep_alive_due(now) and session.session_id not in self._visits:
                self._begin(session, now)

    def close(self) -> None:
        """Begin no more visits."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(self, session: Session, now: float) -> None:
        try:
            self._registry.update(session.session_id, lambda known: replace(known, kept_alive_mono=now))
        except SessionNotFound:
            return
        self._visits[session.session_id] = self._executor.submit(self._visit, session)

    def _visit(self, session: Session) -> None:
        if session.running is None or session.keep_alive is None or not self._registry.is_current(session):
            return
        try:
            visit(self._devtools.of(session.running), session.keep_alive.url, VISIT_S)
        except DevToolsFailed as error:
            # If the session was closed or recovered in the meantime, its tab is expected to be gone.
            if self._registry.is_current(session):
                self._emit(events.KeepAliveFailed(session.session_id, str(error)))
