"""The id of the current boot: pids and start times are valid only within one boot."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import psutil

_KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UUID_BYTES = 64


def boot_id() -> str:
    """Return a text that changes with every boot of the machine; empty on Windows, which needs none.

    The kernels of Linux and macOS generate it at each boot. The time of the boot is no substitute: it is the
    clock minus the time since then, so it moves whenever the clock is set, and by seconds a day without that.
    On Windows a start time is absolute and exact to 100 ns, so pid and start time are unique across boots.
    """
    if sys.platform == "win32":
        return ""
    kernels = _sysctl_text("kern.bootsessionuuid") if sys.platform == "darwin" else _linux_boot_id()
    return kernels or str(60 * round(psutil.boot_time() / 60))


def _linux_boot_id() -> str:
    try:
        return _KERNEL_BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        # Some containers hide it.
        return ""


def _sysctl_text(name: str) -> str:
    """Return a text of the kernel of macOS; empty if it has none of this name."""
    content = ctypes.create_string_buffer(_UUID_BYTES)
    size = ctypes.c_size_t(_UUID_BYTES)
    failed = ctypes.CDLL(None).sysctlbyname(name.encode(), content, ctypes.byref(size), None, 0)
    return "" if failed else content.value.decode("ascii", "replace")
