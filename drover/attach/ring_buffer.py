"""The last things that were said, each with a number: what somebody who comes later still wants to see."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping


class RingBuffer:
    """Keeps the last entries; it may be asked and added to in any thread.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, object]] = deque(maxlen=size)
        self._last = 0

    def add(self, entry: Mapping[str, object]) -> None:
        """Keep an entry under the next `number`; the oldest one makes room."""
        with self._lock:
            self._last += 1
            self._entries.append({"number": self._last, **entry})

    def since(self, number: int) -> tuple[int, list[dict[str, object]]]:
        """Give the number of the last entry, and what came after `number` and is still kept."""
        with self._lock:
            missed = min(self._last - number, len(self._entries))
            return self._last, [self._entries[place - missed] for place in range(missed)]

    @property
    def last(self) -> int:
        """Give the number of the entry that was added last; 0 where there was none."""
        with self._lock:
            return self._last
