"""What the readers of the process table hand over: plain values, the same from every system."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ProcessStatus(str, Enum):
    """The state of a process; everything alive that is not stopped is `RUNNING`."""

    RUNNING = "running"
    STOPPED = "stopped"
    ZOMBIE = "zombie"


@dataclass(frozen=True, slots=True)
class Stat:
    """The cheap facts of one process, which one look gives.

    Attributes:
        started: Seconds since boot on Linux, since the epoch elsewhere; None where it cannot be read.
        dying: It was killed and has not ended yet; only Linux tells.
    """

    name: str
    status: ProcessStatus
    ppid: int
    pgid: int | None
    sid: int | None
    started: float | None
    dying: bool = False


@dataclass(frozen=True, slots=True)
class Details:
    """The dear facts of one process, read for Chrome-like ones only; None is what cannot be read."""

    exe: str | None = None
    cmdline: tuple[str, ...] | None = None
    own_user: bool | None = None
    own_namespace: bool | None = None
    memory_mb: float | None = None
