"""A saved state in the format of Playwright's `storageState`, in which a login travels between programs.

The format is described at playwright.dev (class BrowserContext, method storageState): cookies, and local
storage by origin. Session storage, the address and the window are not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from drover.browser.saved_state import OriginStorage, SavedState

_SAME_SITE: Final = "Lax"
"""What Chrome assumes for a cookie that does not say."""
_ANCESTOR: Final = "_crHasCrossSiteAncestor"


def to_storage_state(state: SavedState) -> dict[str, object]:
    """Return a saved state as Playwright's `storageState`."""
    origins = (
        {
            "origin": origin,
            "localStorage": [{"name": name, "value": value} for name, value in storage.local.items()],
        }
        for origin, storage in state.origins.items()
        if storage.local
    )
    return {"cookies": [_to_cookie(cookie) for cookie in state.cookies], "origins": [*origins]}


def from_storage_state(
    cookies: Sequence[Mapping[str, Any]], origins: Mapping[str, Mapping[str, str]]
) -> SavedState:
    """Return the saved state that a `storageState` amounts to.

    Args:
        origins: Local storage by origin.
    """
    return SavedState(
        cookies=tuple(_from_cookie(cookie) for cookie in cookies),
        origins={origin: OriginStorage(local, {}) for origin, local in origins.items()},
    )


def _to_cookie(cookie: Mapping[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {
        "name": cookie["name"],
        "value": cookie["value"],
        "domain": cookie["domain"],
        "path": cookie["path"],
        "expires": -1 if cookie.get("session") else cookie.get("expires", -1),
        "httpOnly": cookie.get("httpOnly", False),
        "secure": cookie.get("secure", False),
        "sameSite": cookie.get("sameSite", _SAME_SITE),
    }
    partition = cookie.get("partitionKey")
    if isinstance(partition, Mapping):
        found |= {
            "partitionKey": partition.get("topLevelSite"),
            _ANCESTOR: partition.get("hasCrossSiteAncestor", False),
        }
    return found


def _from_cookie(cookie: Mapping[str, Any]) -> dict[str, object]:
    is_session = cookie["expires"] < 0
    names = ("name", "value", "domain", "path", "httpOnly", "secure", "sameSite")
    found = {name: cookie[name] for name in names} | {"session": is_session}
    if not is_session:
        found["expires"] = cookie["expires"]
    if cookie.get("partitionKey"):
        found["partitionKey"] = {
            "topLevelSite": cookie["partitionKey"],
            "hasCrossSiteAncestor": cookie.get(_ANCESTOR) or False,
        }
    return found
