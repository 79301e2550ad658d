"""The cleaner over real child processes with Chrome's executable names, and over no others."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import process_cleanup
from drover.core import events
from drover.core.deadline import Deadline
from drover.core.errors import Overloaded
from drover.processes.cleanup.cleanup_plan import ProtectedSession
from drover.processes.table import ProcessIdentity, ProcessTable, snapshot
from drover.processes.termination import Outcome, Termination, end
from drover.storage.session_folders import SessionFolder
from process_cleanup import CleanupReport, Trigger
from tests.integration.child_processes import IGNORE_TERM, Children, children, state
from tests.integration.cleaner_harness import TIMEOUT_S, CleanerHarness
from tests.machine import is_living, run_concurrently, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children are made for Linux")


class ConfinedHarness(CleanerHarness):
    """A cleaner that sees and ends only the processes of its own test, and records its steps."""

    def __init__(self, folder: Path, kids: Children, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        monkeypatch.setattr(process_cleanup, "snapshot", self.snapshot)
        monkeypatch.setattr(process_cleanup, "end", self.end)
        super().__init__(folder, kids, adopt_grace=60, owned_only=False)

    def protected(self) -> tuple[ProtectedSession, ...]:
        """Return the protected sessions."""
        self.steps.append("protected")
        return super().protected()

    def snapshot(self) -> ProcessTable:
        """Read the process table without processes of others."""
        self.steps.append("snapshot")
        table = snapshot()
        ours = {process.pid for process in self.kids.processes} | {table.self_pid}
        ours |= {row.pid for row in table.ancestors(table.self_pid)}
        return replace(table, rows={pid: row for pid, row in table.rows.items() if pid in ours})

    def end(self, targets: Sequence[ProcessIdentity], *, grace: float = 0.3) -> tuple[Termination, ...]:
        """End processes of the test; fail if there is any other among them."""
        self.steps.append("end")
        assert {target.pid for target in targets} <= {process.pid for process in self.kids.processes}
        return end(targets, grace=grace)


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConfinedHarness]:
    with children(folder) as kids:
        harness = ConfinedHarness(folder, kids, monkeypatch)
        yield harness
        assert harness.jobs.close(TIMEOUT_S) == ()


def killed(report: CleanupReport) -> set[int]:
    return {one.judgement.row.pid for one in report.killed}


def test_an_orphan_is_ended_with_its_folder_and_a_session_is_not(
    harness: ConfinedHarness,
) -> None:
    lost, kept = harness.session(), harness.session()
    orphan, driver = harness.driver(lost), harness.driver(kept)
    harness.protect(kept, driver)
    report = harness.cleaner.cleanup(Trigger.PERSON)
    assert killed(report) == {orphan}
    assert (report.failed, report.removed_profiles, report.dry_run) == ((), 1, False)
    assert is_living(driver)
    assert not lost.path.exists()
    assert kept.profile.exists()
    assert harness.recorder.lines == [
        "🔧 Orphaned process cleanup triggered",
        f"Active ChromeDriver PIDs: {{{driver}}}",
        f"Killing orphaned ChromeDriver process: PID {orphan}",
        "✅ Killed 1 orphaned Chrome/ChromeDriver processes",
    ]


def test_the_table_is_read_before_the_protected_set(harness: ConfinedHarness) -> None:
    harness.cleaner.cleanup(Trigger.PERSON)
    harness.steps = harness.steps[: harness.steps.index("protected") + 1]
    assert harness.steps == ["snapshot", "protected"]


def test_a_session_that_starts_between_table_and_protected_set_is_spared(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = harness.session()
    driver = harness.driver(starting)

    def session_starts_after_snapshot() -> ProcessTable:
        table = harness.snapshot()
        harness.protect(starting)
        return table

    monkeypatch.setattr(process_cleanup, "snapshot", session_starts_after_snapshot)
    report = harness.cleaner.cleanup(Trigger.PERSON)
    assert killed(report) == set()
    assert is_living(driver)
    assert starting.path.exists()


def test_a_folder_created_during_the_sweep_is_spared(harness: ConfinedHarness) -> None:
    made: list[SessionFolder] = []
    present = harness.folders.present

    def make_folder_after_listing() -> tuple[SessionFolder, ...]:
        found = present()
        made.append(harness.session())
        return found

    harness.folders.present = make_folder_after_listing  # type: ignore[method-assign]
    assert harness.cleaner.cleanup(Trigger.PERSON).removed_profiles == 0
    assert made[0].path.exists()


def test_leftovers_of_a_lost_session_are_removed_in_the_background(
    harness: ConfinedHarness,
) -> None:
    lost = harness.session()
    orphan = harness.driver(lost)
    harness.cleaner.tidy()
    harness.end_automatic_cleanup()
    assert not is_living(orphan)
    assert not lost.path.exists()


def test_a_folder_that_cannot_be_removed_triggers_no_further_automatic_cleanup(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.session()
    monkeypatch.setattr(harness.folders, "remove", lambda _: False)
    harness.cleaner.tidy()
    harness.end_automatic_cleanup()
    harness.cleaner.tidy()
    harness.end_automatic_cleanup()
    assert len([line for line in harness.recorder.lines if line.startswith("Active ChromeDriver")]) == 1


def test_tidy_does_nothing_if_every_folder_is_owned(harness: ConfinedHarness) -> None:
    kept = harness.session()
    harness.protect(kept)
    harness.cleaner.tidy()
    harness.end_automatic_cleanup()
    assert kept.path.exists()
    assert "snapshot" not in harness.steps


def test_a_folder_removed_with_its_session_during_the_listing_is_not_counted(
    harness: ConfinedHarness,
) -> None:
    closing = harness.session()
    present = harness.folders.present

    def close_session_after_listing() -> tuple[SessionFolder, ...]:
        found = present()
        harness.folders.remove(closing)
        return found

    harness.folders.present = close_session_after_listing  # type: ignore[method-assign]
    harness.cleaner.tidy()
    assert "snapshot" not in harness.steps


def test_a_cleanup_without_orphans_logs_so(harness: ConfinedHarness) -> None:
    report = harness.cleaner.cleanup(Trigger.PERSON)
    assert (report.killed_count, report.killed, report.failed) == (0, (), ())
    assert harness.recorder.lines == [
        "🔧 Orphaned process cleanup triggered",
        "Active ChromeDriver PIDs: {}",
        "✅ No orphaned processes found",
    ]


def test_a_dry_run_reports_orphans_and_changes_nothing(harness: ConfinedHarness) -> None:
    lost = harness.session()
    orphan = harness.driver(lost)
    report = harness.cleaner.cleanup(Trigger.PERSON, dry_run=True)
    assert killed(report) == {orphan}
    assert (report.killed_count, report.removed_profiles, report.dry_run) == (0, 1, True)
    assert is_living(orphan)
    assert lost.path.exists()
    assert "end" not in harness.steps
    assert not [event for event in harness.recorder.events if isinstance(event, events.KillingProcess)]


def test_an_orphan_that_ignores_the_request_is_killed(harness: ConfinedHarness) -> None:
    orphan = harness.driver(harness.session(), IGNORE_TERM)
    (one,) = harness.cleaner.cleanup(Trigger.PERSON).killed
    assert (one.judgement.row.pid, one.outcome) == (orphan, Outcome.KILLED)
    assert not is_living(orphan)


def test_a_process_that_survives_is_reported_not_counted_and_not_retried(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = harness.driver(harness.session())
    tries: list[int] = []

    def fail_to_end(targets: Sequence[ProcessIdentity]) -> tuple[Termination, ...]:
        tries.append(len(targets))
        return tuple(
            Termination(target, Outcome.SURVIVED, "still running after SIGKILL") for target in targets
        )

    monkeypatch.setattr(process_cleanup, "end", fail_to_end)
    report = harness.cleaner.cleanup(Trigger.PERSON)
    assert report.killed_count == 0
    assert [(one.judgement.row.pid, one.why) for one in report.failed] == [
        (orphan, "still running after SIGKILL")
    ]
    assert tries == [1]
    assert f"Process PID {orphan} could not be ended: still running after SIGKILL" in harness.recorder.lines
    assert "✅ No orphaned processes found" not in harness.recorder.lines
    assert harness.recorder.lines[-1] == "None of 1 orphaned Chrome/ChromeDriver processes could be ended"


def test_a_process_that_starts_while_others_are_ended_is_ended_too(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = harness.session()
    first = harness.driver(lost)
    late: list[int] = []

    def end_and_fork(targets: Sequence[ProcessIdentity], *, grace: float = 0.3) -> tuple[Termination, ...]:
        endings = harness.end(targets, grace=grace)
        if not late:
            late.append(harness.driver(lost))
        return endings

    monkeypatch.setattr(process_cleanup, "end", end_and_fork)
    assert killed(harness.cleaner.cleanup(Trigger.PERSON)) == {first, late[0]}


def test_a_foreign_driver_is_ended_only_in_a_manual_cleanup(harness: ConfinedHarness) -> None:
    foreign = harness.kids.start("--port=0", name="chromedriver").pid
    assert killed(harness.new_cleaner(owned_only=True).cleanup(Trigger.PERSON)) == set()
    assert killed(harness.cleaner.cleanup(Trigger.ITSELF)) == set()
    assert is_living(foreign)
    assert killed(harness.cleaner.cleanup(Trigger.PERSON)) == {foreign}


def test_our_own_defunct_child_is_reaped_and_not_counted_as_killed(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = harness.kids.start("--port=0", name="chromedriver")
    process.kill()
    wait_until(lambda: state(process.pid) == "Z", "a defunct child")
    reaped_pids: list[int] = []

    def reap(pids: Iterable[int]) -> tuple[int, ...]:
        reaped_pids.extend(pids)
        return tuple(reaped_pids)

    monkeypatch.setattr(process_cleanup, "reap", reap)
    report = harness.cleaner.cleanup(Trigger.PERSON)
    assert set(reaped_pids) == {process.pid}
    assert set(report.reaped) == {process.pid}
    assert report.killed == ()


def test_the_survey_kills_nothing(harness: ConfinedHarness) -> None:
    orphan = harness.driver(harness.session())
    assert orphan in {one.row.pid for one in harness.cleaner.survey().orphans}
    assert is_living(orphan)


def test_an_emergency_ends_protected_processes_too_and_removes_folders(
    harness: ConfinedHarness,
) -> None:
    folder = harness.session()
    driver = harness.driver(folder)
    report = harness.cleaner.end_everything(Deadline(TIMEOUT_S))
    assert killed(report) == {driver}
    assert report.removed_profiles == 1
    assert f"Killing ChromeDriver process: PID {driver}" in harness.recorder.lines
    assert not [line for line in harness.recorder.lines if "orphaned" in line]


def test_reports_add_up_and_a_process_ended_later_is_no_failure(harness: ConfinedHarness) -> None:
    first, second = harness.driver(harness.session()), harness.driver(harness.session())
    plan = {one.row.pid: one for one in harness.cleaner.survey().orphans}
    early = CleanupReport(
        killed=(process_cleanup.Killed(plan[first], Outcome.ENDED),),
        failed=(process_cleanup.Failed(plan[second], "denied"),),
        removed_profiles=1,
        freed_mb=1.5,
        duration_ms=10,
    )
    late = CleanupReport(killed=(process_cleanup.Killed(plan[second], Outcome.KILLED),), duration_ms=5)
    both = early.followed_by(late)
    assert killed(both) == {first, second}
    assert (both.failed, both.removed_profiles, both.freed_mb, both.duration_ms) == ((), 1, 1.5, 15)
    assert late.followed_by(early).failed == early.failed


class SlowScan:
    """A process table whose reading waits for a signal."""

    def __init__(self, harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = threading.Semaphore(0)
        self.proceed = threading.Event()
        self.scans = 0
        self._snapshot = harness.snapshot
        monkeypatch.setattr(process_cleanup, "snapshot", self)

    def __call__(self) -> ProcessTable:
        self.scans += 1
        self.started.release()
        assert self.proceed.wait(TIMEOUT_S)
        return self._snapshot()


def test_sessions_found_dead_at_the_same_time_share_one_cleanup(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", TIMEOUT_S)
    orphan = harness.driver(harness.session())
    scan = SlowScan(harness, monkeypatch)
    with ThreadPoolExecutor(5) as callers:
        calls = [callers.submit(harness.cleaner.upon_connection_error) for _ in range(5)]
        assert scan.started.acquire(timeout=TIMEOUT_S)
        scan.proceed.set()
        found = [one.result(TIMEOUT_S) for one in calls]
    assert max(found) == 1
    assert harness.recorder.lines.count(f"Killing orphaned ChromeDriver process: PID {orphan}") == 1
    assert not is_living(orphan)


def test_a_slow_cleanup_delays_no_caller_and_continues_in_the_background(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", 0.05)
    orphan = harness.driver(harness.session())
    scan = SlowScan(harness, monkeypatch)
    started = time.monotonic()
    assert run_concurrently([harness.cleaner.upon_connection_error] * 3) == [0, 0, 0]
    assert time.monotonic() - started < TIMEOUT_S / 2
    assert scan.scans == 1
    assert any(
        line.startswith("Orphaned process cleanup failed: it takes longer") for line in harness.recorder.lines
    )
    scan.proceed.set()
    wait_until(lambda: not is_living(orphan), "the cleanup continues")


def test_a_failed_cleanup_is_logged_and_the_next_one_works(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", TIMEOUT_S)
    orphan = harness.driver(harness.session())

    def broken() -> ProcessTable:
        raise OSError("no process table")

    with monkeypatch.context() as patch:
        patch.setattr(process_cleanup, "snapshot", broken)
        assert harness.cleaner.upon_connection_error() == 0
    assert "Orphaned process cleanup failed: no process table" in harness.recorder.lines
    assert harness.cleaner.upon_connection_error() == 1
    assert not is_living(orphan)


def test_a_cleanup_waits_for_a_running_one(harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", 0.05)
    scan = SlowScan(harness, monkeypatch)
    with ThreadPoolExecutor(1) as callers:
        running = callers.submit(harness.cleaner.cleanup, Trigger.PERSON)
        assert scan.started.acquire(timeout=TIMEOUT_S)
        assert harness.cleaner.upon_connection_error() == 0
        assert scan.scans == 1
        scan.proceed.set()
        running.result(TIMEOUT_S)


def test_a_cleanup_waits_for_a_running_one_until_its_deadline_at_most(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = SlowScan(harness, monkeypatch)
    with ThreadPoolExecutor(1) as callers:
        running = callers.submit(harness.cleaner.cleanup, Trigger.PERSON)
        assert scan.started.acquire(timeout=TIMEOUT_S)
        with pytest.raises(Overloaded, match="retry when it has ended"):
            harness.cleaner.cleanup(Trigger.PERSON, deadline=Deadline(0))
        with pytest.raises(Overloaded):
            harness.cleaner.end_everything(Deadline(0))
        monkeypatch.setattr(process_cleanup, "WAIT_S", 0.0)
        with pytest.raises(Overloaded):
            harness.cleaner.cleanup(Trigger.PERSON, deadline=Deadline(TIMEOUT_S))
        scan.proceed.set()
        running.result(TIMEOUT_S)
    assert harness.cleaner.cleanup(Trigger.PERSON, deadline=Deadline(0)).failed == ()


def test_a_failed_periodic_cleanup_is_logged(
    harness: ConfinedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> ProcessTable:
        raise OSError("no process table")

    monkeypatch.setattr(process_cleanup, "snapshot", broken)
    harness.cleaner.by_interval()
    line = "Orphaned process cleanup failed: no process table"
    wait_until(lambda: line in harness.recorder.lines, "the failure is logged")
