"""A bounded buffer of numbered entries, from which a new listener gets the recent history."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping


class RingBuffer:
    """The most recent entries; thread-safe."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, object]] = deque(maxlen=size)
        self._last = 0

    def add(self, entry: Mapping[str, object]) -> None:
        """Add an entry under the next `number`; if the buffer is full, the oldest entry is dropped."""
        with self._lock:
            self._last += 1
            self._entries.append({"number": self._last, **entry})

    def since(self, number: int) -> tuple[int, list[dict[str, object]]]:
        """Return the number of the last entry, and the kept entries that came after `number`."""
        with self._lock:
            missed = min(self._last - number, len(self._entries))
            return self._last, [self._entries[place - missed] for place in range(missed)]

    @property
    def last(self) -> int:
        """Number of the entry that was added last; 0 if there was none."""
        with self._lock:
            return self._last
