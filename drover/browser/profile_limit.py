"""Make a browser's profile smaller while the browser runs: its cache first, then the storage of web sites.

Cookies and local storage stay, because they hold logins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from drover.browser.devtools_connection import Connection, DevToolsFailed
from drover.storage.profile_contents import origins

COMMAND_S: Final = 5.0
SETTLE_S: Final = 3.0
POLL_S: Final = 0.1
_STORAGE: Final = "file_systems,indexeddb,cache_storage,service_workers,shader_cache,storage_buckets"


def shrink(connection: Connection, profile: Path, is_small_enough: Callable[[], bool]) -> tuple[str, ...]:
    """Remove what may be removed from a profile until it is small enough; return what was removed.

    Raises:
        DevToolsFailed: The browser has no page, or does not answer.
    """
    target_id = _any_page(connection)
    removed = ["the cache"]
    connection.call_page(target_id, "Network.clearBrowserCache", COMMAND_S)
    if _settles(is_small_enough):
        return tuple(removed)
    for origin in _largest_first(connection, target_id, origins(profile)):
        connection.call_page(
            target_id, "Storage.clearDataForOrigin", COMMAND_S, origin=origin, storageTypes=_STORAGE
        )
        removed.append(f"the storage of {origin}")
        if _settles(is_small_enough):
            break
    return tuple(removed)


def _any_page(connection: Connection) -> str:
    # The browser's process answers these commands, so a page that computes will do, but none that crashed.
    others = connection.pages_beside_the_profile(COMMAND_S)
    usable = (page for page in connection.pages if not page.crashed and page.target_id not in others)
    found = next((page.target_id for page in usable), None)
    if found is None:
        raise DevToolsFailed("The browser has no page of the profile")
    return found


def _largest_first(connection: Connection, target_id: str, candidates: Iterable[str]) -> tuple[str, ...]:
    usages = {
        origin: float(
            connection.call_page(target_id, "Storage.getUsageAndQuota", COMMAND_S, origin=origin)["usage"]
        )
        for origin in candidates
    }
    return tuple(
        sorted((origin for origin, usage in usages.items() if usage), key=usages.__getitem__, reverse=True)
    )


def _settles(is_small_enough: Callable[[], bool]) -> bool:
    """Return whether the profile becomes small enough: Chrome removes files after it has answered."""
    over = time.monotonic() + SETTLE_S
    while not is_small_enough():
        if time.monotonic() > over:
            return False
        time.sleep(POLL_S)
    return True
