"""The profile in a session's folder, kept through everything that is not proven to be its own fault.

Nothing is removed before its replacement stands. A profile on which Chrome has run and died is renamed to
`p.trial` while another one is tried, then to `p.<seconds since the epoch>` if Chrome starts on that one; else
it gets its name back, also after a crash of the service in between. A profile that was set aside stays in the
session's folder for a day. A file marks a profile as new until a recovery has said so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from drover.core.errors import BrowserUnavailable
from drover.storage.kept_profiles import LOCKS, PAUSES_S
from drover.storage.session_folders import (
    SessionFolder,
    SessionFolders,
    create_parts,
    creating,
    is_real_folder,
    remove_entry,
    remove_tree,
)

KEPT_S: Final = 24 * 3600.0
_SET_ASIDE = re.compile(r"p\.(\d+)")
_WRITTEN_BY_CHROME: Final = ("Local State", "Default")
_IS_NEW: Final = ".new-profile"


@dataclass(eq=False, repr=False)
class Replacement:
    """An empty profile that is tried in the place of another one.

    Args:
        old: Where the other one is for now.
    """

    _folder: SessionFolder
    _old: Path
    is_kept: bool = field(default=False, init=False)

    def keep(self) -> Path:
        """Set the old profile aside for good; return where it is.

        Raises:
            BrowserUnavailable: A program has a file of it open, or the disk is full.
        """
        was_new = _marker(self._folder).exists()
        _mark_as_new(self._folder)
        aside = self._old.with_name(f"p.{time.time():.0f}")
        try:
            _retry(self._old, lambda: self._old.rename(aside))
        except BrowserUnavailable:
            if not was_new:
                remove_entry(_marker(self._folder))
            raise
        self.is_kept = True
        return aside


@dataclass(eq=False, repr=False)
class Profiles:
    """The profiles of one data folder."""

    _folders: SessionFolders

    def prepare(self, folder: SessionFolder) -> bool:
        """Prepare the folder of a session in the list for a new browser; return whether its profile is there.

        What is missing is created. Locks and temporary files of the old browser are removed. A profile that
        is created here, or in the place of another one, does not count until `accept` was called.

        Raises:
            BrowserUnavailable: The disk is full, or a program has a file open.
        """
        self._folders.complete(folder)
        self._put_back(folder)
        with creating(folder):
            if not is_real_folder(folder.profile):
                remove_tree(folder.profile)
            create_parts(folder)
            for part in (folder.temp, folder.crashes):
                for entry in part.iterdir():
                    remove_entry(entry)
        for name in LOCKS:
            _retry(folder.profile / name, (folder.profile / name).unlink, FileNotFoundError)
        if not any((folder.profile / name).exists() for name in _WRITTEN_BY_CHROME):
            _mark_as_new(folder)
        return not _marker(folder).exists()

    def accept(self, folder: SessionFolder) -> None:
        """Have the present profile count as the session's, because a recovery has said that it is new."""
        remove_entry(_marker(folder))

    @contextmanager
    def replaced(self, folder: SessionFolder) -> Iterator[Replacement]:
        """Try an empty profile in the `with` block; put the old one back unless the new one is kept.

        Raises:
            BrowserUnavailable: A program has a file of the profile open, or the disk is full.
        """
        old = _trial(folder)
        _retry(folder.profile, lambda: folder.profile.rename(old))
        replacement = Replacement(folder, old)
        try:
            with creating(folder):
                create_parts(folder)
            yield replacement
        finally:
            if not replacement.is_kept:
                self._put_back(folder)

    def remove_expired(self) -> None:
        """Remove the profiles that were set aside more than a day ago."""
        for folder in self._folders.present():
            # A session that ends in the meantime removes its folder.
            with suppress(FileNotFoundError):
                for path in folder.path.iterdir():
                    found = _SET_ASIDE.fullmatch(path.name)
                    if found is not None and time.time() - int(found[1]) > KEPT_S:
                        remove_tree(path)

    def _put_back(self, folder: SessionFolder) -> None:
        old = _trial(folder)
        if not is_real_folder(old):
            return

        def exchange() -> None:
            remove_tree(folder.profile)
            old.rename(folder.profile)

        _retry(folder.profile, exchange)


def _marker(folder: SessionFolder) -> Path:
    return folder.path / _IS_NEW


def _mark_as_new(folder: SessionFolder) -> None:
    with creating(folder):
        _marker(folder).touch(mode=0o600)


def _trial(folder: SessionFolder) -> Path:
    return folder.path / "p.trial"


def _retry(path: Path, change: Callable[[], object], accepted: type[OSError] | tuple[()] = ()) -> None:
    """Change a file, again after pauses if that fails: on Windows other programs keep files open for a while.

    Raises:
        BrowserUnavailable: It failed every time.
    """
    for pause in (*PAUSES_S, None):
        try:
            change()
        except accepted:
            return
        except OSError as error:
            if pause is None:
                raise BrowserUnavailable(
                    f"{path} is in use ({error.strerror}): close the program that uses it, then retry"
                ) from error
            time.sleep(pause)
        else:
            return
