"""The process table of Windows and macOS, read through psutil."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil

from drover.processes import toolhelp
from drover.processes.cleanup.chrome_names import is_worth_reading
from drover.processes.values import Details, ProcessStatus, Stat

_Value = TypeVar("_Value")


def sees_own_processes() -> bool:
    """Return whether the table shows our own processes: outside Linux it always does."""
    return True


def scan() -> dict[int, Stat]:
    """Return the inexpensive attributes of every process whose name may be Chrome's or a driver's.

    They are expensive here for each further process; one that vanishes during the scan is left out.
    """
    if sys.platform == "win32":
        found = ((entry.pid, _stat_of(entry)) for entry in toolhelp.entries() if is_worth_reading(entry.name))
    else:
        found = ((pid, read_stat(pid)) for pid, name in _names() if is_worth_reading(name))
    return {pid: stat for pid, stat in found if stat is not None}


def _stat_of(entry: toolhelp.Entry) -> Stat | None:
    """Return the attributes of a process in a snapshot, which does not show whether it is suspended."""
    try:
        started = _or_none(psutil.Process(entry.pid).create_time)
    except psutil.NoSuchProcess:
        return None
    return Stat(entry.name, ProcessStatus.RUNNING, entry.ppid, None, None, started)


def _names() -> Iterator[tuple[int, str]]:
    # Not process_iter(): its cache can combine an old start time with the name of a new process.
    for pid in psutil.pids():
        try:
            yield pid, psutil.Process(pid).name()
        except psutil.Error:
            continue


def read_stat(pid: int) -> Stat | None:
    """Return the inexpensive attributes of a process, or None if no process has this pid."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Stat(
                name=_or_none(process.name) or "unknown",
                status=_status(_or_none(process.status)),
                ppid=_or_none(process.ppid) or 0,
                pgid=_group(pid),
                sid=_session(pid),
                started=_or_none(process.create_time),
            )
    except psutil.NoSuchProcess:
        return None


def lives(pid: int, started: float) -> bool:
    """Return whether the process that started at this time runs."""
    stat = read_stat(pid)
    return stat is not None and stat.started == started and stat.status is ProcessStatus.RUNNING


def read_details(pid: int) -> Details:
    """Return the expensive attributes of a process; None for each that is not readable."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Details(
                exe=_or_none(process.exe) or None,
                cmdline=tuple(_or_none(process.cmdline) or ()) or None,
                own_user=_own_user(process),
                own_namespace=None,
                memory_mb=_memory(process),
            )
    except psutil.NoSuchProcess:
        return Details()


def read_program(pid: int) -> Details:
    """Return executable and command line of a process, to tell an init from a program."""
    try:
        process = psutil.Process(pid)
        return Details(
            exe=_or_none(process.exe) or None, cmdline=tuple(_or_none(process.cmdline) or ()) or None
        )
    except psutil.NoSuchProcess:
        return Details()


def folder_worked_in(_pid: int) -> tuple[str, str] | None:
    """Return None: a folder that was moved is found on Linux only."""
    return None


def seen_by(_pid: int, path: str) -> str:
    """Return a path by which we reach what a process reaches by `path`: the same, outside Linux."""
    return path


def pids_below(pid: int) -> list[int]:
    """Return the descendants of a process."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def now() -> float:
    """Return the current time on the clock of `Stat.started`."""
    return time.time()


def _or_none(read: Callable[[], _Value]) -> _Value | None:
    # ZombieProcess is a subclass of NoSuchProcess, but a zombie still has a status and a parent.
    try:
        return read()
    except (psutil.AccessDenied, psutil.ZombieProcess, OSError):
        return None


def _status(status: str | None) -> ProcessStatus:
    if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
        return ProcessStatus.ZOMBIE
    return ProcessStatus.STOPPED if status == psutil.STATUS_STOPPED else ProcessStatus.RUNNING


def _group(pid: int) -> int | None:
    if sys.platform == "win32":
        return None
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _session(pid: int) -> int | None:
    if sys.platform == "win32":
        return None
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _own_user(process: psutil.Process) -> bool | None:
    if sys.platform == "win32":
        name = _or_none(process.username)
        return None if name is None else name == _user_name()
    uids = _or_none(process.uids)
    return None if uids is None else uids.real == os.getuid()


@functools.cache
def _user_name() -> str:
    # Windows may ask the domain controller for it.
    return psutil.Process().username()


def _memory(process: psutil.Process) -> float | None:
    info = _or_none(process.memory_info)
    return None if info is None else round(info.rss / 1e6, 1)
