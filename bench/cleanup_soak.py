"""Rounds of start, abandon and clean up among unrelated processes: none may end, nothing may be left.

    python bench/cleanup_soak.py [--rounds N] [--seed N]

Each round abandons real ChromeDrivers and Chromes in random shapes, of foreign programs and of our own, and
cleans up in a random way: automatically, manually with scope `owned`, or manually with scope `system`. All
the time a session of ours, a person's Chrome and those of the usual tools, a detached one, another user's,
one in another namespace and many look-alikes run, and, if it must be spared, a script that still works. Needs
root on Linux: it runs in its own PID namespace, so that it sees no process of the machine. The exit status is
0 if no unrelated process ended and nothing was left.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drover.core.jobs import Jobs
from drover.processes.cleanup.cleanup_plan import ProtectedSession
from drover.storage.session_folders import SessionFolder, SessionFolders
from process_cleanup import CleanupReport, ProcessCleaner, Trigger
from tests.acceptance.faults import stop
from tests.acceptance.foreign_programs import (
    OWN_NAMESPACE,
    Automation,
    can_have_a_namespace,
    start_automation,
    unrelated_processes,
)
from tests.acceptance.orphan_shapes import SHAPES, Shape, chrome_at_a_subreaper, chromes
from tests.machine import living, remove, run_folder, wait_gone, wait_until

ROUNDS: Final = 1000
INSIDE: Final = "--inside"
# An init that reaps what is re-parented to it; a shell with more than one command does not exec.
INIT: Final = ("bash", "-c", '"$@"; exit $?', "bash")
BY_ITSELF, OWNED, SYSTEM = "by itself", "owned", "system"


class Soak:
    """A machine with unrelated processes, and the rounds among them."""

    def __init__(self, home: Path, chance: random.Random, stack: contextlib.ExitStack) -> None:
        self._home = home
        self._chance = chance
        self._folders = SessionFolders(home / "d")
        self._folders.check()
        self._script: Automation | None = None
        stack.callback(self._stop_script)
        self._unrelated = stack.enter_context(unrelated_processes(home / "unrelated"))
        self._kept = self._start_session(stack)
        self._cleaners = {OWNED: self._cleaner(owned_only=True), SYSTEM: self._cleaner(owned_only=False)}
        self.ended = 0

    def round(self, number: int) -> str:
        """Abandon, clean up, and check; return a description of the round.

        Raises:
            AssertionError: An unrelated process ended, or something was left.
        """
        how = self._chance.choice((BY_ITSELF, OWNED, SYSTEM))
        shape = self._shape(how)
        self._stop_script() if how == SYSTEM else self._start_script()
        with contextlib.ExitStack() as stack:
            folder = self._home / str(number)
            folder.mkdir()
            theirs = shape(stack, folder) if shape else set()
            ours = self._abandon_ours(stack)
            report = self._clean(how)
            self._assert_gone(theirs | ours, folder, report)
        self._assert_unrelated_live()
        remove(folder)
        self.ended += report.killed_count
        return f"{how}: {shape.__name__ if shape else 'no foreign orphans'}, {report.duration_ms} ms"

    def _shape(self, how: str) -> Shape | None:
        if how == OWNED:
            return None
        # Whether a subreaper is the program that still works cannot be known: only a manual cleanup decides.
        return self._chance.choice([s for s in SHAPES if how == SYSTEM or s is not chrome_at_a_subreaper])

    def _clean(self, how: str) -> CleanupReport:
        if how == BY_ITSELF:
            return self._cleaners[SYSTEM].cleanup(Trigger.ITSELF)
        return self._cleaners[how].cleanup(Trigger.PERSON)

    def _cleaner(self, *, owned_only: bool) -> ProcessCleaner:
        return ProcessCleaner(
            self._folders,
            lambda: (self._kept,),
            Jobs({}, lambda _: None),
            lambda _: None,
            adopt_grace=math.inf,
            owned_only=owned_only,
        )

    def _start_session(self, stack: contextlib.ExitStack) -> ProtectedSession:
        automation, browser = self._start_ours(stack)
        self._unrelated["our session"] = {automation.driver, browser}
        return ProtectedSession("kept", str(automation.folder), frozenset({automation.driver, browser}))

    def _abandon_ours(self, stack: contextlib.ExitStack) -> set[int]:
        automation, browser = self._start_ours(stack)
        automation.leave()
        shape = self._chance.choice(("lost", "without a driver", "without a browser", "stopped"))
        if shape == "stopped":
            stop(browser)
        if shape.startswith("without"):
            dead = automation.driver if shape == "without a driver" else browser
            psutil.Process(dead).kill()
            wait_gone([dead])
        return {automation.driver, browser}

    def _start_ours(self, stack: contextlib.ExitStack) -> tuple[Automation, int]:
        folder = self._folders.choose()
        self._folders.make(folder)
        automation = start_automation(folder.path, f"--log-path={folder.driver_log}", own_session=True)
        stack.callback(automation.finish)
        return automation, automation.browse(args=_switches(folder))

    def _start_script(self) -> None:
        if self._script is None:
            folder = self._home / "script"
            folder.mkdir()
            self._script = start_automation(folder)
            self._unrelated["a script that works"] = {self._script.driver, self._script.browse()}

    def _stop_script(self) -> None:
        if self._script is not None:
            del self._unrelated["a script that works"]
            self._script.finish()
            remove(self._script.folder)
            self._script = None

    def _assert_gone(self, pids: set[int], folder: Path, report: CleanupReport) -> None:
        assert report.failed == (), report.failed
        assert living(pids) == set(), f"left: {living(pids)}"
        # The crash handlers have init as their parent from the start, and end a moment after their browser.
        wait_until(lambda: not chromes(folder), f"nothing of {folder} lives")
        assert [str(present.path) for present in self._folders.present()] == [self._kept.folder]

    def _assert_unrelated_live(self) -> None:
        lost = {name: pids - living(pids) for name, pids in self._unrelated.items()}
        assert not any(lost.values()), f"hurt: {lost}"


def _switches(folder: SessionFolder) -> list[str]:
    return ["--headless=new", "--no-sandbox", "--no-first-run", f"--user-data-dir={folder.profile}"]


def soak(rounds: int, seed: int) -> int:
    """Run the rounds; return 0, or 1 if an unrelated process ended or something was left."""
    print(f"{rounds} rounds, seed {seed}", flush=True)
    started = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="drs-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, run_folder(), ignore_errors=True)
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        test = Soak(home, random.Random(seed), stack)  # noqa: S311 - chance, not a secret
        for number in range(1, rounds + 1):
            try:
                print(f"{number}: {test.round(number)}", flush=True)
            except AssertionError as error:
                print(f"round {number} with seed {seed} FAILED: {error}", flush=True)
                return 1
    print(f"{rounds} rounds in {time.monotonic() - started:.0f} s: {test.ended} ended, 0 hurt, 0 left")
    return 0


def main() -> int:
    """Read the arguments, and continue in a separate namespace."""
    parser = argparse.ArgumentParser(description="Abandon browsers and clean up among unrelated processes.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return soak(options.rounds, options.seed)
    if not can_have_a_namespace():
        print("This needs root on Linux: it ends Chromes, and must see none but its own.", file=sys.stderr)
        return 2
    command = [sys.executable, __file__, "--rounds", str(options.rounds), "--seed", str(options.seed), INSIDE]
    return subprocess.call([*OWN_NAMESPACE, *INIT, *command])  # noqa: S603 - our own program again


if __name__ == "__main__":
    sys.exit(main())
