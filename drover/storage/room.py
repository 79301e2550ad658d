"""Room for new sessions on the disk of the data folder.

Sessions that exist need some room too: a disk that new sessions fill to the last byte takes the cookies of
the others. So new ones are refused early.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIN_FREE_MB: Final = 200
MIN_FREE_PERCENT: Final = 5
MIN_FREE_FILES: Final = 250
"""About as many files and folders as a new session creates (measured)."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is left on a disk for this user; sizes in bytes, `files` None if the file system sets no limit."""

    total: int
    free: int
    files: int | None = None


def read_room(path: Path) -> Room | None:
    """Return the room on the disk of a folder; None if it cannot be read."""
    try:
        usage = shutil.disk_usage(path)
        return Room(usage.total, usage.free, _files_left(path))
    except OSError:
        return None


def shortage(room: Room | None, path: Path) -> str | None:
    """Return why no new session may start on the disk of a folder, and what to do.

    None if one may, or if the room could not be read.
    """
    if room is None:
        return None
    if room.files is not None and room.files < MIN_FREE_FILES:
        return f"Disk full: only {room.files} inodes left for files on {path}. Remove some files"
    if room.free >= max(MIN_FREE_MB * 1_000_000, room.total * MIN_FREE_PERCENT // 100):
        return None
    percent = 100 * room.free / room.total if room.total else 0.0
    return (
        f"Disk full: only {room.free / 1e6:.0f} MB ({percent:.1f} %) free on {path}, and new sessions need "
        f"{MIN_FREE_MB} MB and {MIN_FREE_PERCENT} %. Free some space"
    )


class RoomWatch:
    """Remembers whether there is room, so that a hung disk delays only `read`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.shortage: str | None = None
        """Why no new session may start, as last read."""

    def read(self) -> Room | None:
        """Read the disk, and return its room; None if it cannot be read."""
        room = read_room(self._path)
        self.shortage = shortage(room, self._path)
        return room


def _files_left(path: Path) -> int | None:
    if not hasattr(os, "statvfs"):
        return None
    found = os.statvfs(path)
    # File systems that create inodes as they are needed report none at all.
    return found.f_favail if found.f_files else None
