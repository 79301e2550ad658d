"""The child processes that Drover waits for, and the defunct ones that nobody waits for.

In a container without an init Drover is process 1. Then the kernel re-parents to it whatever outlives its
parent: Chrome's crash handlers, which double-fork on purpose, about ten helpers for each session, and the
`cat`s of Google's start script. They stay defunct until they are reaped; and if a child is reaped whose
`Popen` object is still waited for, that object loses the exit status. So every child is started
here, and no child that is waited for is reaped.

Needs only the standard library, because `drover.browser.binaries` imports it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import Any

_lock = threading.Lock()
_started: list[subprocess.Popen[bytes]] = []
"""The children that have not been waited for to their end."""


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 - those of Popen
    """Start a child process, which only its `Popen` object reaps; `options` are those of `Popen`."""
    with _lock:
        _forget_ended()
        process = subprocess.Popen(command, **options)  # noqa: S603 - the callers' own commands
        _started.append(process)
        return process


def run(command: Sequence[str], timeout: float, **options: Any) -> subprocess.CompletedProcess[bytes]:  # noqa: ANN401 - those of Popen
    """Run a child process, and return its exit status and output; its input is empty.

    Raises:
        OSError: It cannot be run.
        TimeoutExpired: It did not end within `timeout` seconds, and was killed.
    """
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(command, **pipes, **options) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def reap(pids: Iterable[int]) -> tuple[int, ...]:
    """Reap defunct children that nobody waits for, one by one; return the pids that were reaped."""
    with _lock:
        _forget_ended()
        awaited = {process.pid for process in _started}
        return tuple(pid for pid in pids if pid not in awaited and _reap_one(pid))


def _forget_ended() -> None:
    _started[:] = [process for process in _started if process.returncode is None]


def _reap_one(pid: int) -> bool:
    if sys.platform == "win32" or pid <= 1:
        return False
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
