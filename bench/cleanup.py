"""Duration of a cleanup on real orphaned ChromeDrivers and Chromes.

    python bench/cleanup.py [trees]

Starts a number of trees of ChromeDriver and Chrome (10) that belong to no listed session, cleans up, and
repeats that with as many trees as 40 processes need. They carry the mark of a folder of this program, and the
cleaner is configured to end nothing else: it never touches another Chrome of the machine. In the same run it
prints how long a plain SIGKILL to as many trees takes: on a busy machine only the comparison is meaningful.
Linux only.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drover.core.jobs import Jobs
from drover.storage.session_folders import SessionFolder, SessionFolders
from process_cleanup import CleanupReport, ProcessCleaner, Trigger
from tests.acceptance.foreign_programs import Automation, start_automation
from tests.machine import kill, marked

TREES = 10
FEW = 40
MOST_S = 2.0
MOST_FOR_FEW_S = 1.5


class OrphanSite:
    """A data folder whose sessions are not listed, and a cleaner that ends nothing else."""

    def __init__(self, home: Path) -> None:
        self._folders = SessionFolders(home / "d")
        self._folders.check()
        self._started: list[Automation] = []
        # An infinite grace: this cleaner treats no other instance as dead, so it touches none.
        self.cleaner = ProcessCleaner(
            self._folders,
            lambda: (),
            Jobs({}, lambda _: None),
            lambda _: None,
            adopt_grace=math.inf,
            owned_only=True,
        )

    def start_trees(self, trees: int) -> set[int]:
        """Start trees whose program has ended; return their pids."""
        for _ in range(trees):
            folder = self._folders.choose()
            self._folders.make(folder)
            self._started.append(_tree(folder))
        return self.living()

    def living(self) -> set[int]:
        """Return the pids with the mark, as a cleanup sees them: zombies count as gone."""
        return {process.pid for process in marked(self._folders.data_dir)}

    def close(self) -> None:
        """End what is left, and reap the programs."""
        kill(marked(self._folders.data_dir))
        for automation in self._started:
            automation.program.wait()


def _tree(folder: SessionFolder) -> Automation:
    automation = start_automation(folder.path, f"--log-path={folder.driver_log}", own_session=True)
    automation.browse(args=_switches(folder))
    automation.leave()
    return automation


def _switches(folder: SessionFolder) -> Sequence[str]:
    return ("--headless=new", "--no-sandbox", "--no-first-run", f"--user-data-dir={folder.profile}")


def measure(site: OrphanSite, trees: int, at_least: int, most_s: float) -> bool:
    """Start trees, clean them up and print the duration; return whether it is within the bound."""
    planted = site.start_trees(trees)
    begun = time.perf_counter()
    report = site.cleaner.cleanup(Trigger.PERSON)
    took_s = time.perf_counter() - begun
    left = site.living()
    complete = not left and not report.failed and len(planted) >= at_least
    _print_report(f"{trees} trees, {len(planted)} processes", took_s, report)
    print(f"  left: {sorted(left)}; the bound is {most_s} s: {took_s / most_s:.0%} of it")
    return complete and took_s <= most_s


def _print_report(what: str, took_s: float, report: CleanupReport) -> None:
    phases = ", ".join(f"{phase} {ms}" for phase, ms in report.phases_ms)
    print(
        f"{what}: gone in {took_s:.3f} s ({phases} ms); seen dead {report.killed_count}, "
        f"freed {report.freed_mb:.0f} MB, removed {report.removed_profiles} profiles"
    )


def measure_kill(site: OrphanSite, trees: int) -> None:
    """Print the duration of a plain SIGKILL to every process, without proof, grace or folders."""
    processes = [psutil.Process(pid) for pid in site.start_trees(trees)]
    begun = time.perf_counter()
    kill(processes)
    took_s = time.perf_counter() - begun
    print(f"to compare: SIGKILL to {len(processes)} processes by psutil: gone in {took_s:.3f} s")


def main() -> int:
    """Measure; the exit status is 0 if everything is gone within its bounds."""
    trees = int(sys.argv[1]) if sys.argv[1:] else TREES
    with tempfile.TemporaryDirectory(prefix="drb-", ignore_cleanup_errors=True) as home:
        site = OrphanSite(Path(home))
        try:
            many = measure(site, trees, 100 if trees >= TREES else 1, MOST_S)
            each = max(1, len(site.start_trees(1)))
            few = measure(site, math.ceil(FEW / each) - 1, FEW, MOST_FOR_FEW_S)
            measure_kill(site, trees)
        finally:
            site.close()
    return 0 if many and few else 1


if __name__ == "__main__":
    sys.exit(main())
