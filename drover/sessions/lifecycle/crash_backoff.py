"""Giving up on purpose: how a session that dies again and again is recovered, as a pure decision."""

from __future__ import annotations

from dataclasses import dataclass

IN_A_ROW = 5
FIRST_PAUSE_S = 0.5
REST_S = 30.0
STREAK_S = 60.0


@dataclass(frozen=True, slots=True)
class CrashLoop:
    """Recoveries of one session without a sign of life in between.

    Attributes:
        length: How many; a command or a health check that succeeds starts anew from zero.
        last_at: When the last one was begun, in seconds of the monotonic clock.
    """

    length: int = 0
    last_at: float = 0.0

    def longer(self, now: float) -> CrashLoop:
        """Give the streak with one recovery more."""
        fresh = now - self.last_at > STREAK_S
        return CrashLoop(1 if fresh else self.length + 1, now)


NO_CRASH_LOOP = CrashLoop()


@dataclass(frozen=True, slots=True)
class Retry:
    """Recover it, after a pause of so many seconds."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Recover it no more for so many seconds."""

    retry_after_s: float


def next_attempt(crash_loop: CrashLoop, now: float) -> Retry | Pause:
    """Decide about one recovery more: at once, after a pause that grows, or not now.

    After `IN_A_ROW` of them there is a rest; the first request after it tries once more.
    """
    since = now - crash_loop.last_at
    if crash_loop.length == 0 or since > STREAK_S:
        return Retry(0.0)
    if crash_loop.length >= IN_A_ROW:
        return Retry(0.0) if since >= REST_S else Pause(REST_S - since)
    return Retry(max(0.0, FIRST_PAUSE_S * 2 ** (crash_loop.length - 1) - since))
