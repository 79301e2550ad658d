"""Containers without an image: PID namespaces with any first process, and automatic cleanups in them.

Run as a program inside such a namespace, this module carries out an automatic cleanup and prints the result.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from drover.core.events import Event
from drover.core.jobs import Jobs
from drover.processes.cleanup.cleanup_plan import CleanupScope, Protection
from drover.processes.cleanup.verdicts import plan_cleanup
from drover.processes.table import snapshot
from drover.storage.session_folders import SessionFolders
from process_cleanup import ProcessCleaner, Trigger
from tests.machine import kill, marked, wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
NAMESPACE: Final = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
WAIT_S: Final = 30.0
_SILENT: Final[dict[str, Any]] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@dataclass(frozen=True, slots=True)
class Container:
    """A running PID namespace.

    Attributes:
        first: Its first process, as this machine sees it.
        folder: Where its processes keep everything; on the command line of each ChromeDriver.
    """

    first: psutil.Process
    folder: Path

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own whose parent is outside, as `docker exec` does."""
        entered = [*self._enter, "setsid", *command]
        with (self.folder / "output").open("wb") as output:
            environment = os.environ | {"TMPDIR": str(self.folder)}
            return subprocess.Popen(entered, cwd=self.folder, env=environment, stdout=output, stderr=output)

    def automatic_cleanup(self, pid: int) -> tuple[bool, str]:
        """Clean up as Drover does by itself; return whether a process was ended, and the reason."""
        module = [sys.executable, "-m", "tests.acceptance.containers", str(pid), str(self.folder / "data")]
        done = subprocess.run(
            [*self._enter, *module],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            check=True,
            timeout=WAIT_S,
        )
        ended, reason = json.loads(done.stdout)
        return bool(ended), str(reason)

    def pid_within(self, process: psutil.Process) -> int:
        """Return the pid that a process has in the container."""
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.first.pid}", "--pid", "--mount"]


def can_have_containers() -> bool:
    """Return whether this user may create PID namespaces and enter them."""
    tools = shutil.which("unshare") and shutil.which("nsenter")
    if sys.platform != "linux" or os.geteuid() != 0 or not tools:
        return False
    return subprocess.run([*NAMESPACE, "true"], check=False, **_SILENT).returncode == 0


@contextlib.contextmanager
def container(folder: Path, command: Sequence[str]) -> Iterator[Container]:
    """Run a command as the first process of a PID namespace; everything in it ends with it."""
    outer = subprocess.Popen([*NAMESPACE, *command], cwd=folder, start_new_session=True, **_SILENT)
    try:
        what = f"{command[0]} is the first process"
        (first,) = wait_until(lambda: _started(outer.pid), what, WAIT_S)
        yield Container(first, folder)
    finally:
        for process in psutil.Process(outer.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        outer.wait(WAIT_S)
        kill(marked(folder))


def _started(outer: int) -> list[psutil.Process]:
    """Return the first process as soon as it runs its own program; before, it is a copy of `unshare`."""
    unshare = psutil.Process(outer)
    return [child for child in unshare.children() if child.exe() != unshare.exe()]


def _clean_up(pid: int, data_dir: Path) -> None:
    def ignore(_: Event) -> None:
        """Ignore an event: the report has everything."""

    assert os.readlink("/proc/self") == str(os.getpid()), "not inside the namespace"  # noqa: PTH115 - a text
    plan = plan_cleanup(snapshot(), Protection((), None, {}), CleanupScope.ABANDONED)
    reason = next(found.reason for found in plan.judgements if found.row.pid == pid)
    folders = SessionFolders(data_dir)
    cleaner = ProcessCleaner(folders, lambda: (), Jobs({}, ignore), ignore, adopt_grace=60, owned_only=False)
    report = cleaner.cleanup(Trigger.ITSELF)
    ended = pid in {killed.judgement.row.pid for killed in report.killed}
    sys.stdout.write(json.dumps([ended, reason]))


if __name__ == "__main__":
    _clean_up(int(sys.argv[1]), Path(sys.argv[2]))
