"""How much space a folder takes on its disk."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

_BLOCK = 512


def disk_usage(folder: Path) -> int:
    """Return the bytes that the files below a folder take; one that is removed in the meantime counts 0.

    Links are not followed. A sparse file counts as what is allocated, where the system tells that.
    """
    total, folders = 0, deque([os.fspath(folder)])
    while folders:
        try:
            with os.scandir(folders.popleft()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += _size(entry)
        except OSError:
            # It was removed since its parent was listed.
            continue
    return total


def _size(entry: os.DirEntry[str]) -> int:
    try:
        state = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    blocks: int | None = getattr(state, "st_blocks", None)
    return state.st_size if blocks is None else blocks * _BLOCK
