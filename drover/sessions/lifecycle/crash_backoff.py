"""Giving up on purpose: how a session that dies again and again is recovered, as a pure decision."""

from __future__ import annotations

from dataclasses import dataclass

IN_A_ROW = 5
FIRST_PAUSE_S = 0.5
REST_S = 30.0
STREAK_S = 60.0


@dataclass(frozen=True, slots=True)
class Streak:
    """Recoveries of one session without a sign of life in between.

    Attributes:
        length: How many; a command or a health check that succeeds starts anew from zero.
        last_at: When the last one was begun, in seconds of the monotonic clock.
    """

    length: int = 0
    last_at: float = 0.0

    def longer(self, now: float) -> Streak:
        """Give the streak with one recovery more."""
        fresh = now - self.last_at > STREAK_S
        return Streak(1 if fresh else self.length + 1, now)


NO_STREAK = Streak()


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Recover it, after a pause of so many seconds."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Recover it no more for so many seconds."""

    retry_after_s: float


def decide(streak: Streak, now: float) -> TryAgain | GiveUp:
    """Decide about one recovery more: at once, after a pause that grows, or not now.

    After `IN_A_ROW` of them there is a rest; the first request after it tries once more.
    """
    since = now - streak.last_at
    if streak.length == 0 or since > STREAK_S:
        return TryAgain(0.0)
    if streak.length >= IN_A_ROW:
        return TryAgain(0.0) if since >= REST_S else GiveUp(REST_S - since)
    return TryAgain(max(0.0, FIRST_PAUSE_S * 2 ** (streak.length - 1) - since))
