"""The cleaner while processes start, end, resist and fork during its work.

The processes are copies of a small program under ChromeDriver's name, and carry the mark of the test's own
data folder. The cleaner is configured to touch nothing without that mark, and to treat no other instance as
dead.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

import process_cleanup
from drover.processes.table import ProcessTable, snapshot
from drover.processes.termination import Outcome
from drover.storage.session_folders import SessionFolder
from process_cleanup import CleanupReport, ProcessCleaner, Trigger
from tests.integration.child_processes import IGNORE_TERM, Children, children
from tests.integration.cleaner_harness import CleanerHarness
from tests.machine import is_living, living, marked, run_concurrently, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children are made for Linux")

STORM: Final = 200
SESSIONS: Final = 10
MOST_FORKS: Final = 25
# Forks when it is asked to end, into a process that does the same.
FORK_ON_TERM: Final = """
fork_on_term() {
    trap "[ $1 -ge $most ] || fork_on_term $(($1 + 1)) & exit" TERM
    echo ready
    while :; do read -r -t 0.05 _ <&3; done
}
exec 3<>"$pipe"
fork_on_term 1
"""


class TwoCleanersHarness(CleanerHarness):
    """A cleaner that touches nothing without the mark of its data folder and treats no owner as dead."""

    def __init__(self, folder: Path, kids: Children) -> None:
        super().__init__(folder, kids, adopt_grace=math.inf, owned_only=True)

    def another(self) -> ProcessCleaner:
        """Return a second cleaner over the same data folder, as a second process would have it."""
        return self.new_cleaner(owned_only=True)

    def clean(self) -> CleanupReport:
        """Clean up as if a person had requested it."""
        return self.cleaner.cleanup(Trigger.PERSON)


@pytest.fixture
def harness(folder: Path) -> Iterator[TwoCleanersHarness]:
    """Yield a harness, and end every process of it."""
    with children(folder) as kids:
        yield TwoCleanersHarness(folder, kids)
        for process in marked(folder):
            process.kill()
        wait_until(lambda: not marked(folder), "nothing is left")


class Storm:
    """Processes of a dead session that start and end all the time; some of them stay."""

    def __init__(self, program: Path, folder: SessionFolder) -> None:
        self._command = [str(program), "-c", "read -r -t $1 _ <>$2", "x"]
        self._pipe = folder.path / "pipe"
        os.mkfifo(self._pipe)
        self._mark = f"--log-path={folder.driver_log}"
        self._over = threading.Event()
        self.started = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        alive: list[subprocess.Popen[bytes]] = []
        while not self._over.is_set() or alive:
            if not self._over.is_set() and len(alive) < STORM:
                life_s = f"0.{self.started % 40:02}1"
                alive.append(subprocess.Popen([*self._command, life_s, str(self._pipe), self._mark]))
                self.started += 1
            alive = [process for process in alive if process.poll() is None]


def pids(report: CleanupReport) -> set[int]:
    """Return the pids of the processes that were ended."""
    return {one.judgement.row.pid for one in report.killed}


def test_processes_that_start_and_end_during_the_scan_affect_neither_sessions_nor_orphans(
    harness: TwoCleanersHarness,
) -> None:
    kept = harness.session(listed=True)
    session = harness.driver(kept)
    unstable = harness.session(listed=True)
    storm = Storm(harness.kids.program("chromedriver"), unstable)
    with storm:
        while storm.started < 4 * STORM:
            orphan = harness.driver(harness.session())
            report = harness.clean()
            assert pids(report) == {orphan}
            assert report.failed == ()
    assert is_living(session)
    assert kept.path.exists()


def test_many_short_lived_orphans_are_cleaned_up_without_a_failure(harness: TwoCleanersHarness) -> None:
    lost = harness.session()
    storm = Storm(harness.kids.program("chromedriver"), lost)
    with storm:
        wait_until(lambda: storm.started > STORM, "enough processes have started", 30)
        reports = [harness.clean() for _ in range(3)]
    assert [report.failed for report in reports] == [(), (), ()]
    assert any(report.killed for report in reports)
    harness.clean()
    assert marked(lost.path) == []


def test_orphans_that_ignore_sigterm_are_killed_together_with_those_that_obey(
    harness: TwoCleanersHarness,
) -> None:
    lost = harness.session()
    resisting = {harness.driver(lost, IGNORE_TERM) for _ in range(3)}
    obeying = harness.driver(lost)
    report = harness.clean()
    outcomes = {one.judgement.row.pid: one.outcome for one in report.killed}
    assert {outcomes[pid] for pid in resisting} == {Outcome.KILLED}
    assert obeying in outcomes
    assert living(resisting | {obeying}) == set()
    assert report.duration_ms < 5000


def test_an_orphan_that_forks_on_sigterm_does_not_survive_two_cleanups(
    harness: TwoCleanersHarness, folder: Path
) -> None:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    lost = harness.session()
    first = harness.driver(lost, f"pipe={pipe}; most={MOST_FORKS}; {FORK_ON_TERM}")
    killed = pids(harness.clean()) | pids(harness.clean())
    assert first in killed
    assert len(killed) > 1
    assert marked(lost.path) == []
    assert not lost.path.exists()


def test_two_concurrent_cleaners_end_all_orphans_without_a_failure(harness: TwoCleanersHarness) -> None:
    mine = harness.session(listed=True)
    kept = harness.driver(mine)
    orphans = {harness.driver(harness.session()) for _ in range(10)}
    other = harness.another()
    reports = run_concurrently([harness.clean, lambda: other.cleanup(Trigger.PERSON)])
    assert pids(reports[0]) | pids(reports[1]) == orphans
    assert [report.failed for report in reports] == [(), ()]
    assert living(orphans | {kept}) == {kept}
    assert len(harness.folders.present()) == 1
    assert sum(report.removed_profiles for report in reports) >= len(orphans)


def test_concurrent_manual_and_automatic_cleanups_run_one_after_the_other(
    harness: TwoCleanersHarness,
) -> None:
    orphans = {harness.driver(harness.session()) for _ in range(5)}
    calls: list[Callable[[], object]] = [harness.clean, harness.cleaner.upon_connection_error]
    run_concurrently(calls)
    assert living(orphans) == set()


def test_a_cleanup_affects_none_of_ten_sessions_that_start_during_it(harness: TwoCleanersHarness) -> None:
    orphan = harness.driver(harness.session())
    begun = threading.Barrier(2)
    started: list[int] = []

    def start_all() -> None:
        begun.wait()
        started.extend(harness.driver(harness.session(listed=True)) for _ in range(SESSIONS))

    with ThreadPoolExecutor(1) as starter:
        starting = starter.submit(start_all)
        begun.wait()
        killed = pids(harness.clean())
        while not starting.done():
            killed |= pids(harness.clean())
        starting.result()
    assert killed == {orphan}
    assert living(started) == set(started)
    assert len(harness.folders.present()) == SESSIONS


def test_a_pid_reused_between_scan_and_signal_is_not_signalled(
    harness: TwoCleanersHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    newcomer = harness.driver(harness.session(listed=True))
    ended = str(harness.session().path)

    def outdated() -> ProcessTable:
        # The process that the scan saw has ended, and the kernel has reused its pid since.
        table = snapshot()
        row = table.rows[newcomer]
        mark = row.mark and replace(row.mark, folder=ended)
        before = replace(row, started=row.identity.started - 1, mark=mark)
        return replace(table, rows={**table.rows, newcomer: before})

    monkeypatch.setattr(process_cleanup, "snapshot", outdated)
    report = harness.clean()
    assert {(one.judgement.row.pid, one.outcome) for one in report.killed} == {
        (newcomer, Outcome.ALREADY_GONE)
    }
    assert is_living(newcomer)
