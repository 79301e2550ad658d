"""The web sites that store something in a profile of Chrome."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

MAX_ORIGINS: Final = 200
_DATABASES: Final = ("Default/WebStorage/QuotaManager", "WebStorage/QuotaManager")


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


def _origin(storage_key: str) -> str:
    """Return the origin in a storage key; the rest of the key names the site that embeds it."""
    parts = urlsplit(storage_key.partition("^")[0])
    return f"{parts.scheme}://{parts.netloc}"
