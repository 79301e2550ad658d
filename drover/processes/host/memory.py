"""Memory of the machine, memory of processes, and the size of shared memory."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

_BYTES_PER_MB = 1_000_000
ENOUGH_SHARED_MEMORY = 1 << 30
"""Bytes of shared memory; below this, Chrome is configured to use files instead."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only its size is read


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """The memory of the machine, in units of 1,000,000 bytes; caches count as free."""

    total_mb: float
    used_mb: float


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


def _held_bytes(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        if sys.platform == "darwin":
            return int(process.memory_info().rss)
        info = process.memory_full_info()
    except (psutil.Error, OSError):
        return 0
    return int(info.pss if sys.platform == "linux" else info.uss)
