"""Cost of reading and judging the process table on a busy machine, as machine-independent ratios.

    python bench/scan.py [processes] [candidates]

Starts a number of sleeping processes (10,000), which end by themselves after some minutes or with this
program, and compares a snapshot with its plan to a plain read of every /proc/PID/comm. Then it plans for a
growing number of Chrome processes (up to 2,000), and reports that. Linux only.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.rows import Row, report
from drover.api.reports import ProcessList
from drover.processes.cleanup.cleanup_plan import CleanupPlan, CleanupScope, Protection
from drover.processes.cleanup.verdicts import plan_cleanup
from drover.processes.table import ProcessRow, ProcessTable, snapshot

PROCESSES = 10_000
CANDIDATES = 2_000
LIFE_S = 300
ROUNDS = 7
MOST_RATIO = 2.0
PROFILE = "--user-data-dir=/var/lib/drover/s/abcd1234/p"
NO_SESSIONS = Protection((), None, {})


@contextmanager
def sleepers(number: int) -> Iterator[None]:
    """Keep this many processes asleep; all are ended and reaped at the end."""
    pids: list[int] = []
    try:
        # In groups of their own: all of our group would be read as relatives of this process.
        spawn = partial(os.posix_spawn, "/bin/sleep", ["sleep", str(LIFE_S)], {}, setpgroup=0)
        pids.extend(spawn() for _ in range(number))
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def read_names() -> None:
    """Read every /proc/PID/comm in the simplest way."""
    for entry in os.listdir("/proc"):  # noqa: PTH208 - what is compared to must not be slow itself
        if entry.isdecimal():
            with suppress(OSError), open(f"/proc/{entry}/comm", "rb") as file:  # noqa: PTH123 - as above
                file.read()


def scan_and_plan() -> None:
    """Do what a cleanup does before it ends anything."""
    plan_of(snapshot())


def candidates(number: int) -> ProcessTable:
    """Build a table of trees of ChromeDriver, Chrome and eight helpers each."""
    rows = {1: ProcessRow(1, 0, 0.0, "systemd", pgid=1, sid=1)}
    for first in range(1000, 1000 + number, 10):
        rows[first] = _row(first, 1, first, "chromedriver", "--port=0")
        rows[first + 1] = _row(first + 1, first, first, "chrome", "--test-type=webdriver", PROFILE)
        for pid in range(first + 2, first + 10):
            rows[pid] = _row(
                pid, first + 1, first, "chrome", "--type=renderer " + "--feature=x " * 60 + PROFILE
            )
    return ProcessTable(rows, 1, "linux")


def _row(pid: int, parent: int, group: int, name: str, *args: str) -> ProcessRow:
    exe = f"/opt/google/chrome/{name}"
    return ProcessRow(
        pid, parent, float(pid), name, exe, (exe, *args), own_user=True, pgid=group, sid=1, own_namespace=True
    )


def median_ms(work: Callable[[], object]) -> float:
    """Return the median CPU time of some rounds in milliseconds: other programs hardly change it."""
    durations = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        durations.append((time.process_time() - start) * 1000)
    return statistics.median(durations)


def scan_rows(number: int) -> Iterator[Row]:
    """Compare what more processes add to a scan with its plan, and to a plain read of all names."""
    scans, reads = [], []
    for processes in (0, number // 5, number):
        with sleepers(processes):
            scans.append(median_ms(scan_and_plan))
            reads.append(median_ms(read_names))
    few, many = (1000 * (scans[1] - scans[0]) / (number // 5), 1000 * (scans[2] - scans[0]) / number)
    ratio = (scans[2] - scans[0]) / (reads[2] - reads[0])
    yield Row(f"Scan and plan of {number} more processes, ratio to a bare read", ratio, MOST_RATIO, "x")
    costs = f"{few:.1f} and {many:.1f} us"
    yield Row(f"… of each, at {number // 5} and {number} more ({costs})", many / few, 1.5, "x")


def plan_rows(most: int) -> Iterator[Row]:
    """Compare the cost of one candidate in a plan and in its report, at a quarter of them and at all."""
    works: dict[str, Callable[[ProcessTable], object]] = {
        "Plan": plan_of,
        "Plan and report": lambda table: ProcessList.of(plan_of(table)).json_object(),
    }
    for name, work in works.items():
        few, many = (cost_us(work, candidates(number), number) for number in (most // 4, most))
        costs = f"{few:.0f} and {many:.0f} us"
        yield Row(
            f"{name} of {most // 4} and {most} Chrome processes, of each ({costs})", many / few, 1.5, "x"
        )


def plan_of(table: ProcessTable) -> CleanupPlan:
    """Return the plan for a table in which no session is protected."""
    return plan_cleanup(table, NO_SESSIONS, CleanupScope.ABANDONED)


def cost_us(work: Callable[[ProcessTable], object], table: ProcessTable, number: int) -> float:
    """Return the median CPU time of the work per candidate, in microseconds."""
    return 1000 * median_ms(lambda: work(table)) / number


def rows(processes: int, most: int) -> Iterator[Row]:
    """Measure everything."""
    yield from plan_rows(most)
    yield from scan_rows(processes)


if __name__ == "__main__":
    counts = [int(argument) for argument in sys.argv[1:]]
    sys.exit(report("scan", rows(*[*counts, *(PROCESSES, CANDIDATES)[len(counts) :]])))
