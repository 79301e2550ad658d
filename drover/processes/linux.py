"""The process table of Linux, read from /proc directly.

On a machine with 5,000 processes, psutil's attributes take more than a second, the names alone about 50 ms.
So every name is read, and other attributes only if the name requires it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from drover.processes.values import Details, ProcessStatus, Stat

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
_BOOTED_BY_SYSTEMD = Path("/run/systemd/system")
_DELETED = " (deleted)"
# Fields 9 and 31 of /proc/PID/stat: a kill shows in one of them almost at once (in 200 of 200 trials), while
# a process as large as Chrome takes some milliseconds more to end.
_EXITING = 0x4
_ZOMBIE = (b"Z", b"X", b"x")
_NOT_RUNNING = (*_ZOMBIE, b"T")
_KILL_PENDING = 1 << (signal.SIGKILL - 1)


def sees_own_processes() -> bool:
    """Return whether /proc shows our PID namespace; otherwise its pids mean other processes."""
    try:
        return Path("/proc/self").readlink().name == str(os.getpid())
    except OSError:
        return False


def scan() -> dict[int, Stat]:
    """Return the inexpensive attributes of every process; one that vanishes during the scan is left out.

    Reading `stat` costs no more than reading the name alone (measured), and shows all relations.
    """
    pids = (int(entry) for entry in os.listdir("/proc") if entry[0] in "123456789")  # noqa: PTH208 - a Path for each costs more
    found = ((pid, _stat(pid)) for pid in pids)
    return {pid: stat for pid, stat in found if stat is not None}


def read_stat(pid: int) -> Stat | None:
    """Return the inexpensive attributes of a process, or None if no process has this pid."""
    return _stat(pid) or _hidden(pid)


def lives(pid: int, started: float) -> bool:
    """Return whether the process that started at this time runs; False if that takes more than one look."""
    content = _read(f"/proc/{pid}/stat", 4096)
    if not content:
        return False
    fields = content[content.rindex(b")") + 2 :].split(b" ", 30)
    return (
        fields[0] not in _NOT_RUNNING and int(fields[19]) / _TICKS_PER_S == started and not _is_ending(fields)
    )


def parse_stat(content: bytes, threads: Callable[[], Iterable[bytes]]) -> Stat:
    """Return the attributes in the content of `/proc/PID/stat`.

    Args:
        content: The line of the process, which the kernel takes from its first thread.
        threads: Returns the lines of all its threads; called only if the first thread has ended.
    """
    # The name may contain spaces and parentheses: the last parenthesis ends it.
    opened, closed = content.index(b"("), content.rindex(b")")
    fields = _after_name(content)
    # If only the first thread has ended, its state says nothing about the program, which may live. While a
    # program is killed, its first thread is often the first to end.
    headless = fields[0] in _ZOMBIE and int(fields[17]) > 1
    return Stat(
        name=content[opened + 1 : closed].decode(errors="replace"),
        status=ProcessStatus.RUNNING if headless else _status(fields[0]),
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        started=int(fields[19]) / _TICKS_PER_S,
        dying=all(_is_ending(_after_name(line)) for line in threads()) if headless else _is_ending(fields),
    )


def _stat(pid: int) -> Stat | None:
    content = _read(f"/proc/{pid}/stat", 4096)
    return parse_stat(content, lambda: _thread_stats(pid)) if content else None


def _thread_stats(pid: int) -> list[bytes]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - the names are needed alone
    except OSError:
        return []
    lines = (_read(f"/proc/{pid}/task/{thread}/stat", 4096) for thread in threads)
    return [line for line in lines if line]


def _after_name(content: bytes) -> list[bytes]:
    return content[content.rindex(b")") + 2 :].split()


def _is_ending(fields: list[bytes]) -> bool:
    return bool(int(fields[6]) & _EXITING or int(fields[28]) & _KILL_PENDING)


def read_details(pid: int) -> Details:
    """Return the expensive attributes of a process; None for each that is not readable."""
    uid, depth = _user_and_depth(pid)
    return Details(
        exe=_executable(pid),
        cmdline=_arguments(pid),
        own_user=None if uid is None else uid == os.getuid(),
        own_namespace=None if depth is None else depth == 1,
        memory_mb=_memory(pid),
    )


def read_program(pid: int) -> Details:
    """Return executable and command line of a process, to tell an init from a program.

    The executable of another user's process is hidden. That of process 1 is known all the same where systemd
    booted the system: sd_booted(3) looks for a folder that systemd alone makes.
    """
    exe = _executable(pid)
    if exe is None and pid == 1 and _BOOTED_BY_SYSTEMD.is_dir():
        exe = "systemd"
    return Details(exe=exe, cmdline=_arguments(pid) if exe is not None else None)


def folder_worked_in(pid: int) -> tuple[str, str] | None:
    """Return the working folder of a process: a path by which we reach it, and its present path.

    It is the same folder wherever it was moved to; None if it cannot be read.
    """
    link = f"/proc/{pid}/cwd"
    try:
        return link, str(Path(link).readlink())
    except OSError:
        return None


def seen_by(pid: int, path: str) -> str:
    """Return a path by which we reach what a process reaches by `path`, with its mounts and its root.

    Chrome's sandbox moves the root of helpers to an empty folder below /proc, long after their paths were
    chosen (tried with Chromium 156).
    """
    try:
        locked_up = str(Path(f"/proc/{pid}/root").readlink()).startswith("/proc/")
        if locked_up and Path(f"/proc/{pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink():
            return path
    except OSError:
        # Not readable, or gone: then nothing is found at the path below either.
        pass
    return f"/proc/{pid}/root{path}"


def pids_below(pid: int) -> list[int]:
    """Return the descendants of a Chrome's main process, if the kernel lists the children of each thread.

    Any thread of the main process forks; of the helpers, only the zygotes do, which have a single thread.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - a Path for each costs more
    except OSError:
        return []
    children = [child for thread in threads for child in _children(pid, thread)]
    grandchildren = [below for child in children for below in _children(child, child)]
    return children + grandchildren + [below for one in grandchildren for below in _children(one, one)]


def _children(pid: int, thread: int | str) -> list[int]:
    # One read returns a page of whole numbers, more than 500; a Chrome has far fewer processes.
    listed = _read(f"/proc/{pid}/task/{thread}/children", 4096)
    return [int(child) for child in listed.split()] if listed else []


def now() -> float:
    """Return the current time on the clock of `Stat.started`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _read(path: str, size: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.read(descriptor, size)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _read_all(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path for each costs more
            return file.read()
    except OSError:
        return None


def _hidden(pid: int) -> Stat | None:
    # If /proc is mounted with hidepid, it does not show the running processes of other users.
    try:
        return Stat("hidden process", ProcessStatus.RUNNING, 0, os.getpgid(pid), None, None)
    except OSError:
        return None


def _status(state: bytes) -> ProcessStatus:
    if state in _ZOMBIE:
        return ProcessStatus.ZOMBIE
    return ProcessStatus.STOPPED if state == b"T" else ProcessStatus.RUNNING


def _executable(pid: int) -> str | None:
    try:
        target = str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return None
    return target.removesuffix(_DELETED)


def _arguments(pid: int) -> tuple[str, ...] | None:
    content = _read_all(f"/proc/{pid}/cmdline")
    if not content:
        return None
    return tuple(part.decode(errors="surrogateescape") for part in content.rstrip(b"\0").split(b"\0"))


def _user_and_depth(pid: int) -> tuple[int | None, int | None]:
    content = _read(f"/proc/{pid}/status", 4096)
    uid = depth = None
    for line in (content or b"").splitlines():
        if line.startswith(b"Uid:"):
            uid = int(line.split()[1])
        elif line.startswith(b"NSpid:"):
            # One pid for each PID namespace, from ours inwards.
            depth = len(line.split()) - 1
    return uid, depth


def _memory(pid: int) -> float | None:
    content = _read(f"/proc/{pid}/statm", 128)
    return round(int(content.split()[1]) * _PAGE_MB, 1) if content else None
