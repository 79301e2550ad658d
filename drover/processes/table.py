"""The process table as a value, and the one function that reads it.

A process is a pid *and* a start time: the number alone is given to another process sooner or later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from drover.processes.cleanup.chrome_names import System, base_name, kind_of_name, may_be_chrome
from drover.processes.values import Details, ProcessStatus, Stat

if sys.platform == "linux":
    from drover.processes import linux as reader
else:
    from drover.processes import portable as reader

__all__ = [
    "Liveness",
    "ProcessIdentity",
    "ProcessRow",
    "ProcessStatus",
    "ProcessTable",
    "identify",
    "liveness",
    "snapshot",
]

_SYSTEM: System = "windows" if sys.platform == "win32" else "darwin" if sys.platform == "darwin" else "linux"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process for ever: its pid and when it started.

    Attributes:
        started: On Linux seconds since boot, in ticks of 10 ms, which do not move when the clock is set;
            elsewhere seconds since the epoch.
    """

    pid: int
    started: float


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process as it was at the snapshot; None is what could not be read, or what the system has not.

    Attributes:
        name: The executable's base name where that is Chrome's, else the name that the kernel gives.
        own_user: Whether it runs as the user that we run as.
        own_namespace: Whether it lives in our PID namespace (Linux).
        age_s: Seconds since it started, 0 where that cannot be read.
        memory_mb: Resident memory in units of 1,000,000 bytes.
    """

    pid: int
    ppid: int
    started: float | None
    name: str
    exe: str | None = None
    cmdline: tuple[str, ...] | None = None
    status: ProcessStatus = ProcessStatus.RUNNING
    own_user: bool | None = None
    pgid: int | None = None
    sid: int | None = None
    own_namespace: bool | None = None
    age_s: float = 0.0
    memory_mb: float | None = None

    @property
    def identity(self) -> ProcessIdentity:
        """The pid with its start time.

        Raises:
            ValueError: The start time could not be read, so nothing tells this process from a later one.
        """
        if self.started is None:
            raise ValueError(f"the start time of PID {self.pid} is unknown")
        return ProcessIdentity(self.pid, self.started)


@dataclass(frozen=True)
class ProcessTable:
    """The processes that matter here, by pid, and how they descend from one another.

    A "child" that is older than its parent is none: its parent has ended and the number was given away
    (Windows never clears it). A chain of parents that runs in a circle ends.
    """

    rows: Mapping[int, ProcessRow]
    self_pid: int
    system: System

    def parent(self, pid: int) -> ProcessRow | None:
        """Give the row of the process's parent, or None if it has none here."""
        row = self.rows.get(pid)
        parent = self.rows.get(row.ppid) if row is not None and row.ppid != pid else None
        if row is None or parent is None:
            return None
        if row.started is not None and parent.started is not None and row.started < parent.started:
            return None
        return parent

    def ancestors(self, pid: int) -> Iterator[ProcessRow]:
        """Give the parent, its parent, and so on."""
        seen = {pid}
        parent = self.parent(pid)
        while parent is not None and parent.pid not in seen:
            seen.add(parent.pid)
            yield parent
            parent = self.parent(parent.pid)

    def children(self, pid: int) -> tuple[ProcessRow, ...]:
        """Give the processes whose parent this is, by pid."""
        return tuple(self.rows[child] for child in self._children_by_parent().get(pid, ()))

    def descendants(self, pid: int) -> tuple[ProcessRow, ...]:
        """Give children, their children, and so on; parents come before their children."""
        by_parent = self._children_by_parent()
        found: list[int] = list(by_parent.get(pid, ()))
        seen = {pid, *found}
        for descendant in found:
            fresh = [child for child in by_parent.get(descendant, ()) if child not in seen]
            seen.update(fresh)
            found.extend(fresh)
        return tuple(self.rows[descendant] for descendant in found)

    def _children_by_parent(self) -> dict[int, list[int]]:
        by_parent: dict[int, list[int]] = {}
        for pid in sorted(self.rows):
            parent = self.parent(pid)
            if parent is not None:
                by_parent.setdefault(parent.pid, []).append(pid)
        return by_parent


class Liveness(str, Enum):
    """What has become of a process that was identified before; a zombie is gone.

    One that is dying was killed and will do nothing more, but has not been seen gone.
    """

    ALIVE = "alive"
    STOPPED = "stopped"
    DYING = "dying"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class ProcessPeek:
    """What one cheap look tells of a process; one that is gone is defunct, but stands in the table."""

    identity: ProcessIdentity
    name: str
    liveness: Liveness


def snapshot() -> ProcessTable:
    """Read every Chrome-like process and ourselves, with all ancestors and leaders of groups and sessions.

    Where /proc shows another PID namespace's numbers, the table is empty: they would mean other processes.
    """
    if not reader.sees_own_processes():
        return ProcessTable({}, os.getpid(), _SYSTEM)
    moment = reader.now()
    suspects = {pid for pid, name in reader.names() if may_be_chrome(name)}
    stats = _read_with_kin(suspects | {os.getpid()})
    rows = {pid: _row(pid, stat, pid in suspects, moment) for pid, stat in stats.items()}
    return ProcessTable(rows, os.getpid(), _SYSTEM)


def identify(pid: int) -> ProcessIdentity | None:
    """Give the identity of the process that has this pid now; None if there is none, or a zombie."""
    stat = reader.read_stat(pid)
    if stat is None or stat.started is None or stat.status is ProcessStatus.ZOMBIE:
        return None
    return ProcessIdentity(pid, stat.started)


def liveness(identity: ProcessIdentity) -> Liveness:
    """Tell whether this very process lives: another start time or a zombie is `GONE`. One cheap look."""
    stat = reader.read_stat(identity.pid)
    # What hides its start time is not proven to be another process, so it is not called gone.
    if stat is None or stat.started not in (None, identity.started):
        return Liveness.GONE
    return _liveness_of(stat)


def peek(pid: int) -> ProcessPeek | None:
    """Give whatever has this pid now, defunct or not; None if there is nothing, or it hides its start."""
    stat = reader.read_stat(pid)
    if stat is None or stat.started is None:
        return None
    return ProcessPeek(ProcessIdentity(pid, stat.started), stat.name, _liveness_of(stat))


def _liveness_of(stat: Stat) -> Liveness:
    if stat.status is ProcessStatus.ZOMBIE:
        return Liveness.GONE
    if stat.dying:
        return Liveness.DYING
    return Liveness.STOPPED if stat.status is ProcessStatus.STOPPED else Liveness.ALIVE


def _read_with_kin(pids: set[int]) -> dict[int, Stat]:
    stats: dict[int, Stat] = {}
    asked: set[int] = set()
    pending = set(pids)
    while pending:
        pid = pending.pop()
        asked.add(pid)
        stat = reader.read_stat(pid)
        if stat is not None:
            stats[pid] = stat
            pending |= {kin for kin in (stat.ppid, stat.pgid, stat.sid) if kin} - asked
    return stats


def _row(pid: int, stat: Stat, suspect: bool, moment: float) -> ProcessRow:
    details = reader.read_details(pid) if suspect and stat.status is not ProcessStatus.ZOMBIE else Details()
    return ProcessRow(
        pid=pid,
        ppid=stat.ppid,
        started=stat.started,
        name=_name(stat, details.exe),
        exe=details.exe,
        cmdline=details.cmdline,
        status=stat.status,
        own_user=details.own_user,
        pgid=stat.pgid,
        sid=stat.sid,
        own_namespace=details.own_namespace,
        age_s=0.0 if stat.started is None else round(max(0.0, moment - stat.started), 2),
        memory_mb=details.memory_mb,
    )


def _name(stat: Stat, exe: str | None) -> str:
    executable = base_name(exe) if exe else ""
    return executable if kind_of_name(executable, _SYSTEM) else stat.name
