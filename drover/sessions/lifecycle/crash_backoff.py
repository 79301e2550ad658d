"""Crash-loop backoff: when to recover a session that keeps crashing, as a pure decision."""

from __future__ import annotations

from dataclasses import dataclass

MAX_IN_A_ROW = 5
FIRST_PAUSE_S = 0.5
LONG_PAUSE_S = 30.0
RESET_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class CrashLoop:
    """Recoveries of one session in a row.

    Attributes:
        length: How many; a successful command or health check resets it to zero.
        last_at: When the last one ended, in seconds of the monotonic clock.
    """

    length: int = 0
    last_at: float = 0.0

    def longer(self, now: float) -> CrashLoop:
        """Return the crash loop with another recovery at `now`."""
        is_new = now - self.last_at > RESET_AFTER_S
        return CrashLoop(1 if is_new else self.length + 1, now)


NO_CRASH_LOOP = CrashLoop()


@dataclass(frozen=True, slots=True)
class Retry:
    """Recover the session after `pause_s` seconds."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Do not recover the session for `retry_after_s` seconds."""

    retry_after_s: float


def next_attempt(crash_loop: CrashLoop, now: float) -> Retry | Pause:
    """Return when to try the next recovery: immediately, after a growing pause, or not now.

    After `MAX_IN_A_ROW` recoveries there are none for `LONG_PAUSE_S`; the first request after that
    tries once more.
    """
    since = now - crash_loop.last_at
    if crash_loop.length == 0 or since > RESET_AFTER_S:
        return Retry(0.0)
    if crash_loop.length >= MAX_IN_A_ROW:
        return Retry(0.0) if since >= LONG_PAUSE_S else Pause(LONG_PAUSE_S - since)
    return Retry(max(0.0, FIRST_PAUSE_S * 2 ** (crash_loop.length - 1) - since))
