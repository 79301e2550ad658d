"""Crash-loop backoff: when to recover a session that keeps crashing, as a pure decision.

Each recovery in a row waits longer than the last one. After `MAX_IN_A_ROW` of them there are none for
`LONG_PAUSE_S`; the first request after that tries once more.
"""

from __future__ import annotations

from drover.core.backoff import Backoff, Failures

MAX_IN_A_ROW = 5
LONG_PAUSE_S = 30.0
CRASHES = Backoff(first_s=0.5, longest_s=LONG_PAUSE_S, forget_after_s=60.0)
"""A successful command or health check ends a crash loop as well."""


def long_pause_s(crashes: Failures, now: float) -> float:
    """Return for how many seconds a session is not recovered; 0 if it may be, after `CRASHES.pause_s`.

    Args:
        crashes: The recoveries of the session in a row.
        now: The time of the monotonic clock, in seconds.
    """
    if crashes.count < MAX_IN_A_ROW:
        return 0.0
    return max(0.0, LONG_PAUSE_S - (now - crashes.last_at))
