"""Which run of the machine this is: pids and start times mean something only within one."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

_KERNELS_OWN = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Give a text that is another one after every boot of the machine.

    On Linux the kernel makes one up at each boot; elsewhere it is the minute of the boot, in seconds
    since the epoch, since what the system says of it moves a little when the clock is set.
    """
    return (_kernels_own() if sys.platform == "linux" else "") or str(60 * round(psutil.boot_time() / 60))


def _kernels_own() -> str:
    try:
        return _KERNELS_OWN.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        # Some containers hide it.
        return ""
