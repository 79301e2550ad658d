"""What the machine lets us see and do with processes, and what becomes of orphans on it; found by trying."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from drover.processes.cleanup.chrome_names import may_be_chrome
from drover.processes.table import snapshot

_CAP_KILL = 5
_ORPHAN_S = 2.0
_LOOK_AGAIN_S = 0.02
# Leaves an orphan behind that ends as soon as it is one.
_MAKE_ORPHAN = """
import os, time
parent = os.getpid()
pid = os.fork()
if pid:
    os.write(1, str(pid).encode())
    os._exit(0)
os.close(1)
while os.getppid() == parent:
    time.sleep(0.005)
"""


def sees_processes_of_others() -> bool:
    """Tell whether other users' processes can be seen; on Linux `hidepid` of /proc may forbid it."""
    if sys.platform != "linux":
        return True
    with suppress(OSError):
        return bool(Path("/proc/1/stat").read_bytes())
    return False


def may_end_processes_of_others() -> bool:
    """Tell whether we have the right to end other users' processes."""
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - its `windll` is on Windows only

        return bool(ctypes.windll.shell32.IsUserAnAdmin())
    if os.geteuid() == 0:
        return True
    return sys.platform == "linux" and _has_capability(_CAP_KILL)


def chromes_of_others() -> int:
    """Count other users' processes that are named as Chrome or ChromeDriver are."""
    rows = snapshot().rows.values()
    return sum(1 for row in rows if row.own_user is False and may_be_chrome(row.name))


def orphans_are_reaped() -> bool | None:
    """Tell whether who takes orphans in here reaps them; None where that could not be tried.

    In a container whose first process is no init, an orphan that has ended stays defunct for ever.
    """
    if sys.platform == "win32":
        return None
    command = [sys.executable, "-ISc", _MAKE_ORPHAN]
    try:
        made = subprocess.run(command, capture_output=True, check=True, timeout=_ORPHAN_S)  # noqa: S603 - ours
        pid = int(made.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    deadline = time.monotonic() + _ORPHAN_S
    status = ""
    while time.monotonic() < deadline:
        try:
            status = psutil.Process(pid).status()
        except psutil.NoSuchProcess:
            return True
        time.sleep(_LOOK_AGAIN_S)
    return False if status == psutil.STATUS_ZOMBIE else None


def _has_capability(number: int) -> bool:
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "CapEff":
                return bool(int(value, 16) >> number & 1)
    return False
