"""How much memory processes hold."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """The memory of the machine, in units of 1,000,000 bytes; what caches hold counts as free."""

    total_mb: float
    used_mb: float


def machine_memory() -> MachineMemory:
    """Give how much memory the machine has, and how much of it is taken."""
    memory = psutil.virtual_memory()
    return MachineMemory(memory.total / _BYTES_PER_MB, (memory.total - memory.available) / _BYTES_PER_MB)


def memory_held_mb(pids: Iterable[int]) -> float:
    """Give what the processes hold together, in units of 1,000,000 bytes.

    Pages that they share are counted once on Linux (PSS): the resident sizes of one Chrome's
    processes add up to more than twice of what ends with it. What cannot be read counts as nothing.
    """
    return sum(map(_held_bytes, pids)) / _BYTES_PER_MB


def _held_bytes(pid: int) -> int:
    try:
        info = psutil.Process(pid).memory_full_info()
    except (psutil.Error, OSError):
        return 0
    held: int = info.pss if sys.platform == "linux" else info.uss
    return held
