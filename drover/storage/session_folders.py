"""Session folders: created with a marker file, and removed only if they have it.

A folder is ours if it is a direct child of `<data_dir>/s`, a real folder, and contains the marker file.
Nothing else is ever removed, and no symbolic link is followed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import string
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drover.core.errors import BrowserUnavailable, StartRefused, StorageUnavailable, start_refused
from drover.processes.folders import folder_id
from drover.processes.session_mark import MarkedSession, SessionMark, session_mark
from drover.storage.kept_profiles import PAUSES_S, KeptProfiles
from drover.storage.room import RoomWatch

_MARKER: Final = ".drover"
_NAME = re.compile(r"[a-z0-9]{8}")
_ALPHABET: Final = string.ascii_lowercase + string.digits

# Chrome creates sockets in its temp folder, and crashes at its start if their paths are too long. On macOS
# the longest is that of Chrome for Testing: `/com.google.chrome.for.testing.XXXXXX/SingletonSocket` below it.
_LONGEST_TEMP_PATH: Final = {"linux": 62, "darwin": 50}

# Chrome's own files have up to some 100 characters below the profile, and Windows' limit is 260 (MAX_PATH).
_LONGEST_WINDOWS_PATH: Final = 140


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """The folder of one session; `path` is `<data_dir>/s/<name>`."""

    path: Path

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return self.path.parent.parent

    def marked_session(self) -> MarkedSession:
        """Return what the marks of its processes have in common, whatever path they name."""
        return (folder_id(self.data_dir), self.path.name)

    @property
    def profile(self) -> Path:
        """The profile, the value of Chrome's `--user-data-dir=`."""
        return self.path / "p"

    @property
    def temp(self) -> Path:
        """The folder for temporary files and sockets of ChromeDriver and Chrome."""
        return self.path / "t"

    @property
    def downloads(self) -> Path:
        """The folder for Chrome's downloads."""
        return self.path / "d"

    @property
    def uploads(self) -> Path:
        """The folder for files that the client uploads to pages."""
        return self.path / "u"

    @property
    def extensions(self) -> Path:
        """Where the extensions that a client sent are unpacked; there only if there are any."""
        return self.path / "e"

    @property
    def crashes(self) -> Path:
        """The crash database, the value of the crash handlers' `--database=`."""
        return self.path / "c"

    @property
    def driver_log(self) -> Path:
        """The log of ChromeDriver, the value of its `--log-path=`."""
        return self.path / "chromedriver.log"

    @property
    def driver_output(self) -> Path:
        """The standard output and error of ChromeDriver."""
        return self.path / "chromedriver.out"


class SessionFolders:
    """The session folders of one data folder; creates, lists and removes them. Thread-safe.

    Attributes:
        data_dir: The data folder, as the command lines of its sessions name it.
        room: Whether there is room for a new session on the disk.
        kept: The profiles that outlive their session.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.room = RoomWatch(data_dir)
        self.kept = KeptProfiles(data_dir)
        self._root = data_dir / "s"

    def check(self) -> None:
        """Create the data folder and check that it is usable.

        Raises:
            StartRefused: It is not writable, or its path is not usable.
        """
        self.check_path()
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.mkdir(mode=0o700, exist_ok=True)
            if not is_real_folder(self._root):
                raise StartRefused(f"{self._root} is a symbolic link: set DROVER_DATA_DIR to another folder")
            probe = self._root / f".probe-{secrets.token_hex(4)}"
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            reason = f"{error.strerror}; free some disk space, or choose a folder that this user can write to"
            raise start_refused(f"DROVER_DATA_DIR is {self.data_dir}: {reason}", error) from error

    def put_back(self) -> bool:
        """Create the data folder anew if it was removed; return whether it was.

        Raises:
            OSError: It cannot be created, or something else is in its place.
        """
        if is_real_folder(self._root):
            return False
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root.mkdir(mode=0o700, exist_ok=True)
        if not is_real_folder(self._root):
            raise NotADirectoryError(errno.ENOTDIR, f"{self._root} is a symbolic link")
        return True

    def check_path(self) -> None:
        """Check whether the path of the data folder is usable, without creating anything.

        Raises:
            StartRefused: It is not UTF-8, too long for Chrome's sockets, or not recognized on a command line.
        """
        if sys.platform != "win32" and not _is_utf_8(self.data_dir):
            raise StartRefused(
                f"DROVER_DATA_DIR is {str(self.data_dir)!a}: ChromeDriver takes its path for UTF-8, which it "
                "is not in this locale; set LC_ALL=C.UTF-8, or choose a path of ASCII characters"
            )
        sample = SessionFolder(self._root / "00000000")
        length, longest = len(os.fsencode(sample.temp)), _LONGEST_TEMP_PATH.get(sys.platform)
        if longest is not None and length > longest:
            raise StartRefused(
                f"DROVER_DATA_DIR is {self.data_dir}: its path is {length - longest} characters too long "
                "for Chrome's sockets; choose a shorter path"
            )
        if sys.platform == "win32" and len(str(self.data_dir)) > _LONGEST_WINDOWS_PATH:
            raise StartRefused(
                f"DROVER_DATA_DIR is {self.data_dir}: with more than {_LONGEST_WINDOWS_PATH} characters the "
                "paths of Chrome's files are too long for Windows; choose a shorter path"
            )
        mark = SessionMark(str(self.data_dir), str(sample.path))
        if session_mark([f"chrome --type=renderer --user-data-dir={sample.profile} --lang=en"]) != mark:
            raise StartRefused(f"DROVER_DATA_DIR is {self.data_dir}: choose an absolute path without ' --'")

    def choose(self) -> SessionFolder:
        """Return a new folder with a random name, without creating it, so that it can be protected first."""
        return SessionFolder(self._root / "".join(secrets.choice(_ALPHABET) for _ in range(8)))

    def make(self, folder: SessionFolder) -> None:
        """Create the chosen folder of a new session with all its parts, if there is room for one.

        Raises:
            StorageUnavailable: The disk is almost full.
            BrowserUnavailable: The folder cannot be created; the data folder may be missing.
        """
        self.room.read()
        if self.room.shortage is not None:
            raise StorageUnavailable(self.room.shortage)
        self._make(folder)

    def _make(self, folder: SessionFolder) -> None:
        """Create a folder with all its parts, accessible to the user of the service only."""
        with creating(folder):
            folder.path.mkdir(mode=0o700)
            (folder.path / _MARKER).touch(mode=0o600, exist_ok=False)
            create_parts(folder)

    def complete(self, folder: SessionFolder) -> None:
        """Restore the marker of a folder that belongs to a session in the list, or the whole folder.

        Raises:
            BrowserUnavailable: The disk is full, or something else is in its place.
        """
        self.reclaim(folder)
        if not self._is_ours(folder.path):
            self._make(folder)

    def reset(self, folder: SessionFolder) -> None:
        """Empty the profile of a session that has never had a browser.

        Raises:
            BrowserUnavailable: A file could not be removed, or the disk is full.
        """
        with creating(folder):
            self.kept.bring_back(folder.path)
            for part in (folder.profile, folder.temp, folder.crashes):
                remove_tree(part)
            create_parts(folder)

    def reclaim(self, folder: SessionFolder) -> None:
        """Restore the marker of a folder that belongs to a session in the list, if it was deleted.

        Only the list shows that the folder is ours; never call this for a folder without a session.
        """
        if self._has_our_location(folder.path):
            with suppress(OSError):
                (folder.path / _MARKER).touch(mode=0o600)

    def remove(self, folder: SessionFolder) -> bool:
        """Remove a session folder with all its content; return whether it is gone.

        Retries after 0.2, 0.4 and 0.8 s. A folder that is not ours by location, type and marker is left
        alone. An empty folder without a marker in `<data_dir>/s` was created incompletely and is removed too.
        A profile in it that is kept for a key is moved out first; the folder stays if that fails.
        """
        for pause in (*PAUSES_S, None):
            if not os.path.lexists(folder.path):
                return True
            if self._is_ours(folder.path):
                self._remove_without_kept(folder.path)
            elif not self._has_our_location(folder.path) or not _remove_empty(folder.path):
                break
            if pause is not None and os.path.lexists(folder.path):
                time.sleep(pause)
        return not os.path.lexists(folder.path)

    def _remove_without_kept(self, path: Path) -> None:
        """Remove a folder, unless the profile in it that is kept for a key cannot be moved out now."""
        try:
            self.kept.bring_back(path)
        except OSError:
            # The disk is full, or a file is open: the profile is worth more than the room that it takes.
            return
        _remove_marked(path)

    def forget_kept(self) -> None:
        """Remove all profiles that are kept for keys, also those that are in the folders of sessions."""
        self.kept.forget_all()
        # Last, as starts may have taken some until all were forgotten.
        for folder in self.present():
            with suppress(OSError):
                self.kept.unmark(folder.path)

    def present(self) -> tuple[SessionFolder, ...]:
        """Return all existing folders that `remove` would remove, with or without a session."""
        return tuple(
            SessionFolder(path)
            for path in self._listed()
            if self._is_ours(path) or (self._has_our_location(path) and _is_empty(path))
        )

    def _listed(self) -> list[Path]:
        try:
            return sorted(path for path in self._root.iterdir() if _NAME.fullmatch(path.name))
        except OSError:
            return []

    def _is_ours(self, path: Path) -> bool:
        return self._has_our_location(path) and _is_real(path / _MARKER, stat.S_ISREG)

    def _has_our_location(self, path: Path) -> bool:
        return (
            path.parent == self._root
            and _NAME.fullmatch(path.name) is not None
            and is_real_folder(self._root)
            and is_real_folder(path)
        )


def is_real_folder(path: Path) -> bool:
    """Return whether this is a folder, and no link to one."""
    return _is_real(path, stat.S_ISDIR)


def _is_real(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.lstat(path).st_mode)
    except OSError:
        return False


def _remove_marked(path: Path) -> None:
    # The marker is removed last, so that a partly removed folder is still recognized as ours.
    marker = path / _MARKER
    try:
        for entry in list(path.iterdir()):
            if entry != marker:
                remove_entry(entry)
        if list(path.iterdir()) == [marker]:
            marker.unlink()
            path.rmdir()
    except OSError:
        # A concurrent cleanup may have removed this folder already: then there is nothing to mark.
        with suppress(OSError):
            if path.is_dir() and not os.path.lexists(marker):
                marker.touch(mode=0o600)


def remove_entry(entry: Path) -> None:
    """Remove a file, link or folder; leave what another program has open."""
    try:
        remove_tree(entry)
    except OSError:
        # The caller checks what is left, and retries.
        return


def remove_tree(path: Path) -> None:
    """Remove a file, link or folder with all its content, as far as that is possible; follow no link."""
    if not is_real_folder(path):
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        _allow_removal(path)
        shutil.rmtree(path, ignore_errors=True)


def _allow_removal(path: Path) -> None:
    # On POSIX, entries of a folder without write permission cannot be removed; on Windows, read-only files.
    for folder, _, files in os.walk(path):
        Path(folder).chmod(0o700)
        if sys.platform == "win32":
            for name in files:
                Path(folder, name).chmod(0o600)


def _is_empty(path: Path) -> bool:
    try:
        return not any(path.iterdir())
    except OSError:
        return False


def _remove_empty(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        # It is not empty, so it is not ours.
        return False
    return True


def create_parts(folder: SessionFolder) -> None:
    """Create the parts of a session's folder that are missing; a link or file in their place is removed."""
    parts = (folder.profile, folder.temp, folder.crashes, folder.downloads, folder.uploads)
    for part in parts:
        if not is_real_folder(part):
            part.unlink(missing_ok=True)
            part.mkdir(mode=0o700)


@contextmanager
def creating(folder: SessionFolder) -> Iterator[None]:
    """Say why a session's folder cannot be created, and what to do, if the `with` block raises OSError.

    Raises:
        BrowserUnavailable: It raised OSError.
    """
    try:
        yield
    except OSError as error:
        is_full = error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
        advice = "free some disk space" if is_full else f"make sure that {folder.path.parent} is writable"
        raise BrowserUnavailable(
            f"The session folder {folder.path} cannot be created ({error.strerror}): {advice}, then retry"
        ) from error


def _is_utf_8(path: Path) -> bool:
    """Return whether a path is the same file in this locale and for a program that takes it for UTF-8."""
    try:
        return os.fsencode(path) == str(path).encode()
    except UnicodeEncodeError:
        # It has bytes that are no text in this locale.
        return False
