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
from tests.machine import is_living, together, wait_until
from tests.unit.examples import Ear

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children are made for Linux")
PATIENCE_S = 30.0


class Shop:
    """A cleaner that sees only the processes of its own test, whose sessions are a list."""

    def __init__(self, folder: Path, kids: Children, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kids = kids
        self.ear = Ear()
        self.folders = SessionFolders(folder / "d")
        self.folders.check()
        self.sessions: list[ProtectedSession] = []
        self.steps: list[str] = []
        monkeypatch.setattr(process_cleanup, "snapshot", self.look)
        monkeypatch.setattr(process_cleanup, "end", self.end)
        self.cleaner = self.make()

    def make(self, *, owned_only: bool = False) -> ProcessCleaner:
        return ProcessCleaner(self.folders, self._protected, self.ear, adopt_grace=60, owned_only=owned_only)

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
def shop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with children(folder) as kids:
        shop = Shop(folder, kids, monkeypatch)
        yield shop
        shop.cleaner.close()


def killed(report: CleanupReport) -> set[int]:
    return {one.judgement.row.pid for one in report.killed}


def test_what_no_session_owns_is_ended_with_its_folder_and_what_one_owns_is_not(shop: Shop) -> None:
    lost, kept = shop.session(), shop.session()
    orphan, driver = shop.driver(lost), shop.driver(kept)
    shop.protect(kept, driver)
    report = shop.cleaner.cleanup(Trigger.PERSON)
    assert killed(report) == {orphan}
    assert (report.failed, report.removed_profiles, report.dry_run) == ((), 1, False)
    assert is_living(driver)
    assert not lost.path.exists()
    assert kept.profile.exists()
    assert shop.ear.lines == [
        "🔧 Orphaned process cleanup triggered",
        f"Active ChromeDriver PIDs: {{{driver}}}",
        f"Killing orphaned ChromeDriver process: PID {orphan}",
        "✅ Killed 1 orphaned Chrome/ChromeDriver processes",
    ]


def test_the_table_is_read_before_the_protected_set(shop: Shop) -> None:
    shop.cleaner.cleanup(Trigger.PERSON)
    shop.steps = shop.steps[: shop.steps.index("protected") + 1]
    assert shop.steps == ["snapshot", "protected"]


def test_a_session_that_is_born_between_the_two_looks_is_spared(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    newborn = shop.session()
    driver = shop.driver(newborn)

    def born_meanwhile() -> ProcessTable:
        table = shop.look()
        shop.protect(newborn)
        return table

    monkeypatch.setattr(process_cleanup, "snapshot", born_meanwhile)
    report = shop.cleaner.cleanup(Trigger.PERSON)
    assert killed(report) == set()
    assert is_living(driver)
    assert newborn.path.exists()


def test_a_folder_that_is_made_during_the_sweep_is_spared(shop: Shop) -> None:
    made: list[SessionFolder] = []
    present = shop.folders.present

    def made_meanwhile() -> tuple[SessionFolder, ...]:
        found = present()
        made.append(shop.session())
        return found

    shop.folders.present = made_meanwhile  # type: ignore[method-assign]
    assert shop.cleaner.cleanup(Trigger.PERSON).removed_profiles == 0
    assert made[0].path.exists()


def test_what_a_lost_session_has_left_is_tidied_away_before_the_cleaner_is_closed(shop: Shop) -> None:
    lost = shop.session()
    orphan = shop.driver(lost)
    shop.cleaner.tidy()
    shop.cleaner.close()
    assert not is_living(orphan)
    assert not lost.path.exists()


def test_what_one_cleanup_could_not_remove_is_left_to_the_next_that_is_asked_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.session()
    monkeypatch.setattr(shop.folders, "remove", lambda _: False)
    shop.cleaner.tidy()
    shop.cleaner.tidy()
    shop.cleaner.close()
    assert len([line for line in shop.ear.lines if line.startswith("Active ChromeDriver")]) == 1


def test_where_every_folder_is_owned_there_is_nothing_to_tidy(shop: Shop) -> None:
    kept = shop.session()
    shop.protect(kept)
    shop.cleaner.tidy()
    shop.cleaner.close()
    assert kept.path.exists()
    assert "snapshot" not in shop.steps


def test_a_folder_that_goes_with_its_session_during_the_look_is_not_counted(shop: Shop) -> None:
    closing = shop.session()
    present = shop.folders.present

    def closed_meanwhile() -> tuple[SessionFolder, ...]:
        found = present()
        shop.folders.remove(closing)
        return found

    shop.folders.present = closed_meanwhile  # type: ignore[method-assign]
    shop.cleaner.tidy()
    assert "snapshot" not in shop.steps


def test_nothing_to_do_is_said_so(shop: Shop) -> None:
    report = shop.cleaner.cleanup(Trigger.PERSON)
    assert (report.killed_count, report.killed, report.failed) == (0, (), ())
    assert shop.ear.lines == [
        "🔧 Orphaned process cleanup triggered",
        "Active ChromeDriver PIDs: {}",
        "✅ No orphaned processes found",
    ]


def test_a_dry_run_tells_what_it_would_do_and_does_nothing(shop: Shop) -> None:
    lost = shop.session()
    orphan = shop.driver(lost)
    report = shop.cleaner.cleanup(Trigger.PERSON, dry_run=True)
    assert killed(report) == {orphan}
    assert (report.killed_count, report.removed_profiles, report.dry_run) == (0, 1, True)
    assert is_living(orphan)
    assert lost.path.exists()
    assert "end" not in shop.steps
    assert not [event for event in shop.ear.events if isinstance(event, events.KillingProcess)]


def test_an_orphan_that_ignores_the_request_is_killed(shop: Shop) -> None:
    orphan = shop.driver(shop.session(), IGNORE_TERM)
    (one,) = shop.cleaner.cleanup(Trigger.PERSON).killed
    assert (one.judgement.row.pid, one.outcome) == (orphan, Outcome.KILLED)
    assert not is_living(orphan)


def test_what_survives_is_told_and_not_counted_and_not_tried_for_ever(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = shop.driver(shop.session())
    tries: list[int] = []

    def powerless(targets: Sequence[ProcessIdentity]) -> tuple[Termination, ...]:
        tries.append(len(targets))
        return tuple(
            Termination(target, Outcome.SURVIVED, "it is still there after SIGKILL") for target in targets
        )

    monkeypatch.setattr(process_cleanup, "end", powerless)
    report = shop.cleaner.cleanup(Trigger.PERSON)
    assert report.killed_count == 0
    assert [(one.judgement.row.pid, one.why) for one in report.failed] == [
        (orphan, "it is still there after SIGKILL")
    ]
    assert tries == [1]
    assert f"Process PID {orphan} could not be ended: it is still there after SIGKILL" in shop.ear.lines
    assert "✅ No orphaned processes found" not in shop.ear.lines
    assert shop.ear.lines[-1] == "None of 1 orphaned Chrome/ChromeDriver processes could be ended"


def test_a_process_that_comes_while_others_are_ended_is_ended_too(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = shop.session()
    first = shop.driver(lost)
    late: list[int] = []

    def end_and_fork(targets: Sequence[ProcessIdentity], *, grace: float = 0.3) -> tuple[Termination, ...]:
        endings = shop.end(targets, grace=grace)
        if not late:
            late.append(shop.driver(lost))
        return endings

    monkeypatch.setattr(process_cleanup, "end", end_and_fork)
    assert killed(shop.cleaner.cleanup(Trigger.PERSON)) == {first, late[0]}


def test_a_strangers_driver_is_taken_when_a_person_asks_and_spared_otherwise(shop: Shop) -> None:
    stranger = shop.kids.start("--port=0", name="chromedriver").pid
    assert killed(shop.make(owned_only=True).cleanup(Trigger.PERSON)) == set()
    assert killed(shop.cleaner.cleanup(Trigger.ITSELF)) == set()
    assert is_living(stranger)
    assert killed(shop.cleaner.cleanup(Trigger.PERSON)) == {stranger}


def test_our_own_defunct_child_is_reaped_and_not_counted_as_killed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = shop.kids.start("--port=0", name="chromedriver")
    process.kill()
    wait_until(lambda: state(process.pid) == "Z", "a defunct child")
    asked: list[int] = []

    def reap(pids: Iterable[int]) -> tuple[int, ...]:
        asked.extend(pids)
        return tuple(asked)

    monkeypatch.setattr(process_cleanup, "reap", reap)
    report = shop.cleaner.cleanup(Trigger.PERSON)
    assert set(asked) == {process.pid}
    assert set(report.reaped) == {process.pid}
    assert report.killed == ()


def test_the_survey_kills_nothing(shop: Shop) -> None:
    orphan = shop.driver(shop.session())
    assert orphan in {one.row.pid for one in shop.cleaner.survey().orphans}
    assert is_living(orphan)


def test_an_emergency_ends_what_is_protected_too_and_sweeps_when_no_session_is_left(shop: Shop) -> None:
    folder = shop.session()
    driver = shop.driver(folder)
    report = shop.cleaner.end_everything()
    assert killed(report) == {driver}
    assert report.removed_profiles == 1
    assert f"Killing ChromeDriver process: PID {driver}" in shop.ear.lines
    assert not [line for line in shop.ear.lines if "orphaned" in line]


def test_two_reports_add_up_and_what_was_ended_later_did_not_fail(shop: Shop) -> None:
    first, second = shop.driver(shop.session()), shop.driver(shop.session())
    plan = {one.row.pid: one for one in shop.cleaner.survey().orphans}
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

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.scans = 0
        self._look = shop.look
        monkeypatch.setattr(process_cleanup, "snapshot", self)

    def __call__(self) -> ProcessTable:
        self.scans += 1
        self.begun.release()
        assert self.go_on.wait(PATIENCE_S)
        return self._look()


def test_sessions_that_are_found_dead_at_once_share_one_cleanup(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", PATIENCE_S)
    orphan = shop.driver(shop.session())
    scan = SlowScan(shop, monkeypatch)
    with ThreadPoolExecutor(5) as callers:
        asked = [callers.submit(shop.cleaner.upon_connection_error) for _ in range(5)]
        assert scan.begun.acquire(timeout=PATIENCE_S)
        scan.go_on.set()
        found = [one.result(PATIENCE_S) for one in asked]
    assert max(found) == 1
    assert shop.ear.lines.count(f"Killing orphaned ChromeDriver process: PID {orphan}") == 1
    assert not is_living(orphan)


def test_a_slow_cleanup_delays_nobody_and_goes_on_behind(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", 0.05)
    orphan = shop.driver(shop.session())
    scan = SlowScan(shop, monkeypatch)
    begun = time.monotonic()
    assert together([shop.cleaner.upon_connection_error] * 3) == [0, 0, 0]
    assert time.monotonic() - begun < PATIENCE_S / 2
    assert scan.scans == 1
    assert any(line.startswith("Orphaned process cleanup failed: it takes longer") for line in shop.ear.lines)
    scan.go_on.set()
    wait_until(lambda: not is_living(orphan), "the cleanup goes on")


def test_a_cleanup_that_breaks_off_is_told_and_the_next_one_works(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = shop.driver(shop.session())

    def broken() -> ProcessTable:
        raise OSError("no process table")

    with monkeypatch.context() as patch:
        patch.setattr(process_cleanup, "snapshot", broken)
        assert shop.cleaner.upon_connection_error() == 0
    assert "Orphaned process cleanup failed: no process table" in shop.ear.lines
    assert shop.cleaner.upon_connection_error() == 1
    assert not is_living(orphan)


def test_a_cleanup_waits_for_the_one_that_runs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_cleanup, "PATIENCE_S", 0.05)
    scan = SlowScan(shop, monkeypatch)
    with ThreadPoolExecutor(1) as callers:
        running = callers.submit(shop.cleaner.cleanup, Trigger.PERSON)
        assert scan.begun.acquire(timeout=PATIENCE_S)
        assert shop.cleaner.upon_connection_error() == 0
        assert scan.scans == 1
        scan.go_on.set()
        running.result(PATIENCE_S)


def test_a_cleanup_by_interval_that_breaks_off_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> ProcessTable:
        raise OSError("no process table")

    monkeypatch.setattr(process_cleanup, "snapshot", broken)
    shop.cleaner.by_interval()
    told = "Orphaned process cleanup failed: no process table"
    wait_until(lambda: told in shop.ear.lines, "the failure is told")
