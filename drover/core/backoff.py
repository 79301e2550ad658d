"""Backoff: how long to wait before the next attempt of something that keeps failing, as a pure decision."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MOST_DOUBLINGS = 40


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures of one thing in a row.

    Attributes:
        count: How many.
        last_at: When the last one was, in seconds of the monotonic clock.
    """

    count: int = 0
    last_at: float = 0.0


NO_FAILURES = Failures()


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double with each failure in a row.

    Attributes:
        first_s: The pause after the first failure, in seconds.
        longest_s: The longest pause, in seconds.
        forget_after_s: Seconds without a failure after which the failures before do not count any more.
    """

    first_s: float
    longest_s: float
    forget_after_s: float = math.inf

    def failed(self, before: Failures, now: float) -> Failures:
        """Return the failures with another one at `now`."""
        return Failures(1 if self._is_over(before, now) else before.count + 1, now)

    def pause_s(self, failures: Failures, now: float) -> float:
        """Return how many seconds to wait from `now` until the next attempt."""
        if self._is_over(failures, now):
            return 0.0
        pause = self.first_s * 2.0 ** min(failures.count - 1, _MOST_DOUBLINGS)
        return max(0.0, min(pause, self.longest_s) - (now - failures.last_at))

    def _is_over(self, failures: Failures, now: float) -> bool:
        return failures.count == 0 or now - failures.last_at > self.forget_after_s
