"""Whether a process has been active, determined without sending it a request."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

from drover.processes.table import ProcessIdentity


def activity_of(identity: ProcessIdentity) -> int | None:
    """Return a number that changes when the main thread of the process works, and not while it waits.

    ChromeDriver does nothing while no client sends it a command. On Linux the number is how often the thread
    was given a processor, elsewhere the count of its context switches. Returns None if they are not counted,
    as under Wine, or cannot be read.
    """
    count = _times_scheduled(identity.pid) if sys.platform == "linux" else None
    # A program that has run at all has a count, unless the kernel keeps none.
    return count or _context_switches(identity.pid) or None


def _times_scheduled(pid: int) -> int | None:
    """Return the third number of `schedstat` (proc(5)); it takes 22 us, and psutil 100, for every session."""
    try:
        _running, _waiting, times = Path(f"/proc/{pid}/schedstat").read_bytes().split()
    except (OSError, ValueError):
        return None
    return int(times)


def _context_switches(pid: int) -> int | None:
    try:
        switches = psutil.Process(pid).num_ctx_switches()
    except psutil.Error:
        return None
    return int(switches.voluntary + switches.involuntary)
