"""Crash-loop backoff: growing pauses, a long pause, and the reset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drover.core.backoff import NO_FAILURES, Failures
from drover.sessions.lifecycle.crash_backoff import CRASHES, LONG_PAUSE_S, MAX_IN_A_ROW, long_pause_s

TIMES = st.floats(0, 1e6)


def streak_of(length: int, at: float = 1000.0) -> Failures:
    crash_loop = NO_FAILURES
    for _ in range(length):
        crash_loop = CRASHES.failed(crash_loop, at)
    return crash_loop


def pause_s(crashes: Failures, now: float) -> float | None:
    """Return the pause before the next recovery in seconds; None if it is not tried now."""
    return CRASHES.pause_s(crashes, now) if long_pause_s(crashes, now) == 0 else None


def test_the_first_recovery_is_tried_immediately() -> None:
    assert pause_s(NO_FAILURES, 0.0) == 0.0
    assert pause_s(NO_FAILURES, 1e9) == 0.0


def test_the_pauses_grow_with_each_crash() -> None:
    pauses = [pause_s(streak_of(length), 1000.0) for length in range(1, MAX_IN_A_ROW)]
    assert pauses == [CRASHES.first_s * 2**step for step in range(MAX_IN_A_ROW - 1)]


def test_the_time_since_the_last_recovery_counts_as_pause() -> None:
    assert pause_s(streak_of(2), 1000.4) == 2 * CRASHES.first_s - (1000.4 - 1000.0)
    assert pause_s(streak_of(2), 1002.0) == 0.0


def test_after_the_fifth_crash_in_a_row_recovery_is_paused() -> None:
    assert long_pause_s(streak_of(MAX_IN_A_ROW - 1), 1000.0) == 0.0
    assert long_pause_s(streak_of(MAX_IN_A_ROW), 1000.0) == LONG_PAUSE_S
    assert long_pause_s(streak_of(MAX_IN_A_ROW), 1010.0) == LONG_PAUSE_S - 10


def test_after_each_long_pause_one_attempt_is_allowed() -> None:
    given_up = streak_of(MAX_IN_A_ROW)
    assert pause_s(given_up, 1000.0 + LONG_PAUSE_S) == 0.0
    again = CRASHES.failed(given_up, 1000.0 + LONG_PAUSE_S)
    assert again.count == MAX_IN_A_ROW + 1
    assert long_pause_s(again, 1001.0 + LONG_PAUSE_S) == LONG_PAUSE_S - 1


def test_a_minute_without_a_crash_resets_the_loop() -> None:
    later = 1000.5 + CRASHES.forget_after_s
    assert pause_s(streak_of(MAX_IN_A_ROW), later) == 0.0
    assert CRASHES.failed(streak_of(MAX_IN_A_ROW), later) == Failures(1, later)


@given(st.lists(st.floats(0, 2 * CRASHES.forget_after_s), max_size=30))
def test_no_session_is_recovered_more_than_five_times_within_a_long_pause(deaths: list[float]) -> None:
    """Check that any interval of `LONG_PAUSE_S` contains at most five attempts, whenever crashes happen."""
    now, crash_loop, attempts = 0.0, NO_FAILURES, list[float]()
    for after in deaths:
        now += after
        pause = pause_s(crash_loop, now)
        if pause is not None:
            assert pause >= 0
            now += pause
            attempts.append(now)
            crash_loop = CRASHES.failed(crash_loop, now)
    for first, sixth in zip(attempts, attempts[MAX_IN_A_ROW:], strict=False):
        assert sixth - first >= LONG_PAUSE_S or sixth - first >= CRASHES.forget_after_s


@given(st.integers(0, 40), TIMES, TIMES)
def test_every_pause_is_bounded(length: int, at: float, after: float) -> None:
    crashes, now = Failures(length, at), at + after
    assert 0 <= long_pause_s(crashes, now) <= LONG_PAUSE_S
    pause = pause_s(crashes, now)
    assert pause is None or 0 <= pause <= CRASHES.first_s * 2 ** (MAX_IN_A_ROW - 2)
