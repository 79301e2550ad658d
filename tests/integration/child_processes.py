"""Real processes that misbehave, named like Chrome's executables: copies of bash that wait on a pipe."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from drover.processes.table import ProcessIdentity, identify
from tests.machine import wait_until

WAIT = "echo ready; read"
IGNORE_TERM = "trap '' TERM; " + WAIT


@dataclass
class Children:
    """Starts processes below a folder, and ends them all after the test."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def program(self, name: str) -> Path:
        """Return an executable with this name."""
        path = self.folder / name
        if not path.exists():
            shutil.copy2(shutil.which("bash") or "/bin/bash", path)
        return path

    def start(
        self, *args: str, name: str = "chrome", script: str = WAIT, user: int | None = None
    ) -> subprocess.Popen[str]:
        """Start a process with these arguments and wait until it is ready."""
        process = subprocess.Popen(
            [str(self.program(name)), "-c", script, "x", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            user=user,
        )
        self.processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    def end_all(self) -> None:
        """Kill every process group that was started, and reap our children."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with process:
                process.kill()


@contextmanager
def children(folder: Path) -> Iterator[Children]:
    """Yield a starter of processes, and end them all afterwards."""
    made = Children(folder)
    try:
        yield made
    finally:
        made.end_all()


def identity(process: subprocess.Popen[str]) -> ProcessIdentity:
    """Return the identity of a living process."""
    found = identify(process.pid)
    assert found is not None
    return found


def stop(process: subprocess.Popen[str]) -> None:
    """Stop a process, and wait until the kernel reports it as stopped."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: state(process.pid) == "T", "a stopped process")


def state(pid: int) -> str | None:
    """Return the kernel's letter for a process's state, or None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
