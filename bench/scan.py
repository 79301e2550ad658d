"""Cost of reading and judging the process table on a busy machine, as machine-independent ratios.

    python bench/scan.py [processes] [candidates]

Starts a number of sleeping processes (5,000), which end by themselves after some minutes or with this
program, and compares a snapshot with its plan to a plain read of every /proc/PID/comm. Then it plans for a
growing number of candidates (up to 500). Linux only.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drover.processes.cleanup.cleanup_plan import CleanupScope, Protection
from drover.processes.cleanup.verdicts import plan_cleanup
from drover.processes.table import ProcessRow, ProcessTable, snapshot

PROCESSES = 5000
CANDIDATES = 500
LIFE_S = 300
ROUNDS = 7
MOST_RATIO = 2.0
MOST_PLAN_MS = 20.0
PROFILE = "--user-data-dir=/var/lib/drover/s/abcd1234/p"
NO_SESSIONS = Protection((), None, {})


@contextmanager
def sleepers(number: int) -> Iterator[None]:
    """Keep this many processes asleep; all are ended and reaped at the end."""
    pids: list[int] = []
    try:
        pids.extend(os.posix_spawn("/bin/sleep", ["sleep", str(LIFE_S)], {}) for _ in range(number))
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
    plan_cleanup(snapshot(), NO_SESSIONS, CleanupScope.ABANDONED)


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
    """Return the median duration of some rounds in milliseconds."""
    durations = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        durations.append((time.perf_counter() - start) * 1000)
    return statistics.median(durations)


def measure_scan(number: int) -> bool:
    """Print the cost of a scan and of a plain read; return whether it is within the bound."""
    with sleepers(number):
        bare, scan = median_ms(read_names), median_ms(scan_and_plan)
    print(
        f"{number} processes: bare read {bare:.1f} ms, scan and plan {scan:.1f} ms, ratio {scan / bare:.2f}"
    )
    return scan / bare <= MOST_RATIO


def measure_plan(most: int) -> bool:
    """Print the cost of a plan for growing numbers; return whether the largest is within the bound."""
    last = 0.0
    for number in (most // 4, most // 2, most):
        table = candidates(number)
        last = median_ms(lambda table=table: plan_cleanup(table, NO_SESSIONS, CleanupScope.ABANDONED))  # type: ignore[misc]
        print(f"{number} candidates: plan {last:.2f} ms, {1000 * last / number:.1f} us each")
    return last < MOST_PLAN_MS


def main() -> int:
    """Measure both; the exit status is 0 if both are within their bounds."""
    processes = int(sys.argv[1]) if sys.argv[1:] else PROCESSES
    most = int(sys.argv[2]) if sys.argv[2:] else CANDIDATES
    return 0 if all([measure_scan(processes), measure_plan(most)]) else 1


if __name__ == "__main__":
    sys.exit(main())
