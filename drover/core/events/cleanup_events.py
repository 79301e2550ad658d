"""Events of cleanups and emergency recoveries."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from drover.core.events.event import Event

DRIVER = "driver"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


@dataclass(frozen=True)
class CleanupTriggered(Event):
    """A cleanup of orphans was requested."""

    is_fixed = True
    text = "🔧 Orphaned process cleanup triggered"


@dataclass(frozen=True)
class ActiveDrivers(Event):
    """The ChromeDrivers that a cleanup leaves alone, because sessions use them."""

    is_fixed = True
    pids: tuple[int, ...]

    @property
    def message(self) -> str:
        return f"Active ChromeDriver PIDs: {{{', '.join(map(str, self.pids))}}}"


@dataclass(frozen=True)
class KillingProcess(Event):
    """A process is about to be ended.

    Attributes:
        role: A `Role` of `drover.processes.cleanup.chrome_names`, as text.
    """

    is_fixed = True
    pid: int
    role: str
    orphaned: bool

    @property
    def message(self) -> str:
        name = "ChromeDriver" if self.role == DRIVER else "Chrome"
        return f"Killing {'orphaned ' if self.orphaned else ''}{name} process: PID {self.pid}"


@dataclass(frozen=True)
class ProcessSurvived(Event):
    """A process could not be ended."""

    level = logging.WARNING
    text = "Process PID {pid} could not be ended: {why}"
    timeline_kind = "trouble"
    pid: int
    why: str


@dataclass(frozen=True)
class CleanupFinished(Event):
    """A cleanup has finished.

    Attributes:
        killed_count: Processes that were verified to be gone.
        removed_profiles: Session folders that were removed.
        failed_count: Processes that could not be ended.
    """

    is_fixed = True
    killed_count: int
    removed_profiles: int
    failed_count: int = 0

    @property
    def message(self) -> str:
        if self.killed_count == 0 and self.failed_count:
            return f"None of {self.failed_count} orphaned Chrome/ChromeDriver processes could be ended"
        if self.killed_count == 0:
            return "✅ No orphaned processes found"
        return f"✅ Killed {self.killed_count} orphaned Chrome/ChromeDriver processes"

    @property
    def timeline(self) -> tuple[str, str] | None:
        if not self.killed_count and not self.removed_profiles:
            # Every recovery begins with a cleanup, and most of those find nothing.
            return None
        ended = _counted(self.killed_count, "orphaned process", "orphaned processes")
        removed = _counted(self.removed_profiles, "profile folder", "profile folders")
        return "cleanup", f"Cleanup: {ended} ended, {removed} removed"


@dataclass(frozen=True)
class CleanupFailed(Event):
    """A cleanup failed or took too long; its trigger continues without it."""

    level = logging.ERROR
    text = "Orphaned process cleanup failed: {error}"
    timeline_kind = "trouble"
    error: str


@dataclass(frozen=True)
class EmergencyStarted(Event):
    """Every Chrome on the machine is about to be ended."""

    level = logging.WARNING
    is_fixed = True
    text = "🚨 EMERGENCY RECOVERY: Killing ALL Chrome instances"
    timeline_kind = "emergency"
    timeline_text = "Emergency recovery: ending every Chrome on this machine"


@dataclass(frozen=True)
class EmergencyFinished(Event):
    """An emergency recovery has finished; `killed_count` processes were verified to be gone.

    Attributes:
        sessions: The ids of the sessions that there were.
    """

    level = logging.WARNING
    is_fixed = True
    text = "🚨 Emergency recovery killed {killed_count} processes"
    killed_count: int
    sessions: tuple[str, ...] = ()

    @property
    def timeline(self) -> tuple[str, str] | None:
        ended = _counted(self.killed_count, "process", "processes")
        return "emergency", f"Emergency recovery done: {ended} ended, all sessions forgotten"


@dataclass(frozen=True)
class SessionDataCleared(Event):
    """All sessions and mappings were cleared."""

    is_fixed = True
    text = "🗑️ Cleared all session data"


@dataclass(frozen=True)
class SessionDataNotCleared(Event):
    """An emergency recovery could not delete the sessions from the disk; that is retried until it is done."""

    level = logging.ERROR
    text = "Session data is not cleared on disk yet: {error}"
    error: str
