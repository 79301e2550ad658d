"""Values that the readers of the process table return, the same on every system."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ProcessStatus(str, Enum):
    """The state of a process; a live process that is not stopped is `RUNNING`."""

    RUNNING = "running"
    STOPPED = "stopped"
    ZOMBIE = "zombie"


@dataclass(frozen=True, slots=True)
class Stat:
    """The attributes of a process that are inexpensive to read (one read of /proc on Linux).

    Attributes:
        started: Seconds since boot on Linux, since the epoch elsewhere; None if it is not readable.
        dying: Whether it was killed and has not ended yet; known on Linux only.
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
    """The attributes that are expensive to read; read for Chrome-like processes only. None: not readable."""

    exe: str | None = None
    cmdline: tuple[str, ...] | None = None
    own_user: bool | None = None
    own_namespace: bool | None = None
    memory_mb: float | None = None


def readable(text: str) -> str:
    """Return text that can be shown: bytes that were no UTF-8 (surrogates in Python) become U+FFFD.

    Names and command lines keep their bytes, since they are compared; only what is shown changes.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
