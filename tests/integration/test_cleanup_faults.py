"""The cleaner among processes that come, go, resist and multiply while it works.

The processes are copies of a small program under ChromeDriver's name, and carry the mark of the test's own
data folder. The cleaner is told to touch nothing without that mark, and takes no other instance for dead.
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
from drover.processes.cleanup.verdicts import ProtectedSession
from drover.processes.table import ProcessTable, snapshot
from drover.processes.termination import Outcome
from drover.storage.session_folders import SessionFolder, SessionFolders
from process_cleanup import CleanupReport, ProcessCleaner, Trigger
from tests.integration.child_processes import IGNORE_TERM, WAIT, Children, children
from tests.machine import is_living, living, marked, run_concurrently, wait_until
from tests.unit.examples import EventRecorder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children are made for Linux")

STORM: Final = 200
SESSIONS: Final = 10
MOST_FORKS: Final = 25
# Forks when it is asked to end, into one that does the same, again and again.
HYDRA: Final = """
head() {
    trap "[ $1 -ge $most ] || head $(($1 + 1)) & exit" TERM
    echo ready
    while :; do read -r -t 0.05 _ <&3; done
}
exec 3<>"$pipe"
head 1
"""


class CleanerHarness:
    """A cleaner over a data folder of its own, whose sessions are a list."""

    def __init__(self, folder: Path, kids: Children) -> None:
        self.kids = kids
        self.recorder = EventRecorder()
        self.folders = SessionFolders(folder / "d")
        self.folders.check()
        self.cleaner = self.another()
        self._lock = threading.Lock()
        self._sessions: list[ProtectedSession] = []

    def another(self) -> ProcessCleaner:
        """Give one more cleaner over the same data folder, as a second process would have it."""
        return ProcessCleaner(
            self.folders, self.protected, self.recorder, adopt_grace=math.inf, owned_only=True
        )

    def protected(self) -> tuple[ProtectedSession, ...]:
        """Give the sessions in the list."""
        with self._lock:
            return tuple(self._sessions)

    def session(self, *, listed: bool = False) -> SessionFolder:
        """Make a session's folder; one that is listed is listed before it is made."""
        folder = self.folders.choose()
        if listed:
            with self._lock:
                self._sessions.append(ProtectedSession(folder.path.name, str(folder.path), frozenset()))
        self.folders.make(folder)
        return folder

    def driver(self, folder: SessionFolder, script: str = WAIT) -> int:
        """Start what plays the ChromeDriver of a session; it ends when its test closes the pipe to it."""
        return self.kids.start(f"--log-path={folder.driver_log}", name="chromedriver", script=script).pid

    def clean(self) -> CleanupReport:
        """Clean up as a person does."""
        return self.cleaner.cleanup(Trigger.PERSON)


@pytest.fixture
def harness(folder: Path) -> Iterator[CleanerHarness]:
    """Give a house, and leave no process of it."""
    with children(folder) as kids:
        yield CleanerHarness(folder, kids)
        for process in marked(folder):
            process.kill()
        wait_until(lambda: not marked(folder), "nothing is left")


class Storm:
    """Processes of a dead session that appear and vanish all the time, some of them for good."""

    def __init__(self, program: Path, folder: SessionFolder) -> None:
        self._command = [str(program), "-c", "read -r -t $1 _ <>$2", "x"]
        self._pipe = folder.path / "pipe"
        os.mkfifo(self._pipe)
        self._mark = f"--log-path={folder.driver_log}"
        self._over = threading.Event()
        self.started = 0
        self._thread = threading.Thread(target=self._blow)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _blow(self) -> None:
        alive: list[subprocess.Popen[bytes]] = []
        while not self._over.is_set() or alive:
            if not self._over.is_set() and len(alive) < STORM:
                life_s = f"0.{self.started % 40:02}1"
                alive.append(subprocess.Popen([*self._command, life_s, str(self._pipe), self._mark]))
                self.started += 1
            alive = [process for process in alive if process.poll() is None]


def pids(report: CleanupReport) -> set[int]:
    """Give the pids of what was seen dead."""
    return {one.judgement.row.pid for one in report.killed}


def test_a_storm_of_processes_during_the_scan_hurts_no_session_and_hides_no_orphan(
    harness: CleanerHarness,
) -> None:
    kept = harness.session(listed=True)
    session = harness.driver(kept)
    windy = harness.session(listed=True)
    storm = Storm(harness.kids.program("chromedriver"), windy)
    with storm:
        while storm.started < 4 * STORM:
            orphan = harness.driver(harness.session())
            report = harness.clean()
            assert pids(report) == {orphan}
            assert report.failed == ()
    assert is_living(session)
    assert kept.path.exists()


def test_a_storm_of_orphans_is_cleaned_in_two_passes_without_a_failure(harness: CleanerHarness) -> None:
    lost = harness.session()
    storm = Storm(harness.kids.program("chromedriver"), lost)
    with storm:
        wait_until(lambda: storm.started > STORM, "the storm has risen", 30)
        reports = [harness.clean() for _ in range(3)]
    assert [report.failed for report in reports] == [(), (), ()]
    assert any(report.killed for report in reports)
    harness.clean()
    assert marked(lost.path) == []


def test_orphans_that_ignore_the_request_are_killed_together_with_those_that_obey(
    harness: CleanerHarness,
) -> None:
    lost = harness.session()
    stubborn = {harness.driver(lost, IGNORE_TERM) for _ in range(3)}
    meek = harness.driver(lost)
    report = harness.clean()
    outcomes = {one.judgement.row.pid: one.outcome for one in report.killed}
    assert {outcomes[pid] for pid in stubborn} == {Outcome.KILLED}
    assert meek in outcomes
    assert living(stubborn | {meek}) == set()
    assert report.duration_ms < 5000


def test_one_that_forks_while_it_is_killed_does_not_survive_two_cleanups(
    harness: CleanerHarness, folder: Path
) -> None:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    lost = harness.session()
    first = harness.driver(lost, f"pipe={pipe}; most={MOST_FORKS}; {HYDRA}")
    killed = pids(harness.clean()) | pids(harness.clean())
    assert first in killed
    assert len(killed) > 1
    assert marked(lost.path) == []
    assert not lost.path.exists()


def test_two_cleaners_at_once_end_everything_and_fail_at_nothing(harness: CleanerHarness) -> None:
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


def test_a_cleanup_and_an_automatic_one_at_once_come_one_after_the_other(harness: CleanerHarness) -> None:
    orphans = {harness.driver(harness.session()) for _ in range(5)}
    calls: list[Callable[[], object]] = [harness.clean, harness.cleaner.upon_connection_error]
    run_concurrently(calls)
    assert living(orphans) == set()


def test_a_cleanup_hurts_none_of_ten_sessions_that_start_meanwhile(harness: CleanerHarness) -> None:
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


def test_a_pid_that_is_given_away_between_scan_and_signal_is_not_hit(
    harness: CleanerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    newcomer = harness.driver(harness.session(listed=True))
    mark = f"--log-path={harness.session().driver_log}"

    def outdated() -> ProcessTable:
        # What the scan saw under this number is gone, and the kernel has given it away since.
        table = snapshot()
        row = table.rows[newcomer]
        before = replace(row, started=row.identity.started - 1, cmdline=(row.name, mark))
        return replace(table, rows={**table.rows, newcomer: before})

    monkeypatch.setattr(process_cleanup, "snapshot", outdated)
    report = harness.clean()
    assert {(one.judgement.row.pid, one.outcome) for one in report.killed} == {
        (newcomer, Outcome.ALREADY_GONE)
    }
    assert is_living(newcomer)
