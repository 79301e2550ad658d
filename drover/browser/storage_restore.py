"""Local storage of many origins, written into a browser without asking any of their sites.

Storage belongs to an origin, so it can only be written by a page of that origin. One page visits all of them,
and each visit is answered with an empty document instead of the site's. Nothing stays installed that could
write the values again later, when they are old.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from drover.browser.devtools_connection import Connection, DevToolsFailed
from drover.browser.navigation import background_page

COMMAND_S = 3.0
ALL_S = 30.0
"""How long a restore may take; 50 origins take about two seconds."""

_WRITE = """((origin, area, values, how) => {
  if (location.origin !== origin) return false;
  const storage = window[area];
  if (how === "replace") storage.clear();
  for (const [name, value] of values)
    if (how !== "add" || storage.getItem(name) === null) storage.setItem(name, value);
  return true;
})(%s)"""


class How(str, Enum):
    """What becomes of values that an origin has already."""

    REPLACE = "replace"
    """They are deleted: the saved ones are newer."""
    OVERWRITE = "overwrite"
    """They are kept, unless a saved one has the same name."""
    ADD = "add"
    """They are kept: they may be newer than the saved ones."""


@dataclass(frozen=True, slots=True)
class Write:
    """Values to write into the local storage of an origin."""

    origin: str
    values: Mapping[str, str]
    how: How


def write_local_storage(connection: Connection, writes: Sequence[Write]) -> tuple[str, ...]:
    """Write local storage in a background page, and close it; return the origins that were not reached.

    Raises:
        DevToolsFailed: The browser opens no page.
    """
    if not writes:
        return ()
    over = time.monotonic() + ALL_S
    with background_page(connection) as target_id, connection.serving_empty_pages(target_id):
        return tuple(
            one.origin
            for one in writes
            if time.monotonic() > over
            or not _written(connection, target_id, one.origin, ("localStorage", one.values, one.how))
        )


def write_session_storage(
    connection: Connection, target_id: str, origin: str, values: Mapping[str, str]
) -> bool:
    """Write the session storage that a page has for an origin; return whether that succeeded.

    Raises:
        DevToolsFailed: The page is gone, or does not answer.
    """
    with connection.serving_empty_pages(target_id):
        return _written(connection, target_id, origin, ("sessionStorage", values, How.OVERWRITE))


def _written(
    connection: Connection, target_id: str, origin: str, write: tuple[str, Mapping[str, str], How]
) -> bool:
    area, values, how = write
    arguments = ", ".join(json.dumps(one) for one in (origin, area, list(values.items()), how))
    try:
        connection.call_page(target_id, "Page.navigate", COMMAND_S, url=f"{origin}/")
        answer = connection.call_page(
            target_id, "Runtime.evaluate", COMMAND_S, expression=_WRITE % arguments, returnByValue=True
        )
    except DevToolsFailed:
        # The caller says which origins were not reached.
        return False
    return answer.get("result", {}).get("value") is True
