"""The folders of sessions: made with a marker, removed only by it.

A folder is ours if it is a direct child of `<data_dir>/s`, a real folder and holds the marker file; nothing
else is ever removed, and no symbolic link is followed.
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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drover.core.errors import BrowserUnavailable, StartRefused, start_refused
from drover.processes.session_mark import SessionMark, session_mark

_MARKER: Final = ".drover"
_NAME = re.compile(r"[a-z0-9]{8}")
_ALPHABET: Final = string.ascii_lowercase + string.digits

# Chrome makes sockets in its temp folder, and dies at its start where their paths are too long.
_LONGEST_TEMP_PATH: Final = {"linux": 62, "darwin": 58}

# Chrome's lock on its profile, and the port of the DevTools that it had.
_LEFT_BY_THE_DEAD: Final = ("SingletonLock", "SingletonCookie", "SingletonSocket", "DevToolsActivePort")

# Windows holds a file for a while after the process that had it open has ended.
_PAUSES_S: Final = (0.2, 0.4, 0.8)


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """The folder of one session; `path` is `<data_dir>/s/<name>`."""

    path: Path

    @property
    def profile(self) -> Path:
        """What Chrome's `--user-data-dir=` names."""
        return self.path / "p"

    @property
    def temp(self) -> Path:
        """Where ChromeDriver and Chrome put temporary files and sockets."""
        return self.path / "t"

    @property
    def downloads(self) -> Path:
        """Where Chrome puts what its pages let it download."""
        return self.path / "d"

    @property
    def uploads(self) -> Path:
        """Where a client's files are put, for pages to be given them."""
        return self.path / "u"

    @property
    def crashes(self) -> Path:
        """The crash database, what the crash handlers' `--database=` names."""
        return self.path / "c"

    @property
    def driver_log(self) -> Path:
        """What ChromeDriver's `--log-path=` names."""
        return self.path / "chromedriver.log"

    @property
    def driver_output(self) -> Path:
        """What ChromeDriver writes to its standard output and error."""
        return self.path / "chromedriver.out"


class SessionFolders:
    """Makes, removes and sweeps the session folders of one data folder; safe to use from many threads."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._root = data_dir / "s"

    def check(self) -> None:
        """Make the data folder and see that sessions can live in it.

        Raises:
            StartRefused: It cannot be written to, or its path will not do.
        """
        self.check_path()
        self._check_writable()

    def check_path(self) -> None:
        """See whether sessions could live under the data folder's path; nothing is made.

        Raises:
            StartRefused: It is too long for Chrome's sockets, or could not be recognised on a command line.
        """
        sample = SessionFolder(self._root / "00000000")
        length, longest = len(os.fsencode(sample.temp)), _LONGEST_TEMP_PATH.get(sys.platform)
        if longest is not None and length > longest:
            raise StartRefused(
                f"DROVER_DATA_DIR is {self._data_dir}: its path is {length - longest} characters too long "
                "for Chrome's sockets, choose a shorter one"
            )
        mark = SessionMark(str(self._data_dir), str(sample.path))
        if session_mark([f"--user-data-dir={sample.profile}"]) != mark:
            raise StartRefused(f"DROVER_DATA_DIR is {self._data_dir}: choose an absolute path without ' --'")

    @property
    def data_dir(self) -> Path:
        """The data folder, as it stands on the command lines of its sessions."""
        return self._data_dir

    def choose(self) -> SessionFolder:
        """Choose a random name for a new folder; nothing is made yet, so that it can be protected first."""
        return SessionFolder(self._root / "".join(secrets.choice(_ALPHABET) for _ in range(8)))

    def make(self, folder: SessionFolder) -> None:
        """Make a chosen folder with all its parts, readable by our user alone.

        Raises:
            BrowserUnavailable: The disk is full, or the data folder has gone.
        """
        try:
            folder.path.mkdir(mode=0o700)
            (folder.path / _MARKER).touch(mode=0o600, exist_ok=False)
            _make_parts(folder)
        except OSError as error:
            raise BrowserUnavailable(_not_made(folder, error)) from error

    def keep_profile(self, folder: SessionFolder) -> None:
        """Prepare a folder for a new browser on its profile: what the dead one left locked or temporary goes.

        Raises:
            BrowserUnavailable: There is no profile any more, or something could not be removed.
        """
        if not (self._is_ours(folder.path) and _is_real(folder.profile, stat.S_ISDIR)):
            raise BrowserUnavailable(f"The profile in {folder.path} is gone")
        try:
            for name in _LEFT_BY_THE_DEAD:
                (folder.profile / name).unlink(missing_ok=True)
            for part in (folder.temp, folder.crashes):
                _remove_tree(part)
                part.mkdir(mode=0o700)
        except OSError as error:
            raise BrowserUnavailable(_not_made(folder, error)) from error

    def reset(self, folder: SessionFolder) -> None:
        """Empty a folder for a new browser, keeping ChromeDriver's log.

        Raises:
            BrowserUnavailable: Something in it could not be removed, or the disk is full.
        """
        self.reclaim(folder)
        try:
            if not self._is_ours(folder.path):
                self.make(folder)
                return
            for part in (folder.profile, folder.temp, folder.crashes):
                _remove_tree(part)
            _make_parts(folder)
        except OSError as error:
            raise BrowserUnavailable(_not_made(folder, error)) from error

    def reclaim(self, folder: SessionFolder) -> None:
        """Mark the folder of a session in the list as ours again, where somebody has taken its marker away.

        Only the list knows that it is; a folder of no session is never marked.
        """
        if self._in_our_place(folder.path):
            with suppress(OSError):
                (folder.path / _MARKER).touch(mode=0o600)

    def remove(self, folder: SessionFolder) -> bool:
        """Remove a session's folder with all that is in it; tell whether it is seen gone.

        Tries again after 0.2, 0.4 and 0.8 s. What is not ours by place, kind and marker is left alone; an
        empty folder in our place without a marker is one that was only half made, and goes as well.
        """
        for pause in (*_PAUSES_S, None):
            if not os.path.lexists(folder.path):
                return True
            if self._is_ours(folder.path):
                _remove_marked(folder.path)
            elif not self._in_our_place(folder.path) or not _remove_empty(folder.path):
                break
            if pause is not None and os.path.lexists(folder.path):
                time.sleep(pause)
        return not os.path.lexists(folder.path)

    def present(self) -> tuple[SessionFolder, ...]:
        """Give the folders that there are and that `remove` would remove, whoever they belong to."""
        return tuple(
            SessionFolder(path)
            for path in self._listed()
            if self._is_ours(path) or (self._in_our_place(path) and _is_empty(path))
        )

    def _listed(self) -> list[Path]:
        try:
            return sorted(path for path in self._root.iterdir() if _NAME.fullmatch(path.name))
        except OSError:
            return []

    def _is_ours(self, path: Path) -> bool:
        return self._in_our_place(path) and _is_real(path / _MARKER, stat.S_ISREG)

    def _in_our_place(self, path: Path) -> bool:
        return (
            path.parent == self._root
            and _NAME.fullmatch(path.name) is not None
            and _is_real(self._root, stat.S_ISDIR)
            and _is_real(path, stat.S_ISDIR)
        )

    def _check_writable(self) -> None:
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.mkdir(mode=0o700, exist_ok=True)
            if not _is_real(self._root, stat.S_ISDIR):
                raise StartRefused(f"{self._root} is a symbolic link: choose another DROVER_DATA_DIR")
            probe = self._root / f".probe-{secrets.token_hex(4)}"
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            reason = f"{error.strerror}, make room, or choose a folder that can be written to"
            raise start_refused(f"DROVER_DATA_DIR is {self._data_dir}: {reason}", error) from error


def _is_real(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.lstat(path).st_mode)
    except OSError:
        return False


def _remove_marked(path: Path) -> None:
    # The marker goes last: a folder that is left half removed must still be known as ours.
    marker = path / _MARKER
    try:
        for entry in list(path.iterdir()):
            if entry != marker:
                _remove_entry(entry)
        if list(path.iterdir()) == [marker]:
            marker.unlink()
            path.rmdir()
    except OSError:
        # Another cleanup of this folder may end before this one does: then there is nothing to mark.
        with suppress(OSError):
            if path.is_dir() and not os.path.lexists(marker):
                marker.touch(mode=0o600)


def _remove_entry(entry: Path) -> None:
    try:
        _remove_tree(entry)
    except OSError:
        # What is left is seen by the caller, who tries again.
        return


def _remove_tree(path: Path) -> None:
    if not _is_real(path, stat.S_ISDIR):
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        _allow_removal(path)
        shutil.rmtree(path, ignore_errors=True)


def _allow_removal(path: Path) -> None:
    # A folder without write permission keeps its entries on POSIX, a file without it stays on Windows.
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
        # Not empty, so somebody else's.
        return False
    return True


def _make_parts(folder: SessionFolder) -> None:
    for part in (folder.profile, folder.temp, folder.crashes):
        part.mkdir(mode=0o700)
    # A client's files outlive the browser.
    for part in (folder.downloads, folder.uploads):
        part.mkdir(mode=0o700, exist_ok=True)


def _not_made(folder: SessionFolder, error: OSError) -> str:
    is_full = error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    advice = "free some disk space" if is_full else f"see that {folder.path.parent} can be written to"
    return f"The session's folder {folder.path} cannot be made ({error.strerror}): {advice}, then ask again"
