"""What a profile of Chrome takes on its disk, and which web sites store something in it."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_BLOCK: Final = 512
MAX_ORIGINS: Final = 200
_DATABASES: Final = ("Default/WebStorage/QuotaManager", "WebStorage/QuotaManager")


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


def origins(profile: Path) -> tuple[str, ...]:
    """Return the origins that store something in a profile, those used last first; at most `MAX_ORIGINS`.

    Chrome lists them in a database (Chromium's storage/browser/quota/quota_database.cc), which it keeps
    locked; what was written in the last seconds may be missing.
    """
    path = next((profile / name for name in _DATABASES if (profile / name).is_file()), None)
    if path is None:
        return ()
    query = "SELECT storage_key FROM buckets ORDER BY last_modified DESC"
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as database:
            keys = [str(key) for (key,) in database.execute(query)]
    except sqlite3.Error:
        # Chrome was just writing to it; the next measurement tries again.
        return ()
    return tuple(dict.fromkeys(_origin(key) for key in keys))[:MAX_ORIGINS]


def _size(entry: os.DirEntry[str]) -> int:
    try:
        state = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    blocks: int | None = getattr(state, "st_blocks", None)
    return state.st_size if blocks is None else blocks * _BLOCK


def _origin(storage_key: str) -> str:
    """Return the origin in a storage key; the rest of the key names the site that embeds it."""
    parts = urlsplit(storage_key.partition("^")[0])
    return f"{parts.scheme}://{parts.netloc}"
