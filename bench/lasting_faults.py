"""Faults that last for some seconds: a full disk, a locked database, a log that is not read, no threads."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from tests.acceptance.disks import Disk
from tests.acceptance.service import Service
from tests.machine import remove, wait_until

DISK_MB: Final = 6000
_LOCK_WAIT_S: Final = 5.0
_DISSOLVE_S: Final = 10.0
# Version 1 and 2 of cgroups.
_PIDS_CONTROLLERS: Final = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))

LastingFault = Callable[[Service], AbstractContextManager[None]]
"""Begins a fault, and ends it when the `with` block ends."""


@contextlib.contextmanager
def own_disk(folder: Path) -> Iterator[tuple[Path, Disk | None]]:
    """Mount a disk on a folder, if mounts are allowed; remove the folder at the end."""
    disk = Disk(folder)
    try:
        if sys.platform == "win32" or os.geteuid() != 0 or not disk.mount(DISK_MB):
            yield folder, None
            return
        try:
            yield folder, disk
        finally:
            disk.unmount()
    finally:
        remove(folder)


def full(disk: Disk) -> LastingFault:
    """Return the fault that the disk of the data folder is full."""

    @contextlib.contextmanager
    def fault(_: Service) -> Iterator[None]:
        disk.leave(0)
        try:
            yield
        finally:
            disk.leave(DISK_MB)

    return fault


@contextlib.contextmanager
def locked_database(service: Service) -> Iterator[None]:
    """Hold the lock of the session database, as a backup does."""
    database = sqlite3.connect(service.data_dir / "drover.db", timeout=_LOCK_WAIT_S, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        yield
    finally:
        # Its end gives the lock back.
        database.close()


@contextlib.contextmanager
def unread_log(service: Service) -> Iterator[None]:
    """Leave unread what the service writes to its log."""
    service.reads_log.clear()
    try:
        yield
    finally:
        service.reads_log.set()


def pids_controller() -> Path | None:
    """Return where the number of processes and threads can be limited; None if that is not possible here."""
    for home in _PIDS_CONTROLLERS:
        group = home / f"drover-chaos-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        is_one = (group / "pids.max").exists()
        # On a file system that is no cgroup this removes an empty folder.
        group.rmdir()
        if is_one:
            return home
    return None


def no_threads(home: Path) -> LastingFault:
    """Return the fault that the service can start neither threads nor processes."""

    @contextlib.contextmanager
    def fault(service: Service) -> Iterator[None]:
        pid = service.process.pid
        group = home / f"drover-chaos-{os.getpid()}"
        group.mkdir()
        try:
            (group / "cgroup.procs").write_text(str(pid))
            (group / "pids.max").write_text((group / "pids.current").read_text())
            yield
        finally:
            (group / "pids.max").write_text("max")
            wait_until(lambda: _is_dissolved(group, home), "the group of the service is removed", _DISSOLVE_S)

    return fault


def _is_dissolved(group: Path, home: Path) -> bool:
    """Move the processes of a group to the one above, and remove it; return False if another one came in."""
    for pid in (group / "cgroup.procs").read_text().split():
        # It may have ended, or be a zombie.
        with contextlib.suppress(OSError):
            (home / "cgroup.procs").write_text(pid)
    try:
        group.rmdir()
    except OSError:
        return False
    return True
