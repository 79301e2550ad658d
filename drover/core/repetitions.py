"""Which of repeated failures are logged: the first one, then one a minute with the number of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass

EVERY_S = 60.0


@dataclass(slots=True)
class _Seen:
    """When a failure was logged last, and how often it has happened since then."""

    logged_at: float
    unlogged: int = 0


class Repetitions:
    """The failures of the last minute; its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Hashable, _Seen] = {}

    def note(self, what: Hashable) -> int | None:
        """Note a failure; return how many like it were not logged before it, or None if it is not logged.

        Args:
            what: Equal for failures that need one line only.
        """
        now = time.monotonic()
        with self._lock:
            known = self._seen.get(what)
            if known is not None and now - known.logged_at < EVERY_S:
                known.unlogged += 1
                return None
            # What has not failed for a minute is forgotten.
            self._seen = {one: seen for one, seen in self._seen.items() if now - seen.logged_at < 2 * EVERY_S}
            self._seen[what] = _Seen(now)
        return known.unlogged if known is not None else 0
