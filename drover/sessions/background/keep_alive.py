"""Keep-alive visits: open each session's page in the background, so that its login does not expire."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

from drover.browser.browsers import Browsers
from drover.browser.devtools_connection import DevToolsFailed
from drover.core import events
from drover.core.errors import SessionNotFound
from drover.core.events import Emit
from drover.core.jobs import Job, JobKind, Jobs
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session

VISIT_S = 20.0


@dataclass(eq=False, repr=False)
class KeepAliveVisitor:
    """Visits the pages that are due, in parallel."""

    _registry: SessionRegistry
    _browsers: Browsers
    _jobs: Jobs
    _emit: Emit

    def tick(self) -> None:
        """Begin the visits that are due; they do not count as activity of the sessions.

        A page that is still loading is not visited again: the visits of one session would delay those of
        the others.
        """
        now = time.monotonic()
        for session in self._registry.sessions():
            if session.keep_alive_due(now):
                self._begin(session, now)

    def _begin(self, session: Session, now: float) -> None:
        try:
            self._registry.update(session.session_id, lambda known: replace(known, kept_alive_mono=now))
        except SessionNotFound:
            return
        job = Job(JobKind.KEEP_ALIVE, session.session_id, session.birth)
        self._jobs.begin(job, partial(self._visit, session))

    def _visit(self, session: Session) -> None:
        if session.running is None or session.keep_alive is None or not self._registry.is_current(session):
            return
        try:
            self._browsers.visit(session.running, session.keep_alive.url, VISIT_S)
        except DevToolsFailed as error:
            # If the session was closed or recovered in the meantime, its tab is expected to be gone.
            if self._registry.is_current(session):
                self._emit(events.KeepAliveFailed(session.session_id, str(error)))
