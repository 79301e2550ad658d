"""Checks sessions and has dead ones recovered, on request and periodically."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from math import ceil
from typing import Any

from drover.browser.browsers import Browsers
from drover.browser.health import Assessment, Cause, Health, HealthReadings, HealthStatus, Silence
from drover.browser.recovery import Recovery
from drover.core.backoff import NO_FAILURES
from drover.core.deadline import Deadline, DeadlineExceeded
from drover.core.errors import BrowserUnavailable, RecoveryFailed
from drover.core.jobs import Job, JobKind, Jobs
from drover.processes.helpers import look_at_helpers
from drover.processes.termination import end
from drover.sessions.lifecycle.crash_backoff import CRASHES, long_pause_s
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.lifecycle.single_flight import SingleFlight
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState

WATCH_S = 30.0
HELPERS_SETTLE_S = 0.5
PROBE_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of a check: the recovery that it began and awaited; None if the session was alive."""

    recovery: Recovery | None


@dataclass(eq=False, repr=False)
class HealthMonitor:
    """Checks sessions, and has dead ones recovered."""

    _registry: SessionRegistry
    _worker: SessionWorker
    _browsers: Browsers
    _jobs: Jobs
    _probes: SingleFlight[HealthReadings] = field(default_factory=SingleFlight, init=False)

    def check_and_recover(self, session: Session, deadline: Deadline) -> CheckResult | None:
        """Check a session, and recover it if it is dead; return None if it changed in the meantime: retry.

        Raises:
            RecoveryFailed: It could not be recovered, or not in time, or it keeps crashing.
        """
        self._settle_helpers(session)
        work = self._recovery_of(session, self.assess(session, deadline))
        if not isinstance(work, Future):
            return work
        try:
            result = deadline.wait(work)
        except DeadlineExceeded as error:
            raise RecoveryFailed(f"Session {session.session_id} is still being recovered; retry") from error
        return CheckResult(result.last_recovery) if isinstance(result, Session) else None

    def assess(self, session: Session, deadline: Deadline) -> Assessment:
        """Probe a session until the assessment is settled or the time is over, and record the result.

        Raises:
            BrowserUnavailable: Other callers' probes of the session took all the time.
        """
        running, silence, begun = session.running, Silence(), time.monotonic()
        if running is None:
            return Assessment(HealthStatus.DEAD, "it has no browser", Cause.BROWSER_GONE)
        probe = partial(self._browsers.probe, running)
        while True:
            try:
                readings = self._probes.do(running, probe, deadline)
            except DeadlineExceeded as error:
                raise BrowserUnavailable(
                    f"Session {session.session_id} could not be checked in time; retry"
                ) from error
            assessment = self._browsers.assess(readings, running, silence)
            if assessment.settled or deadline.remaining() == 0:
                break
            silence = assessment.silence
            time.sleep(PROBE_PAUSE_S)
        now, latency_ms = datetime.now(timezone.utc), round(1000 * (time.monotonic() - begun))
        alive = assessment.status in {HealthStatus.HEALTHY, HealthStatus.BUSY}
        self._registry.note(
            session,
            health=Health(assessment.status, assessment.reason, now, latency_ms),
            current_url=readings.current_url or session.current_url,
            crash_loop=NO_FAILURES if alive else session.crash_loop,
        )
        return assessment

    def _settle_helpers(self, session: Session) -> None:
        """End stopped helper processes, and wait until Chrome has noticed those that are ending.

        Chrome waits for a stopped helper, but replaces a dead one.
        """
        running = session.running
        if running is None:
            return
        helpers = look_at_helpers(running.browser)
        stopped = helpers.stopped
        end(stopped)
        over = time.monotonic() + HELPERS_SETTLE_S
        while time.monotonic() < over and (
            helpers.ending or (stopped and not self._browsers.devtools.seen(running).crashed_pages)
        ):
            time.sleep(PROBE_PAUSE_S)
            helpers = look_at_helpers(running.browser)

    def watch(self) -> None:
        """Begin to check all sessions that are not in use, in parallel; one that hangs delays no other."""
        for session in self._registry.sessions():
            if session.evictable:
                job = Job(JobKind.WATCH, session.session_id, session.birth)
                self._jobs.begin(job, partial(self._watch_one, session))

    def _watch_one(self, session: Session) -> None:
        try:
            self._settle_helpers(session)
            self._recovery_of(session, self.assess(session, Deadline(WATCH_S)))
        except RecoveryFailed:
            # Recovery is paused after too many crashes; clients get the error when they request the session.
            return

    def _recovery_of(self, session: Session, found: Assessment) -> Future[Any] | CheckResult | None:
        """Begin to recover a dead session; return the work to wait for, or the result of a living one.

        None if the session changed in the meantime.
        """
        if found.status is not HealthStatus.DEAD:
            return CheckResult(None)
        now = time.monotonic()
        retry_after_s = ceil(long_pause_s(session.crash_loop, now))
        if retry_after_s:
            raise RecoveryFailed(
                f"Session {session.session_id} crashed {session.crash_loop.count} times in a row "
                f"({found.cause.value if found.cause else found.reason}). "
                f"Recovery is paused for {retry_after_s} s; retry then, or delete the session.",
                retry_after_s=retry_after_s,
            )
        begun = self._registry.begin(session, SessionState.RECOVERING)
        if isinstance(begun, Reserved):
            self._worker.recover(begun, found, CRASHES.pause_s(session.crash_loop, now))
        return begun.work if begun is not None else None
