"""The id of the current boot: pids and start times are valid only within one boot."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

_KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return a text that changes with every boot of the machine.

    On Linux the kernel generates it at each boot. Elsewhere it is the time of the boot in seconds since the
    epoch, rounded to a minute, because the system's value changes slightly when the clock is set.
    """
    return (_kernel_boot_id() if sys.platform == "linux" else "") or str(60 * round(psutil.boot_time() / 60))


def _kernel_boot_id() -> str:
    try:
        return _KERNEL_BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        # Some containers hide it.
        return ""
