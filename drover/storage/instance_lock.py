"""The lock of an instance on its data folder.

A running instance holds an operating-system lock on `<data_dir>/lock`. A session mark names the data folder,
so the command line of a process is enough to find out whether its owner is running.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from drover.core.errors import DataDirInUse, StartRefused, start_refused
from drover.processes.session_mark import OwnerState

_ACQUIRE_TIMEOUT_S = 2.0
_ACQUIRE_PAUSE_S = 0.05


def read_owner(data_dir: str, adopt_grace: float) -> OwnerState:
    """Return the state of the instance that owns a data folder.

    Args:
        adopt_grace: Seconds after its last heartbeat for which a stopped instance counts as `RECENT`.

    A missing lock proves nothing, because the folder may be in a mount namespace that we do not see. So it
    counts as `UNREADABLE`, like a lock without read permission. This check never prevents another instance
    from starting: on POSIX it tries a shared lock, and an instance retries for a while to acquire the lock.
    """
    try:
        mode = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
        with _opened(Path(data_dir) / "lock", mode) as descriptor:
            if not _is_free(descriptor):
                return OwnerState.LIVING
            silent_s = time.time() - os.fstat(descriptor).st_mtime
    except (OSError, ValueError):
        return OwnerState.UNREADABLE
    return OwnerState.RECENT if silent_s < adopt_grace else OwnerState.DEAD


class InstanceLock:
    """The lock on `<data_dir>/lock`, which shows every other process on the machine that its instance runs.

    The operating system releases it, however the process ends. The modification time of its file is the last
    heartbeat. The folder itself is locked too, where the system can, so that another instance is kept out
    even if the file is removed.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = data_dir / "lock"
        self._descriptor: int | None = None
        self._folder: int | None = None

    def acquire(self) -> None:
        """Acquire the lock; retry for two seconds, because a process that checks it may hold it briefly.

        Raises:
            DataDirInUse: Another instance holds it.
            StartRefused: The lock file cannot be opened, or its file system does not support locks.
        """
        if self._descriptor is not None:
            raise self._in_use()
        self._take_both()
        self._touch()

    def renew(self) -> bool:
        """Set the heartbeat; first lock the file and the folder anew if they were removed or replaced.

        Returns:
            Whether they were.

        Raises:
            DataDirInUse: Another instance has locked them in the meantime; this one still holds the old ones.
            StartRefused: The lock file cannot be created.
            OSError: The heartbeat cannot be written.
        """
        if self._descriptor is None:
            return False
        is_whole = _is_still(self._path, self._descriptor) and (
            self._folder is None or _is_still(self._data_dir, self._folder)
        )
        if not is_whole:
            before = {self._descriptor, self._folder}
            self._take_both()
            _close(before - {self._descriptor, self._folder})
        self._touch()
        return not is_whole

    def release(self) -> None:
        """Release the lock, with a last sign of life; do nothing if it is not held.

        Raises:
            OSError: The sign of life could not be written; the lock is released all the same.
        """
        if self._descriptor is None:
            return
        try:
            self._touch()
        finally:
            held = {self._descriptor, self._folder}
            self._descriptor = self._folder = None
            _close(held)

    def _touch(self) -> None:
        """Set the heartbeat to the current time."""
        if self._descriptor is not None and os.utime in os.supports_fd:
            os.utime(self._descriptor)
        else:
            os.utime(self._path)

    def _in_use(self) -> DataDirInUse:
        return DataDirInUse(
            f"another instance of Drover uses {self._data_dir}: stop it, or set DROVER_DATA_DIR to another "
            "folder"
        )

    def _take_both(self) -> None:
        deadline = time.monotonic() + _ACQUIRE_TIMEOUT_S
        while not self._try():
            if time.monotonic() >= deadline:
                raise self._in_use()
            time.sleep(_ACQUIRE_PAUSE_S)

    def _try(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise start_refused(
                f"DROVER_DATA_DIR is {self._data_dir}: its lock {self._path} cannot be opened "
                f"({error.strerror}); free some disk space, or choose a folder that this user can write to",
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
        if not (taken and self._try_folder()):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def _try_folder(self) -> bool:
        """Lock the folder, if the system can; return whether no other instance has locked it."""
        if self._folder is not None and _is_still(self._data_dir, self._folder):
            return True
        try:
            descriptor = os.open(self._data_dir, os.O_RDONLY)
        except OSError:
            # Windows opens no folders, but there the lock file cannot be removed while it is open.
            self._folder = None
            return True
        try:
            if _take(descriptor):
                self._folder = descriptor
                return True
        except OSError:
            # Some network shares lock files, but no folders.
            self._folder = None
            os.close(descriptor)
            return True
        os.close(descriptor)
        return False


@contextmanager
def _opened(path: Path, mode: int) -> Iterator[int]:
    # The path comes from a command line, which is untrusted: follow no link, and do not block on a pipe.
    safe_flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, mode | safe_flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _close(descriptors: Iterable[int | None]) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            _release(descriptor)
            os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    # A lock on a file that was deleted in the meantime would not keep other instances out.
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

    def _release(descriptor: int) -> None:
        """Do nothing: the lock ends when the descriptor is closed."""

    def _is_free(descriptor: int) -> bool:
        # The C library of Windows has no shared locks: acquire the lock briefly and release it.
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

    def _release(descriptor: int) -> None:
        # A child that is being started has a copy of the descriptor until it runs its program, and Linux lets
        # its parent go on shortly before: closing ours would not end the lock yet.
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _is_free(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return True
