"""The cleaner over real children with Chrome's executable names, and over none that are not the test's."""

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
from drover.processes.cleanup.verdicts import ProtectedSession
from drover.processes.table import ProcessIdentity, ProcessTable, snapshot
from drover.processes.termination import Outcome, Termination, end
from drover.storage.session_folders import SessionFolder, SessionFolders
from process_cleanup import CleanupReport, ProcessCleaner, Trigger
from tests.integration.child_processes import IGNORE_TERM, WAIT, Children, children, state
from tests.machine import is_living, run_concurrently, wait_until
from tests.unit.examples import EventRecorder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children are made for Linux")
TIMEOUT_S = 30.0


class CleanerHarness:
    """A cleaner that sees only the processes of its own test, whose sessions are a list."""

    def __init__(self, folder: Path, kids: Children, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kids = kids
        self.recorder = EventRecorder()
        self.folders = SessionFolders(folder / "d")
        self.folders.check()
        self.sessions: list[ProtectedSession] = []
        self.steps: list[str] = []
        monkeypatch.setattr(process_cleanup, "snapshot", self.look)
        monkeypatch.setattr(process_cleanup, "end", self.end)
        self.cleaner = self.make()

    def make(self, *, owned_only: bool = False) -> ProcessCleaner:
        return ProcessCleaner(
            self.folders, self._protected, self.recorder, adopt_grace=60, owned_only=owned_only
        )

    def session(self) -> SessionFolder:
        """Make a session's folder."""
        folder = self.folders.choose()
        self.folders.make(folder)
        return folder

    def driver(self, folder: SessionFolder, script: str = WAIT) -> int:
        """Start what plays the ChromeDriver of a session."""
        log = f"--log-path={folder.driver_log}"
        return self.kids.start(log, name="chromedriver", script=script).pid

    def protect(self, folder: SessionFolder, *pids: int) -> None:
        """Put a session into the list."""
        self.sessions.append(ProtectedSession(folder.path.name, str(folder.path), frozenset(pids)))

    def _protected(self) -> tuple[ProtectedSession, ...]:
        self.steps.append("protected")
        return tuple(self.sessions)

    def look(self) -> ProcessTable:
        """Read what there is of the test's own processes."""
        self.steps.append("snapshot")
        table = snapshot()
        ours = {process.pid for process in self.kids.processes} | {table.self_pid}
        ours |= {row.pid for row in table.ancestors(table.self_pid)}
        return replace(table, rows={pid: row for pid, row in table.rows.items() if pid in ours})

    def end(self, targets: Sequence[ProcessIdentity], *, grace: float = 0.3) -> tuple[Termination, ...]:
        """End some of the test's own processes, and no other."""
        self.steps.append("end")
        assert {target.pid for target in targets} <= {process.pid for process in self.kids.processes}
        return end(targets, grace=grace)


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CleanerHarness]:
    with children(folder) as kids:
        harness = CleanerHarness(folder, kids, monkeypatch)
        yield harness
        harness.cleaner.close()


def killed(report: CleanupReport) -> set[int]:
    return {one.judgement.row.pid for one in report.killed}


def test_what_no_session_owns_is_ended_with_its_folder_and_what_one_owns_is_not(
    harness: CleanerHarness,
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


def test_the_table_is_read_before_the_protected_set(harness: CleanerHarness) -> None:
    harness.cleaner.cleanup(Trigger.PERSON)
    harness.steps = harness.steps[: harness.steps.index("protected") + 1]
    assert harness.steps == ["snapshot", "protected"]


def test_a_session_that_is_born_between_the_two_looks_is_spared(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    newborn = harness.session()
    driver = harness.driver(newborn)

    def born_meanwhile() -> ProcessTable:
        table = harness.look()
        harness.protect(newborn)
        return table

    monkeypatch.setattr(process_cleanup, "snapshot", born_meanwhile)
    report = harness.cleaner.cleanup(Trigger.PERSON)
    assert killed(report) == set()
    assert is_living(driver)
    assert newborn.path.exists()


def test_a_folder_that_is_made_during_the_sweep_is_spared(harness: CleanerHarness) -> None:
    made: list[SessionFolder] = []
    present = harness.folders.present

    def made_meanwhile() -> tuple[SessionFolder, ...]:
        found = present()
        made.append(harness.session())
        return found

    harness.folders.present = made_meanwhile  # type: ignore[method-assign]
    assert harness.cleaner.cleanup(Trigger.PERSON).removed_profiles == 0
    assert made[0].path.exists()


def test_what_a_lost_session_has_left_is_tidied_away_before_the_cleaner_is_closed(
    harness: CleanerHarness,
) -> None:
    lost = harness.session()
    orphan = harness.driver(lost)
    harness.cleaner.tidy()
    harness.cleaner.close()
    assert not is_living(orphan)
    assert not lost.path.exists()


def test_what_one_cleanup_could_not_remove_is_left_to_the_next_that_is_asked_for(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.session()
    monkeypatch.setattr(harness.folders, "remove", lambda _: False)
    harness.cleaner.tidy()
    harness.cleaner.tidy()
    harness.cleaner.close()
    assert len([line for line in harness.recorder.lines if line.startswith("Active ChromeDriver")]) == 1


def test_where_every_folder_is_owned_there_is_nothing_to_tidy(harness: CleanerHarness) -> None:
    kept = harness.session()
    harness.protect(kept)
    harness.cleaner.tidy()
    harness.cleaner.close()
    assert kept.path.exists()
    assert "snapshot" not in harness.steps


def test_a_folder_that_goes_with_its_session_during_the_look_is_not_counted(harness: CleanerHarness) -> None:
    closing = harness.session()
    present = harness.folders.present

    def closed_meanwhile() -> tuple[SessionFolder, ...]:
        found = present()
        harness.folders.remove(closing)
        return found

    harness.folders.present = closed_meanwhile  # type: ignore[method-assign]
    harness.cleaner.tidy()
    assert "snapshot" not in harness.steps


def test_nothing_to_do_is_said_so(harness: CleanerHarness) -> None:
    report = harness.cleaner.cleanup(Trigger.PERSON)
    assert (report.killed_count, report.killed, report.failed) == (0, (), ())
    assert harness.recorder.lines == [
        "🔧 Orphaned process cleanup triggered",
        "Active ChromeDriver PIDs: {}",
        "✅ No orphaned processes found",
    ]


def test_a_dry_run_tells_what_it_would_do_and_does_nothing(harness: CleanerHarness) -> None:
    lost = harness.session()
    orphan = harness.driver(lost)
    report = harness.cleaner.cleanup(Trigger.PERSON, dry_run=True)
    assert killed(report) == {orphan}
    assert (report.killed_count, report.removed_profiles, report.dry_run) == (0, 1, True)
    assert is_living(orphan)
    assert lost.path.exists()
    assert "end" not in harness.steps
    assert not [event for event in harness.recorder.events if isinstance(event, events.KillingProcess)]


def test_an_orphan_that_ignores_the_request_is_killed(harness: CleanerHarness) -> None:
    orphan = harness.driver(harness.session(), IGNORE_TERM)
    (one,) = harness.cleaner.cleanup(Trigger.PERSON).killed
    assert (one.judgement.row.pid, one.outcome) == (orphan, Outcome.KILLED)
    assert not is_living(orphan)


def test_what_survives_is_told_and_not_counted_and_not_tried_for_ever(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = harness.driver(harness.session())
    tries: list[int] = []

    def powerless(targets: Sequence[ProcessIdentity]) -> tuple[Termination, ...]:
        tries.append(len(targets))
        return tuple(
            Termination(target, Outcome.SURVIVED, "it is still there after SIGKILL") for target in targets
        )

    monkeypatch.setattr(process_cleanup, "end", powerless)
    report = harness.cleaner.cleanup(Trigger.PERSON)
    assert report.killed_count == 0
    assert [(one.judgement.row.pid, one.why) for one in report.failed] == [
        (orphan, "it is still there after SIGKILL")
    ]
    assert tries == [1]
    assert (
        f"Process PID {orphan} could not be ended: it is still there after SIGKILL" in harness.recorder.lines
    )
    assert "✅ No orphaned processes found" not in harness.recorder.lines
    assert harness.recorder.lines[-1] == "None of 1 orphaned Chrome/ChromeDriver processes could be ended"


def test_a_process_that_comes_while_others_are_ended_is_ended_too(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
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


def test_a_strangers_driver_is_taken_when_a_person_asks_and_spared_otherwise(harness: CleanerHarness) -> None:
    stranger = harness.kids.start("--port=0", name="chromedriver").pid
    assert killed(harness.make(owned_only=True).cleanup(Trigger.PERSON)) == set()
    assert killed(harness.cleaner.cleanup(Trigger.ITSELF)) == set()
    assert is_living(stranger)
    assert killed(harness.cleaner.cleanup(Trigger.PERSON)) == {stranger}


def test_our_own_defunct_child_is_reaped_and_not_counted_as_killed(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = harness.kids.start("--port=0", name="chromedriver")
    process.kill()
    wait_until(lambda: state(process.pid) == "Z", "a defunct child")
    asked: list[int] = []

    def reap(pids: Iterable[int]) -> tuple[int, ...]:
        asked.extend(pids)
        return tuple(asked)

    monkeypatch.setattr(process_cleanup, "reap", reap)
    report = harness.cleaner.cleanup(Trigger.PERSON)
    assert set(asked) == {process.pid}
    assert set(report.reaped) == {process.pid}
    assert report.killed == ()


def test_the_survey_kills_nothing(harness: CleanerHarness) -> None:
    orphan = harness.driver(harness.session())
    assert orphan in {one.row.pid for one in harness.cleaner.survey().orphans}
    assert is_living(orphan)


def test_an_emergency_ends_what_is_protected_too_and_sweeps_when_no_session_is_left(
    harness: CleanerHarness,
) -> None:
    folder = harness.session()
    driver = harness.driver(folder)
    report = harness.cleaner.end_everything()
    assert killed(report) == {driver}
    assert report.removed_profiles == 1
    assert f"Killing ChromeDriver process: PID {driver}" in harness.recorder.lines
    assert not [line for line in harness.recorder.lines if "orphaned" in line]


def test_two_reports_add_up_and_what_was_ended_later_did_not_fail(harness: CleanerHarness) -> None:
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
    """A process table that is not read before it is told so."""

    def __init__(self, harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.scans = 0
        self._look = harness.look
        monkeypatch.setattr(process_cleanup, "snapshot", self)

    def __call__(self) -> ProcessTable:
        self.scans += 1
        self.begun.release()
        assert self.go_on.wait(TIMEOUT_S)
        return self._look()


def test_sessions_that_are_found_dead_at_once_share_one_cleanup(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", TIMEOUT_S)
    orphan = harness.driver(harness.session())
    scan = SlowScan(harness, monkeypatch)
    with ThreadPoolExecutor(5) as callers:
        asked = [callers.submit(harness.cleaner.upon_connection_error) for _ in range(5)]
        assert scan.begun.acquire(timeout=TIMEOUT_S)
        scan.go_on.set()
        found = [one.result(TIMEOUT_S) for one in asked]
    assert max(found) == 1
    assert harness.recorder.lines.count(f"Killing orphaned ChromeDriver process: PID {orphan}") == 1
    assert not is_living(orphan)


def test_a_slow_cleanup_delays_nobody_and_goes_on_behind(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", 0.05)
    orphan = harness.driver(harness.session())
    scan = SlowScan(harness, monkeypatch)
    begun = time.monotonic()
    assert run_concurrently([harness.cleaner.upon_connection_error] * 3) == [0, 0, 0]
    assert time.monotonic() - begun < TIMEOUT_S / 2
    assert scan.scans == 1
    assert any(
        line.startswith("Orphaned process cleanup failed: it takes longer") for line in harness.recorder.lines
    )
    scan.go_on.set()
    wait_until(lambda: not is_living(orphan), "the cleanup goes on")


def test_a_cleanup_that_breaks_off_is_told_and_the_next_one_works(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = harness.driver(harness.session())

    def broken() -> ProcessTable:
        raise OSError("no process table")

    with monkeypatch.context() as patch:
        patch.setattr(process_cleanup, "snapshot", broken)
        assert harness.cleaner.upon_connection_error() == 0
    assert "Orphaned process cleanup failed: no process table" in harness.recorder.lines
    assert harness.cleaner.upon_connection_error() == 1
    assert not is_living(orphan)


def test_a_cleanup_waits_for_the_one_that_runs(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", 0.05)
    scan = SlowScan(harness, monkeypatch)
    with ThreadPoolExecutor(1) as callers:
        running = callers.submit(harness.cleaner.cleanup, Trigger.PERSON)
        assert scan.begun.acquire(timeout=TIMEOUT_S)
        assert harness.cleaner.upon_connection_error() == 0
        assert scan.scans == 1
        scan.go_on.set()
        running.result(TIMEOUT_S)


def test_a_cleanup_by_interval_that_breaks_off_is_told(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> ProcessTable:
        raise OSError("no process table")

    monkeypatch.setattr(process_cleanup, "snapshot", broken)
    harness.cleaner.by_interval()
    told = "Orphaned process cleanup failed: no process table"
    wait_until(lambda: told in harness.recorder.lines, "the failure is told")
