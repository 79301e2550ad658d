"""What the service may see and end on this machine, and whether orphans are reaped: found by trial."""

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
# User ids below are those of the system, those from `_NO_PERSON` on of `nobody` and of containers.
_FIRST_PERSON, _FIRST_PERSON_ON_MACOS, _NO_PERSON = 1000, 501, 60_000
_ORPHAN_S = 2.0
_POLL_PAUSE_S = 0.02
# Creates an orphan that ends as soon as it is re-parented.
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


def is_root() -> bool:
    """Return whether the service runs as root, with which Chrome's sandbox does not start."""
    return sys.platform == "linux" and os.geteuid() == 0


def sees_processes_of_others() -> bool:
    """Return whether processes of other users are visible; on Linux `hidepid` of /proc may hide them."""
    if sys.platform != "linux":
        return True
    with suppress(OSError):
        return bool(Path("/proc/1/stat").read_bytes())
    return False


def may_end_processes_of_others() -> bool:
    """Return whether the service is permitted to end processes of other users."""
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - `windll` exists on Windows only

        return bool(ctypes.windll.shell32.IsUserAnAdmin())
    if os.geteuid() == 0:
        return True
    return sys.platform == "linux" and _has_capability(_CAP_KILL)


def chromes_of_others() -> int:
    """Return the number of processes of other users with a name like Chrome or ChromeDriver."""
    rows = snapshot().rows.values()
    return sum(1 for row in rows if row.own_user is False and may_be_chrome(row.name))


def people_beside() -> tuple[str, ...]:
    """Return the names of other persons with processes here, by their user ids; none on Windows."""
    if sys.platform == "win32":
        return ()
    import pwd  # noqa: PLC0415 - does not exist on Windows

    first = _FIRST_PERSON_ON_MACOS if sys.platform == "darwin" else _FIRST_PERSON
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, KeyError):
            user = process.uids().real
            if first <= user < _NO_PERSON and user != os.geteuid():
                found.add(pwd.getpwuid(user).pw_name)
    return tuple(sorted(found))


def orphans_are_reaped() -> bool | None:
    """Return whether the process that inherits orphans reaps them; None if that could not be tried.

    In a container whose first process is not an init, an ended orphan stays defunct forever.
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
        time.sleep(_POLL_PAUSE_S)
    return False if status == psutil.STATUS_ZOMBIE else None


def _has_capability(number: int) -> bool:
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "CapEff":
                return bool(int(value, 16) >> number & 1)
    return False
