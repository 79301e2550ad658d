"""At the start of the service: take back the sessions that an earlier run has left.

Facts first, side by side; then the plan; then what it says: adopt what lives, bring back what is
half dead, forget the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from drover.browser import health
from drover.browser.devtools import NO_SIGNALS, DevTools, DevToolsFailed
from drover.browser.health import Assessment, HealthReadings, HealthStatus, Silence
from drover.core import events
from drover.core.events import Emit
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.persistence.adoption_plan import Action, Decision, plan_adoption
from drover.sessions.persistence.records import SessionRecord
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState

LOOKERS = 16
TAKE_BACK_S = 90.0


class SessionAdopter:
    """Takes back what an earlier run has left.

    Args:
        registry: The list of sessions, still empty.
        worker: Recovers those that are half dead.
        repository: Where the earlier run has noted them.
        state_saver: Is given what was taken from their browsers.
        devtools: The DevTools connections.
        emit: Hears what happens.
        probe_timeout: Seconds that one health probe waits.
        data_dir: Our data folder.
        boot_id: Which run of the machine this is.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        worker: SessionWorker,
        repository: SessionRepository,
        state_saver: StateSaver,
        devtools: DevTools,
        emit: Emit,
        *,
        probe_timeout: float,
        data_dir: Path,
        boot_id: str,
    ) -> None:
        self._registry = registry
        self._worker = worker
        self._repository = repository
        self._state_saver = state_saver
        self._devtools = devtools
        self._emit = emit
        self._probe_timeout = probe_timeout
        self._data_dir = data_dir
        self._boot_id = boot_id

    def adopt_all(self, stored: Sequence[SessionRecord]) -> None:
        """Take the sessions back; each is in the list, and so protected, before anything of it is touched.

        One that cannot be brought back now stays in the list: the next one who asks tries again.
        """
        plan = plan_adoption(stored, self._look_at(stored), self._boot_id, self._data_dir)
        sessions = {
            decision.session.session_id: self._enlist(decision)
            for decision in plan.decisions
            if decision.action is not Action.FORGET
        }
        works = [
            work
            for decision in plan.decisions
            if (work := self._carry_out(decision, sessions.get(decision.session.session_id))) is not None
        ]
        wait(works, timeout=TAKE_BACK_S)

    def _look_at(self, stored: Sequence[SessionRecord]) -> Mapping[str, HealthReadings]:
        """Look at those of this run of the machine, side by side."""
        present = [one for one in stored if one.running is not None and one.boot_id == self._boot_id]
        if not present:
            return {}
        with ThreadPoolExecutor(LOOKERS, thread_name_prefix="takeover") as executor:
            readings = executor.map(self._look, present)
            return {one.session_id: found for one, found in zip(present, readings, strict=True)}

    def _look(self, stored: SessionRecord) -> HealthReadings:
        assert stored.running is not None
        silence = Silence()
        while True:
            readings = health.read(stored.running, NO_SIGNALS, self._probe_timeout)
            found = health.assess(readings, stored.running, silence, self._probe_timeout)
            if found.settled:
                return readings
            silence = found.silence

    def _enlist(self, decision: Decision) -> Session:
        session = decision.session.to_session(time.monotonic(), datetime.now(timezone.utc))
        state = self._repository.state_of(session.session_id)
        if state is not None:
            self._state_saver.remember(session.session_id, state)
        self._registry.adopt(session)
        return session

    def _carry_out(self, decision: Decision, session: Session | None) -> Future[Any] | None:
        if session is None:
            self._repository.forget(decision.session.session_id)
            self._emit(events.SessionForgotten(decision.session.session_id, decision.reason))
            return None
        if decision.action is Action.ADOPT and session.running is not None:
            self._hear_from(session)
            return None
        begun = self._registry.begin(session, SessionState.RECOVERING)
        if isinstance(begun, Reserved):
            found = Assessment(HealthStatus.DEAD, decision.reason, decision.cause)
            self._worker.recover(begun, found)
        return begun.work if begun else None

    def _hear_from(self, session: Session) -> None:
        assert session.running is not None
        # One that dies at this moment is found out by its next health check.
        with suppress(DevToolsFailed):
            self._devtools.of(session.running)
        pids = session.running.driver.pid, session.running.browser.pid
        self._emit(events.SessionAdopted(session.session_id, *pids))
