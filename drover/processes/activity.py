"""Whether a process has been active, determined without sending it a request."""

from __future__ import annotations

import os
import sys
from typing import Final

import psutil

from drover.processes.table import ProcessIdentity

_SCHEDSTAT_BYTES: Final = 128


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
    """Return the third number of `schedstat` (proc(5)); it takes 3 us, a `Path` 12, psutil 100."""
    try:
        descriptor = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY)
    except OSError:
        return None
    try:
        _running, _waiting, times = os.read(descriptor, _SCHEDSTAT_BYTES).split()
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    return int(times)


def _context_switches(pid: int) -> int | None:
    try:
        switches = psutil.Process(pid).num_ctx_switches()
    except psutil.Error:
        return None
    return int(switches.voluntary + switches.involuntary)
