"""The identity of folders: one folder has many paths, and one path leads to different folders.

A symbolic link, a bind mount, macOS' `/private` and short names on Windows are further paths to a folder.
With other mounts or another root, as systemd's `PrivateTmp=` gives to a service, a process reaches another
folder by the same path.
"""

from __future__ import annotations

import os
from pathlib import Path

FolderId = tuple[int, int]
"""What a folder is, whatever its path: its device and its inode."""


def folder_id(path: str | Path) -> FolderId | None:
    """Return the identity of the folder at a path; None if it cannot be found or read."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a path that is no UTF-8 or has a NUL byte comes as text
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino)
