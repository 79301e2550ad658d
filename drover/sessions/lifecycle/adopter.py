"""Adoption of the sessions of an earlier run, at the start of the service.

First all facts are read, in parallel; then the adoption is planned; then the plan is executed: adopt
living sessions, recover partly dead ones, forget the others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from drover.browser.browsers import Browsers
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.health import Assessment, HealthReadings, HealthStatus
from drover.core import events
from drover.core.events import Emit
from drover.core.threads import ThreadPool
from drover.processes.cleanup.process_tree import marks_by_process
from drover.processes.folders import folder_id
from drover.processes.table import snapshot
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.persistence.adoption_plan import Action, Decision, Here, plan_adoption
from drover.sessions.persistence.records import SessionRecord
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState

PROBE_THREADS = 16
ADOPT_S = 10.0
"""How long the start of the service waits for recoveries; a page whose script runs may delay one for long."""


@dataclass(eq=False, repr=False)
class SessionAdopter:
    """Adopts the sessions of an earlier run.

    Args:
        registry: The list of sessions, still empty.
    """

    _registry: SessionRegistry
    _worker: SessionWorker
    _repository: SessionRepository
    _state_saver: StateSaver
    _browsers: Browsers
    _emit: Emit

    def adopt_all(self, stored: Sequence[SessionRecord], data_dir: Path, boot_id: str) -> None:
        """Adopt the sessions; each is in the list, and so protected, before any of its processes is touched.

        A session that cannot be recovered now stays in the list: the next request for it retries.
        """
        readings = self._probe_all([one for one in stored if one.boot_id == boot_id])
        here = Here(boot_id, data_dir, folder_id(data_dir), marks_by_process(snapshot()))
        decisions = plan_adoption(stored, readings, here)
        sessions = {
            decision.session.session_id: self._enlist(decision)
            for decision in decisions
            if decision.action is not Action.FORGET
        }
        works = [
            work
            for decision in decisions
            if (work := self._execute(decision, sessions.get(decision.session.session_id))) is not None
        ]
        wait(works, timeout=ADOPT_S)

    def _probe_all(self, stored: Sequence[SessionRecord]) -> Mapping[str, HealthReadings]:
        """Probe the browsers of sessions, in parallel; return the readings by session id."""
        browsers = {one.session_id: one.running for one in stored if one.running is not None}
        if not browsers:
            return {}
        with ThreadPool("adoption", PROBE_THREADS) as threads:
            readings = threads.map(self._browsers.probe_until_settled, browsers.values())
            return dict(zip(browsers, readings, strict=True))

    def _enlist(self, decision: Decision) -> Session:
        session = decision.session.to_session(time.monotonic(), datetime.now(timezone.utc))
        state = self._repository.state_of(decision.session)
        if state is not None:
            self._state_saver.remember(session, state)
        self._registry.adopt(session)
        return session

    def _execute(self, decision: Decision, session: Session | None) -> Future[Any] | None:
        if session is None:
            self._repository.forget(decision.session)
            self._emit(events.SessionForgotten(decision.session.session_id, decision.reason))
            return None
        if decision.action is Action.ADOPT and session.running is not None:
            self._connect(session)
            return None
        begun = self._registry.begin(session, SessionState.RECOVERING)
        if isinstance(begun, Reserved):
            found = Assessment(HealthStatus.DEAD, decision.reason, decision.cause)
            self._worker.recover(begun, found)
        return begun.work if begun else None

    def _connect(self, session: Session) -> None:
        assert session.running is not None
        # A browser that dies at this moment is detected by its next health check.
        with suppress(DevToolsFailed):
            self._browsers.devtools.of(session.running)
        # What has changed since the last save of the service before would be lost with the browser.
        self._state_saver.tick([session])
        pids = session.running.driver.pid, session.running.browser.pid
        self._emit(events.SessionAdopted(session.session_id, *pids))
