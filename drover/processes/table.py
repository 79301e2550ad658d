"""The process table as a value, and the one function that reads it.

A process is identified by pid *and* start time, because the system reuses pids.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from drover.processes.cleanup.chrome_names import System, base_name, is_worth_reading, kind_of_name
from drover.processes.folders import folder_id
from drover.processes.session_mark import SessionMark, session_mark
from drover.processes.values import Details, ProcessStatus, Stat, readable

if sys.platform == "linux":
    from drover.processes import linux as reader
else:
    from drover.processes import portable as reader

_SYSTEM: System = "windows" if sys.platform == "win32" else "darwin" if sys.platform == "darwin" else "linux"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """The unique identity of a process: its pid and its start time.

    Attributes:
        started: On Linux seconds since boot, in ticks of 10 ms, which do not change when the clock is set;
            elsewhere seconds since the epoch.
    """

    pid: int
    started: float


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process at the time of the snapshot; None if a value is not readable or the system has none.

    Attributes:
        name: The base name of the executable if that is Chrome's, else the name that the kernel reports.
        own_user: Whether it runs as the user of the service.
        own_namespace: Whether it is in the PID namespace of the service (Linux).
        age_s: Seconds since it started; 0 if its start time is not readable.
        memory_mb: Resident memory in units of 1,000,000 bytes.
        mark: The session that its own command line names; see `ProcessTree.marks`.
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
    mark: SessionMark | None = None

    @property
    def is_zombie(self) -> bool:
        """Whether it has ended and was not reaped yet."""
        return self.status is ProcessStatus.ZOMBIE

    @property
    def identity(self) -> ProcessIdentity:
        """The pid with its start time.

        Raises:
            ValueError: The start time is not readable, so a later process with this pid would look the same.
        """
        if self.started is None:
            raise ValueError(f"the start time of PID {self.pid} is unknown")
        return ProcessIdentity(self.pid, self.started)


@dataclass(frozen=True)
class ProcessTable:
    """The relevant processes by pid, with their parent-child relations.

    A process that is older than its recorded parent is not its child: the real parent has ended, and its pid
    was reused (Windows never clears the parent id). Cycles of parents are detected.
    """

    rows: Mapping[int, ProcessRow]
    self_pid: int
    system: System

    def parent(self, pid: int) -> ProcessRow | None:
        """Return the parent of a process, or None if the table does not have it."""
        row = self.rows.get(pid)
        parent = self.rows.get(row.ppid) if row is not None and row.ppid != pid else None
        if row is None or parent is None:
            return None
        if row.started is not None and parent.started is not None and row.started < parent.started:
            return None
        return parent

    def ancestors(self, pid: int) -> Iterator[ProcessRow]:
        """Yield the parent, its parent, and so on."""
        seen = {pid}
        parent = self.parent(pid)
        while parent is not None and parent.pid not in seen:
            seen.add(parent.pid)
            yield parent
            parent = self.parent(parent.pid)

    def descendants(self, pid: int) -> tuple[ProcessRow, ...]:
        """Return all descendants of a process; parents come before their children."""
        by_parent: dict[int, list[int]] = {}
        for child in sorted(self.rows):
            parent = self.parent(child)
            if parent is not None:
                by_parent.setdefault(parent.pid, []).append(child)
        found: list[int] = list(by_parent.get(pid, ()))
        seen = {pid, *found}
        for descendant in found:
            fresh = [child for child in by_parent.get(descendant, ()) if child not in seen]
            seen.update(fresh)
            found.extend(fresh)
        return tuple(self.rows[descendant] for descendant in found)


class Liveness(str, Enum):
    """The current state of a process that was identified before; a zombie counts as gone.

    A dying process was killed and will do nothing more, but it is still in the table.
    """

    ALIVE = "alive"
    STOPPED = "stopped"
    DYING = "dying"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class ProcessPeek:
    """The result of a quick check of one process; if it is gone here, it is a zombie still in the table."""

    identity: ProcessIdentity
    name: str
    liveness: Liveness


def snapshot() -> ProcessTable:
    """Read every Chrome-like process and the service, with all ancestors, group leaders and session leaders.

    If /proc shows another PID namespace, the table is empty, because its pids mean other processes.
    """
    if not reader.sees_own_processes():
        return ProcessTable({}, os.getpid(), _SYSTEM)
    now = reader.now()
    stats = reader.scan()
    suspects = {pid for pid, stat in stats.items() if is_worth_reading(stat.name)}
    suspects |= _descendants(stats, {pid for pid in suspects if _may_be_driver(stats[pid])})
    drivers = {pid for pid in suspects if _may_be_driver(stats[pid])}
    stats = _with_kin(suspects | {os.getpid()} | _in_sessions_of(drivers, stats), stats)
    rows = {pid: _row(pid, stat, pid in suspects, now) for pid, stat in stats.items()}
    return ProcessTable(rows, os.getpid(), _SYSTEM)


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of the process with this pid; None if it is gone, a zombie, or not readable."""
    stat = reader.read_stat(pid)
    if stat is None or stat.started is None or stat.status is ProcessStatus.ZOMBIE:
        return None
    return ProcessIdentity(pid, stat.started)


def seconds_since_start(identity: ProcessIdentity) -> float:
    """Return how long ago this process started, in seconds."""
    return max(0.0, reader.now() - identity.started)


def liveness(identity: ProcessIdentity) -> Liveness:
    """Return the state of this process, in one quick read; another start time or a zombie is `GONE`."""
    if reader.lives(identity.pid, identity.started):
        # The usual case, as this is on the way of every command.
        return Liveness.ALIVE
    stat = reader.read_stat(identity.pid)
    # Without a readable start time there is no proof of another process, so it does not count as gone.
    if stat is None or stat.started not in (None, identity.started):
        return Liveness.GONE
    return _liveness_of(stat)


def peek(pid: int) -> ProcessPeek | None:
    """Return the process with this pid, zombie or not; None if there is none or its start is not readable."""
    stat = reader.read_stat(pid)
    if stat is None or stat.started is None:
        return None
    return ProcessPeek(ProcessIdentity(pid, stat.started), stat.name, _liveness_of(stat))


def pids_below(pid: int) -> list[int]:
    """Return the pids of the descendants of a Chrome's main process, without a scan of the process table."""
    return reader.pids_below(pid)


def _liveness_of(stat: Stat) -> Liveness:
    if stat.status is ProcessStatus.ZOMBIE:
        return Liveness.GONE
    if stat.dying:
        return Liveness.DYING
    return Liveness.STOPPED if stat.status is ProcessStatus.STOPPED else Liveness.ALIVE


def way_to_data_folder(pid: int, mark: SessionMark) -> str:
    """Return a path by which we reach the data folder that a process uses.

    ChromeDriver and Chrome work in their session's folder, wherever that was moved to. A process that works
    elsewhere, as a sandboxed helper does, uses what its path leads to, with its mounts and its root.
    """
    working = reader.folder_worked_in(pid)
    if working is not None and working[1].endswith(f"/s/{mark.name}"):
        return f"{working[0]}/../.."
    return reader.seen_by(pid, mark.data_dir)


def _descendants(stats: Mapping[int, Stat], roots: set[int]) -> set[int]:
    """Return what runs below these processes, under whatever name."""
    if not roots:
        return set()
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.ppid, []).append(pid)
    found: set[int] = set()
    pending = list(roots)
    while pending:
        fresh = [child for child in children.get(pending.pop(), ()) if child not in found]
        found.update(fresh)
        pending.extend(fresh)
    return found


def _may_be_driver(stat: Stat) -> bool:
    # Names are cut to 15 characters, as `undetected_chro` is.
    return "driver" in stat.name.lower() or stat.name.startswith("undetected_chro")


def _in_sessions_of(pids: set[int], known: Mapping[int, Stat]) -> set[int]:
    sessions = {known[pid].sid for pid in pids} - {None, 0}
    return {pid for pid, stat in known.items() if stat.sid in sessions}


def _with_kin(pids: set[int], known: Mapping[int, Stat]) -> dict[int, Stat]:
    """Return these processes with their ancestors, and the leaders and members of their process groups."""
    groups = {known[pid].pgid for pid in pids if pid in known} - {None, 0}
    pending = pids | {pid for pid, stat in known.items() if stat.pgid in groups}
    stats: dict[int, Stat] = {}
    asked: set[int] = set()
    while pending:
        pid = pending.pop()
        asked.add(pid)
        stat = known.get(pid) or reader.read_stat(pid)
        if stat is not None:
            stats[pid] = stat
            pending |= {relative for relative in (stat.ppid, stat.pgid, stat.sid) if relative} - asked
    return stats


def _row(pid: int, stat: Stat, suspect: bool, now: float) -> ProcessRow:
    details = Details()
    if stat.status is not ProcessStatus.ZOMBIE:
        details = reader.read_details(pid) if suspect else _program(pid)
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
        age_s=0.0 if stat.started is None else round(max(0.0, now - stat.started), 2),
        memory_mb=details.memory_mb,
        mark=_mark(pid, details.cmdline),
    )


def _mark(pid: int, cmdline: tuple[str, ...] | None) -> SessionMark | None:
    mark = session_mark(cmdline)
    if mark is None:
        return None
    home = folder_id(way_to_data_folder(pid, mark))
    return replace(mark, home=home, moved=home != folder_id(reader.seen_by(pid, mark.data_dir)))


def _program(pid: int) -> Details:
    """Return what tells an init from a program; for a Chrome under another name, everything."""
    program = reader.read_program(pid)
    is_chrome = program.exe is not None and kind_of_name(base_name(program.exe), _SYSTEM) is not None
    return reader.read_details(pid) if is_chrome else program


def _name(stat: Stat, exe: str | None) -> str:
    executable = base_name(exe) if exe else ""
    return executable if kind_of_name(executable, _SYSTEM) else readable(stat.name)
