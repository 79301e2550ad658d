"""The commands beside those of DevTools that set something in ChromeDriver only (pure).

They come from the standards that extend WebDriver, such as Geolocation, Device Posture and Generic Sensor.
A re-attach sends the last one of each again, in the tab that it was sent to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PERMISSIONS = "/permissions"
"""Sets a permission in Chrome for the site that is shown: it survives ChromeDriver, but not the browser."""
_WITH_A_LAST_VALUE = frozenset(
    {
        "/location",
        "/time_zone",
        "/deviceposture",
        "/displayfeatures",
        "/custom-handlers/set-mode",
        "/secure-payment-confirmation/set-mode",
        "/fedcm/setdelayenabled",
    }
)
_SOURCES = ("/sensor", "/pressuresource")
"""Virtual sensors and pressure sources: made by a POST, then set and deleted by their type."""
_OF_A_SOURCE = re.compile(r"(?P<source>/sensor|/pressuresource)/(?P<type>[^/]+)")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a command sets or ends.

    Attributes:
        key: A later command with this key replaces it; it begins with the command's path.
        is_set: It sets something, and does not end it.
        ends: Keys of earlier commands that it ends.
    """

    key: str
    is_set: bool = True
    ends: tuple[str, ...] = ()


def is_setting(command: str) -> bool:
    """Return whether a command, by its path after the session's id, may set something."""
    return command in _WITH_A_LAST_VALUE or command.startswith(_SOURCES)


def setting_of(method: str, command: str, body: Mapping[str, Any]) -> Setting | None:
    """Return what a command sets or ends; None if it does neither."""
    if command in _WITH_A_LAST_VALUE:
        return Setting(command, method == "POST")
    if command in _SOURCES:
        return Setting(_key(command, "made", body.get("type"))) if method == "POST" else None
    found = _OF_A_SOURCE.fullmatch(command)
    if found is None:
        return None
    key = _key(found["source"], "set", found["type"])
    if method == "POST":
        return Setting(key)
    return Setting(key, is_set=False, ends=(_key(found["source"], "made", found["type"]),))


def needs_earlier_input(body: bytes) -> bool:
    """Return whether the actions in the body of Perform Actions depend on those before them.

    They do if they press or release a pointer where it is, move it from where it is, or release a key.
    """
    try:
        return any(_continues(source["actions"]) for source in json.loads(body)["actions"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # ChromeDriver answers a malformed command.
        return False


def _continues(actions: Sequence[Mapping[str, Any]]) -> bool:
    first = next((one for one in actions if one["type"] != "pause"), None)
    if first is None:
        return False
    from_here = first["type"] == "pointerMove" and first.get("origin") == "pointer"
    return from_here or first["type"] in {"pointerDown", "pointerUp", "keyUp"}


def _key(source: str, what: str, kind: object) -> str:
    return f"{source} {what} {kind}"
