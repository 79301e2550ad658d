"""When each of many names is due, such that asking what is due costs nothing for those that are not."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

_SLACK: Final = 64


class DueTimes:
    """The time at which each name is due, in seconds of the monotonic clock.

    A heap finds the earliest. A time that was replaced or removed stays in the heap until it is reached, or
    until such times are more than half of the heap, so that the heap does not outgrow the names.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, name: str, at: float) -> None:
        """Make a name due at this time, and at no other."""
        if self._at.get(name) == at:
            return
        self._at[name] = at
        heapq.heappush(self._heap, (at, name))
        self._shrink()

    def remove(self, name: str) -> None:
        """Make a name never due."""
        if self._at.pop(name, None) is not None:
            self._shrink()

    def clear(self) -> None:
        """Remove all names."""
        self._at.clear()
        self._heap.clear()

    def take(self, now: float) -> tuple[str, ...]:
        """Remove the names that are due by now, and return them, the earliest first."""
        return tuple(self._taken(now))

    def _taken(self, now: float) -> Iterator[str]:
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._at.get(name) == at:
                del self._at[name]
                yield name

    def _shrink(self) -> None:
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._heap = [(at, name) for name, at in self._at.items()]
            heapq.heapify(self._heap)
