"""Crash-loop backoff: when to recover a session that keeps crashing, as a pure decision."""

from __future__ import annotations

from dataclasses import dataclass

from drover.core.backoff import Backoff, Failures

MAX_IN_A_ROW = 5
LONG_PAUSE_S = 30.0
CRASHES = Backoff(first_s=0.5, longest_s=LONG_PAUSE_S, forget_after_s=60.0)
"""A successful command or health check ends a crash loop as well."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Recover the session after `pause_s` seconds."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Do not recover the session for `retry_after_s` seconds."""

    retry_after_s: float


def next_attempt(crashes: Failures, now: float) -> Retry | Pause:
    """Return when to try the next recovery: immediately, after a growing pause, or not now.

    After `MAX_IN_A_ROW` recoveries in a row there are none for `LONG_PAUSE_S`; the first request after that
    tries once more.

    Args:
        crashes: The recoveries of the session in a row.
        now: The time of the monotonic clock, in seconds.
    """
    if crashes.count < MAX_IN_A_ROW:
        return Retry(CRASHES.pause_s(crashes, now))
    left_s = LONG_PAUSE_S - (now - crashes.last_at)
    return Pause(left_s) if left_s > 0 else Retry(0.0)
