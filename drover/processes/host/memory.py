"""Memory: of the machine, of processes, shared memory, and what a new browser can have.

That is what the machine has left, or less if a control group (a container) limits it.

Control groups are read as their documentation describes them: version 2 has `memory.max`, `memory.high` and
`memory.current` in each group (kernel.org, admin-guide/cgroup-v2), version 1 `memory.limit_in_bytes` and
`memory.usage_in_bytes` (admin-guide/cgroup-v1/memory). A limit of any group above the own one counts. Both
count the page cache as used, although the kernel gives it back before it ends a process.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import psutil

_BYTES_PER_MB = 1_000_000
ENOUGH_SHARED_MEMORY = 1 << 30
"""Bytes of shared memory; below this, Chrome is configured to use files instead."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only its size is read
CGROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = "/proc/self/cgroup"
_UNLIMITED: Final = 1 << 60
"""Version 1 shows a group without a limit as the largest number of pages."""
_VMSTAT: Final = "/proc/vmstat"


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """The memory of the machine, in units of 1,000,000 bytes; caches count as free."""

    total_mb: float
    used_mb: float


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


def machine_memory() -> MachineMemory:
    """Return the total and the used memory of the machine."""
    memory = psutil.virtual_memory()
    return MachineMemory(memory.total / _BYTES_PER_MB, (memory.total - memory.available) / _BYTES_PER_MB)


def is_shared_memory_small() -> bool:
    """Return whether `/dev/shm` is missing or as small as in a container, where Chrome's tabs crash."""
    if sys.platform != "linux":
        return False
    try:
        return shutil.disk_usage(SHARED_MEMORY).total < ENOUGH_SHARED_MEMORY
    except OSError:
        return True


def memory_held_mb(pids: Iterable[int]) -> float:
    """Return the memory that the processes use together, in units of 1,000,000 bytes.

    On Linux, shared pages are counted once (PSS): the resident sizes of the processes of one Chrome add
    up to more than twice the memory that is freed when it ends. macOS tells only root what a process has for
    itself, so there the resident sizes are added. A process that is not readable counts as 0.
    """
    return sum(map(_held_bytes, pids)) / _BYTES_PER_MB


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
    return 4096 * _field(_read(_VMSTAT), "pswpout")


def left_in_groups(own_groups: str, mount: Path) -> int | None:
    """Return the bytes that the control groups of the service leave to it; None if no group has a limit.

    Args:
        own_groups: The content of `/proc/self/cgroup`.
        mount: Where the control groups are mounted.
    """
    left = (_left_in_group(folder, version) for folder, version in _groups(own_groups, mount))
    return min((one for one in left if one is not None), default=None)


def _held_bytes(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        if sys.platform == "darwin":
            return int(process.memory_info().rss)
        info = process.memory_full_info()
    except (psutil.Error, OSError):
        return 0
    return int(info.pss if sys.platform == "linux" else info.uss)


@lru_cache(maxsize=1)
def _groups(own_groups: str, mount: Path) -> tuple[tuple[str, _Version], ...]:
    """Return the folders of the own group and of those above it, of each version.

    A container may see the machine's path of its group although its own group is what is mounted: folders
    that are not there are left out, and the mount itself counts.
    """
    found = list[tuple[str, _Version]]()
    for line in own_groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root, version = (mount / "memory", _V1) if controllers else (mount, _V2)
        folder = root / path.lstrip("/")
        groups = (folder, *folder.parents)
        found += [(str(group), version) for group in groups if group == root or root in group.parents]
    return tuple(found)


def _left_in_group(folder: str, version: _Version) -> int | None:
    limits = (_number(_read(f"{folder}/{name}")) for name in version.limits)
    limit = min((one for one in limits if one is not None and one < _UNLIMITED), default=None)
    if limit is None:
        return None
    usage = _number(_read(f"{folder}/{version.usage}"))
    if usage is None:
        return None
    statistics = _read(f"{folder}/memory.stat")
    cache = sum(_field(statistics, name) for name in version.cache)
    return max(0, limit - max(0, usage - cache))


def _field(text: str, name: str) -> int:
    """Return the number behind a name at the beginning of a line; 0 if there is none."""
    _, found, rest = f"\n{text}".partition(f"\n{name} ")
    return (_number(rest.partition("\n")[0]) or 0) if found else 0


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _read(path: str) -> str:
    """Return the text of a file; empty if it is not there, as on a system without control groups."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path takes thrice as long
            return file.read().decode("ascii", "replace")
    except OSError:
        return ""
