"""The lock of an instance on its data folder.

The instance holds an operating-system lock on `<data_dir>/lock` while it lives. A session's mark names the
data folder, so anybody can read from a command line whether the owner of a process lives.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drover.core.errors import DataDirInUse, StartRefused, start_refused
from drover.processes.session_mark import OwnerState

_ACQUIRE_PATIENCE_S = 2.0
_ACQUIRE_PAUSE_S = 0.05


def read_owner(data_dir: str, adopt_grace: float) -> OwnerState:
    """Tell whether the instance that owns a data folder lives.

    Args:
        adopt_grace: Seconds since its last sign of life for which a stopped instance counts as `RECENT`.

    A lock that is missing proves nothing (the folder may lie in a mount namespace that we do not see), so it
    is `UNREADABLE` as well as one that may not be read. The lock is never taken from an instance that starts:
    on POSIX a shared lock is tried, and an instance that acquires it tries again for a while.
    """
    try:
        with _opened(
            Path(data_dir) / "lock", os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
        ) as descriptor:
            if not _is_free(descriptor):
                return OwnerState.LIVING
            silent_s = time.time() - os.fstat(descriptor).st_mtime
    except (OSError, ValueError):
        return OwnerState.UNREADABLE
    return OwnerState.RECENT if silent_s < adopt_grace else OwnerState.DEAD


class InstanceLock:
    """The lock on `<data_dir>/lock` that says to every other process on the machine: its instance lives.

    The operating system releases it however the process ends. Its file's modification time is the last sign
    of life.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = data_dir / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; retries for two seconds, since somebody who reads it may hold it for an instant.

        Raises:
            DataDirInUse: Another instance holds it.
            StartRefused: The lock file cannot be opened, or its file system has no locks.
        """
        deadline = time.monotonic() + _ACQUIRE_PATIENCE_S
        while not self._try():
            if time.monotonic() >= deadline:
                raise DataDirInUse(
                    f"another instance of Drover uses {self._data_dir}: stop it, or set DROVER_DATA_DIR to a "
                    "folder of its own for this one"
                )
            time.sleep(_ACQUIRE_PAUSE_S)
        self.touch()

    def touch(self) -> None:
        """Set the sign of life to now."""
        if self._descriptor is None:
            return
        if os.utime in os.supports_fd:
            os.utime(self._descriptor)
        else:
            os.utime(self._path)

    def release(self) -> None:
        """Give the lock back, with a last sign of life; does nothing when it is not held."""
        if self._descriptor is None:
            return
        self.touch()
        descriptor, self._descriptor = self._descriptor, None
        os.close(descriptor)

    def _try(self) -> bool:
        if self._descriptor is not None:
            return False
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise start_refused(
                f"DROVER_DATA_DIR is {self._data_dir}: its lock {self._path} cannot be opened "
                f"({error.strerror}); make room, or choose a folder that this user can write to",
                error,
            ) from error
        try:
            taken = _take(descriptor) and _is_still(self._path, descriptor)
        except OSError as error:
            os.close(descriptor)
            raise StartRefused(
                f"DROVER_DATA_DIR is {self._data_dir}: it cannot be locked ({error.strerror}), as on some "
                "network shares; choose a folder on a local disk"
            ) from error
        if not taken:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True


@contextmanager
def _opened(path: Path, mode: int) -> Iterator[int]:
    # A command line is not ours to trust: no link is followed, and a pipe must not block us.
    cautious = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, mode | cautious)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no file")
        yield descriptor
    finally:
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    # A lock on a file that somebody has deleted meanwhile would keep nobody out.
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _is_free(descriptor: int) -> bool:
        # Windows has no shared lock in its C library: it is taken for an instant and given back.
        if not _take(descriptor):
            return False
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        return True

else:
    import fcntl

    def _take(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _is_free(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return True
