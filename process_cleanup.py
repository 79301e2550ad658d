"""Cleanups: plan, end processes, remove folders, report.

The process table is read first and the protected sessions second. In the other order, a cleanup would end a
session that starts in between.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum

from drover.core import events
from drover.core.deadline import Deadline, DeadlineExceeded
from drover.core.errors import DroverError, Overloaded, StorageUnavailable
from drover.core.events import Emit
from drover.core.jobs import Job, JobKind, Jobs
from drover.processes.children import reap
from drover.processes.cleanup.chrome_names import Role
from drover.processes.cleanup.cleanup_plan import (
    CleanupPlan,
    CleanupScope,
    ProtectedSession,
    Protection,
    Verdict,
)
from drover.processes.cleanup.reports import CleanupReport, EmergencyReport, Failed, Killed, Stopwatch
from drover.processes.cleanup.verdicts import plan_cleanup
from drover.processes.folders import FolderId, folder_id
from drover.processes.host.memory import memory_held_mb
from drover.processes.session_mark import OwnerState
from drover.processes.table import ProcessIdentity, ProcessTable, snapshot, way_to_data_folder
from drover.processes.termination import Outcome, end
from drover.processes.values import ProcessStatus
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.instance_lock import read_owner
from drover.storage.session_folders import SessionFolder, SessionFolders

__all__ = [
    "CleanupReport",
    "EmergencyRecovery",
    "EmergencyReport",
    "Failed",
    "Killed",
    "ProcessCleaner",
    "Trigger",
]

PASSES = 3
"""Maximum passes of a cleanup: a process may fork while it is being ended, so the plan is repeated."""
PATIENCE_S = 2.0
"""Seconds that a recovery waits for the cleanup that it triggered."""
WAIT_S = 60.0
"""Seconds that a cleanup waits for another one; what is left of a request's time is for its own work."""
SWEEP_WAIT_S = 5.0
EMERGENCY_WAIT_S = 10.0
"""Seconds that an emergency recovery waits for work that it has overtaken."""


class Trigger(Enum):
    """The trigger of a cleanup: a person, or Drover itself."""

    PERSON = "person"
    ITSELF = "itself"


class ProcessCleaner:
    """The cleaner of this machine: ends orphaned processes and removes orphaned session folders.

    Args:
        protected: Returns the sessions to protect; called after the process table has been read.
        adopt_grace: Seconds for which the sessions of another, stopped instance are left alone.
        owned_only: Never end a ChromeDriver that Drover did not start.
    """

    def __init__(
        self,
        folders: SessionFolders,
        protected: Callable[[], tuple[ProtectedSession, ...]],
        jobs: Jobs,
        emit: Emit,
        *,
        adopt_grace: float,
        owned_only: bool,
    ) -> None:
        self._folders = folders
        self._protected = protected
        self._jobs = jobs
        self._emit = emit
        self._adopt_grace = adopt_grace
        self._owned_only = owned_only
        self._tidied: frozenset[SessionFolder] = frozenset()
        self._one_at_a_time = threading.RLock()

    def cleanup(
        self, trigger: Trigger, *, dry_run: bool = False, deadline: Deadline | None = None
    ) -> CleanupReport:
        """End all orphans on the machine, and remove the folders without a session.

        In a dry run nothing is ended, removed or reaped, and the report says what would be done.

        Raises:
            Overloaded: Other cleanups did not end before the deadline, or within `WAIT_S` seconds.
        """
        with self.alone(Deadline(min(deadline.remaining(), WAIT_S) if deadline is not None else WAIT_S)):
            self._emit(events.CleanupTriggered())
            return self._cleanup(self._scope(trigger), dry_run=dry_run)

    def upon_connection_error(self) -> int:
        """Clean up for a session that was found dead; return the number of orphans that were ended.

        Concurrent calls share one cleanup. A cleanup that fails, or takes longer than `PATIENCE_S`, is logged
        and returns 0; a slow one continues in the background.
        """
        try:
            report = Deadline(PATIENCE_S).wait(self.by_interval())
        except DeadlineExceeded:
            reason = f"it takes longer than {PATIENCE_S:.0f} s and continues in the background"
        except (DroverError, CancelledError) as error:
            reason = str(error) or "the service is stopping"
        else:
            return report.killed_count if report is not None else 0
        self._emit(events.CleanupFailed(reason))
        return 0

    def by_interval(self) -> Future[CleanupReport | None]:
        """Start a cleanup in the background; a failure is only logged, and its report is None."""
        return self._jobs.begin(Job(JobKind.CLEANUP), self._automatic)

    def tidy(self) -> None:
        """Start a cleanup in the background if there is a new folder without a session.

        Such a folder is left if a session was lost, as in an emergency, and its folder could not be removed.
        """
        left = frozenset(self._unowned_folders())
        # A folder that this cleanup cannot remove is left to the next cleanup that runs anyway.
        if left - self._tidied:
            self.by_interval()
        self._tidied = left

    def remove_orphaned_folders(self) -> None:
        """Remove the folders that no session owns; what cannot be removed is left to the next start.

        Raises:
            Overloaded: A cleanup did not end within `SWEEP_WAIT_S` seconds.
        """
        with self.alone(Deadline(SWEEP_WAIT_S)):
            self._sweep(Stopwatch())

    def survey(self) -> CleanupPlan:
        """Judge every Chrome-like process on the machine, as a requested cleanup does."""
        return self._plan(self._scope(Trigger.PERSON), Stopwatch())

    @contextmanager
    def alone(self, deadline: Deadline) -> Iterator[None]:
        """Wait until no cleanup runs on another thread, and let none begin in the `with` block.

        Raises:
            Overloaded: Another cleanup did not end before the deadline.
        """
        if not self._one_at_a_time.acquire(timeout=deadline.remaining()):
            raise Overloaded("Another cleanup is still running; retry when it has ended")
        try:
            yield
        finally:
            self._one_at_a_time.release()

    def end_everything(self, deadline: Deadline) -> CleanupReport:
        """End every Chrome and ChromeDriver on the machine, including those of other programs.

        Repeats, at most `PASSES` times, until a snapshot shows none that may be ended. The profiles that are
        kept for keys are removed with the folders: what an emergency clears includes every login.

        Raises:
            Overloaded: Another cleanup did not end before the deadline.
        """
        with self.alone(deadline):
            watch = Stopwatch()
            report = self._carry_out(CleanupScope.EVERYTHING, watch)
            self._folders.forget_kept()
            return self._swept(report, watch)

    def _scope(self, trigger: Trigger) -> CleanupScope:
        if self._owned_only:
            return CleanupScope.OWNED
        return CleanupScope.SYSTEM if trigger is Trigger.PERSON else CleanupScope.ABANDONED

    def _automatic(self) -> CleanupReport | None:
        """Clean up in the background; a failure is logged and counted as one of a cleanup."""
        try:
            with self.alone(Deadline(WAIT_S)):
                return self._cleanup(self._scope(Trigger.ITSELF), dry_run=False)
        except Exception as error:  # noqa: BLE001 - a failed cleanup must not stop the recovery
            self._emit(events.CleanupFailed(str(error) or type(error).__name__))
            return None

    def _cleanup(self, scope: CleanupScope, *, dry_run: bool) -> CleanupReport:
        watch = Stopwatch()
        if dry_run:
            return self._dry_run(scope, watch)
        report = self._swept(self._carry_out(scope, watch), watch)
        self._emit(events.CleanupFinished(report.killed_count, report.removed_profiles, len(report.failed)))
        return report

    def _dry_run(self, scope: CleanupScope, watch: Stopwatch) -> CleanupReport:
        plan = self._plan(scope, watch)
        self._emit(events.ActiveDrivers(_active_drivers(plan)))
        return CleanupReport(
            killed=tuple(Killed(judgement, Outcome.ENDED) for judgement in plan.orphans),
            spared=_spared(plan),
            reaped=tuple(judgement.row.pid for judgement in plan.reapable),
            removed_profiles=len(self._unowned_folders()),
            freed_mb=memory_held_mb(judgement.row.pid for judgement in plan.orphans),
            dry_run=True,
            duration_ms=watch.total(),
            phases_ms=watch.phases(),
        )

    def _carry_out(self, scope: CleanupScope, watch: Stopwatch) -> CleanupReport:
        killed: dict[ProcessIdentity, Killed] = {}
        failed: dict[ProcessIdentity, Failed] = {}
        reaped: list[int] = []
        freed_mb = 0.0
        plan, ends_orphans = CleanupPlan(()), scope is not CleanupScope.EVERYTHING
        for number in range(PASSES):
            plan = self._plan(scope, watch)
            if number == 0 and ends_orphans:
                self._emit(events.ActiveDrivers(_active_drivers(plan)))
            targets = tuple(j for j in plan.orphans if j.row.identity not in failed)
            if not targets and not plan.reapable:
                break
            for judgement in targets:
                self._emit(events.KillingProcess(judgement.row.pid, judgement.role.value, ends_orphans))
            freed_mb += memory_held_mb(judgement.row.pid for judgement in targets)
            identities = [judgement.row.identity for judgement in targets]
            # Processes that appear after the first pass may fork again upon SIGTERM; SIGKILL prevents that.
            terminations = end(identities) if number == 0 else end(identities, grace=0)
            for judgement, ended in zip(targets, terminations, strict=True):
                if ended.outcome in {Outcome.DENIED, Outcome.SURVIVED}:
                    failed[ended.identity] = Failed(judgement, ended.detail or ended.outcome.value)
                else:
                    killed[ended.identity] = Killed(judgement, ended.outcome)
            reaped += reap(judgement.row.pid for judgement in plan.reapable)
            watch.lap("end")
        for failure in failed.values():
            self._emit(events.ProcessSurvived(failure.judgement.row.pid, failure.why))
        return CleanupReport(
            killed=tuple(killed.values()),
            failed=tuple(failed.values()),
            spared=_spared(plan),
            reaped=tuple(reaped),
            freed_mb=freed_mb,
        )

    def _plan(self, scope: CleanupScope, watch: Stopwatch) -> CleanupPlan:
        table = snapshot()
        watch.lap("scan")
        own = folder_id(self._folders.data_dir)
        protection = Protection(self._protected(), own, self._owners(table, own))
        plan = plan_cleanup(table, protection, scope)
        watch.lap("plan")
        return plan

    def _owners(self, table: ProcessTable, own: FolderId | None) -> dict[FolderId, OwnerState]:
        """Return the state of the other instances that the table names."""
        owners: dict[FolderId, OwnerState] = {}
        for row in table.rows.values():
            home = row.mark.home if row.mark is not None else None
            if row.mark is None or home is None or home == own or home in owners:
                continue
            path = way_to_data_folder(row.pid, row.mark)
            state = read_owner(path, self._adopt_grace)
            # If the process ended in the meantime, its path may lead elsewhere by now.
            if folder_id(path) == home:
                owners[home] = state
        return owners

    def _unowned_folders(self) -> tuple[SessionFolder, ...]:
        present = self._folders.present()
        owned = {session.folder for session in self._protected()}
        # A folder whose session has just left the list was removed before.
        return tuple(
            folder for folder in present if str(folder.path) not in owned and os.path.lexists(folder.path)
        )

    def _swept(self, report: CleanupReport, watch: Stopwatch) -> CleanupReport:
        """Remove the folders without a session; return the report with their number and the durations."""
        removed = self._sweep(watch)
        return replace(report, removed_profiles=removed, duration_ms=watch.total(), phases_ms=watch.phases())

    def _sweep(self, watch: Stopwatch) -> int:
        removed = sum(1 for folder in self._unowned_folders() if self._folders.remove(folder))
        watch.lap("sweep")
        return removed


@dataclass(eq=False, repr=False)
class EmergencyRecovery:
    """Ends every Chrome of the machine and forgets every session.

    Args:
        reap: Reaps the ChromeDrivers that this service has started.
    """

    _registry: SessionRegistry
    _cleaner: ProcessCleaner
    _reap: Callable[[], None]
    _state_saver: StateSaver
    _repository: SessionRepository
    _emit: Emit

    def run(self, deadline: Deadline) -> EmergencyReport:
        """End all and forget all; no session starts until it is done.

        A start or recovery that is in progress ends what it has started and publishes nothing.

        Raises:
            Overloaded: Other cleanups did not end before the deadline.
        """
        with self._cleaner.alone(deadline):
            self._emit(events.EmergencyStarted())
            sessions = tuple(session.session_id for session in self._registry.sessions())
            works = self._registry.close_gate()
            try:
                report = self._cleaner.end_everything(deadline)
                if works:
                    wait(works, timeout=deadline.within(EMERGENCY_WAIT_S).remaining())
                    report = report.followed_by(self._cleaner.end_everything(deadline))
                self._reap()
                self._state_saver.forget_all()
                cleared = self._clear_disk(deadline)
            finally:
                self._registry.open_gate()
            self._emit(events.EmergencyFinished(report.killed_count, sessions))
            if cleared:
                self._emit(events.SessionDataCleared())
            return EmergencyReport(report, cleared)

    def _clear_disk(self, deadline: Deadline) -> bool:
        try:
            self._repository.forget_all(deadline)
        except StorageUnavailable as error:
            self._emit(events.SessionDataNotCleared(error.message))
            return False
        return True


def _active_drivers(plan: CleanupPlan) -> tuple[int, ...]:
    return tuple(
        judgement.row.pid
        for judgement in plan.judgements
        if judgement.role is Role.DRIVER
        and judgement.session_id is not None
        and judgement.row.status is not ProcessStatus.ZOMBIE
    )


def _spared(plan: CleanupPlan) -> tuple[tuple[Verdict, int], ...]:
    verdicts = [judgement.verdict for judgement in plan.judgements]
    return tuple((verdict, verdicts.count(verdict)) for verdict in Verdict if verdict is not Verdict.ORPHAN)
