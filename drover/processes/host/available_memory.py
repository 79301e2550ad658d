"""How much memory a new browser can have: the machine's, or less if a control group (a container) limits it.

Control groups are read as their documentation describes them: version 2 has `memory.max`, `memory.high` and
`memory.current` in each group (kernel.org, admin-guide/cgroup-v2), version 1 `memory.limit_in_bytes` and
`memory.usage_in_bytes` (admin-guide/cgroup-v1/memory). A limit of any group above the own one counts. Both
count the page cache as used, although the kernel gives it back before it ends a process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_BYTES_PER_MB = 1_000_000
CGROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")
_UNLIMITED: Final = 1 << 60
"""Version 1 shows a group without a limit as the largest number of pages."""
_VMSTAT: Final = Path("/proc/vmstat")


@dataclass(frozen=True, slots=True)
class _Version:
    """The names of the files of one version of control groups."""

    limits: tuple[str, ...]
    usage: str
    cache: tuple[str, ...]


_V1: Final = _Version(
    ("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
)
_V2: Final = _Version(
    ("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file", "slab_reclaimable")
)


def available_memory_mb() -> float:
    """Return the memory that new processes of the service can have, in units of 1,000,000 bytes."""
    machine: int = psutil.virtual_memory().available
    left = left_in_groups(_read(OWN_GROUPS), CGROUPS) if sys.platform == "linux" else None
    return (machine if left is None else min(machine, left)) / _BYTES_PER_MB


def swapped_out_bytes() -> int:
    """Return how many bytes the machine has written to its swap space since its boot; 0 on Windows.

    psutil does not know the number on Windows, and fails there if performance counters are disabled.
    """
    if sys.platform == "win32":
        return 0
    if sys.platform != "linux":
        written: int = psutil.swap_memory().sout
        return written
    pages = _fields(_read(_VMSTAT)).get("pswpout", 0)
    return pages * 4096


def left_in_groups(own_groups: str, mount: Path) -> int | None:
    """Return the bytes that the control groups of the service leave to it; None if no group has a limit.

    Args:
        own_groups: The content of `/proc/self/cgroup`.
        mount: Where the control groups are mounted.
    """
    found = [
        left
        for folder, version in _groups(own_groups, mount)
        if (left := _left_in_group(folder, version)) is not None
    ]
    return min(found, default=None)


def _groups(own_groups: str, mount: Path) -> Iterator[tuple[Path, _Version]]:
    """Yield the own group and those above it, of each version.

    A container may see the machine's path of its group although its own group is what is mounted: folders
    that are not there are left out, and the mount itself counts.
    """
    for line in own_groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root, version = (mount / "memory", _V1) if controllers else (mount, _V2)
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if group == root or root in group.parents:
                yield group, version


def _left_in_group(folder: Path, version: _Version) -> int | None:
    limits = [_number(_read(folder / name)) for name in version.limits]
    limit = min((one for one in limits if one is not None and one < _UNLIMITED), default=None)
    usage = _number(_read(folder / version.usage))
    if limit is None or usage is None:
        return None
    statistics = _fields(_read(folder / "memory.stat"))
    cache = sum(statistics.get(name, 0) for name in version.cache)
    return max(0, limit - max(0, usage - cache))


def _fields(text: str) -> dict[str, int]:
    pairs = (line.partition(" ") for line in text.splitlines())
    return {name: number for name, _, value in pairs if (number := _number(value)) is not None}


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _read(path: Path) -> str:
    """Return the text of a file; empty if it is not there, as on a system without control groups."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
