"""The clock by which a node judges itself and others; it goes on while the machine sleeps."""

from __future__ import annotations

import time
from typing import Final

JUMP_S: Final = 1.0


def now() -> float:
    """Return the seconds of a clock that nobody can set, and that includes the time of a suspend.

    `time.monotonic()` stands still on Linux while the machine sleeps, so that a laptop which wakes up would
    serve on for as long as before.
    """
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class FreezeWatch:
    """Notices that a virtual machine was frozen: only the wall clock, once it is set, shows that."""

    def __init__(self) -> None:
        self._offset = time.time() - now()

    def has_jumped(self) -> bool:
        """Return whether the wall clock has moved against the other one since the last call."""
        before, self._offset = self._offset, time.time() - now()
        return abs(self._offset - before) > JUMP_S
