"""Backoff: how the pauses grow, and when they end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drover.core.backoff import NO_FAILURES, Backoff, Failures

BACKOFF = Backoff(first_s=1.0, longest_s=10.0, forget_after_s=60.0)


def test_without_a_failure_there_is_no_pause() -> None:
    assert BACKOFF.pause_s(NO_FAILURES, 1000.0) == 0.0


def test_each_failure_in_a_row_doubles_the_pause_up_to_the_longest() -> None:
    failures, pauses = NO_FAILURES, []
    for _ in range(6):
        failures = BACKOFF.failed(failures, 1000.0)
        pauses.append(BACKOFF.pause_s(failures, 1000.0))
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_the_time_since_the_last_failure_counts_as_pause() -> None:
    assert BACKOFF.pause_s(Failures(3, 1000.0), 1003.0) == 1.0
    assert BACKOFF.pause_s(Failures(3, 1000.0), 1004.0) == 0.0


def test_failures_that_are_long_past_do_not_count() -> None:
    assert BACKOFF.pause_s(Failures(5, 1000.0), 1060.5) == 0.0
    assert BACKOFF.failed(Failures(5, 1000.0), 1060.5) == Failures(1, 1060.5)
    assert BACKOFF.failed(Failures(5, 1000.0), 1060.0) == Failures(6, 1060.0)


@given(st.integers(0, 10**9), st.floats(0, 1e6), st.floats(0, 1e6))
def test_every_pause_is_bounded(count: int, at: float, after: float) -> None:
    assert 0.0 <= BACKOFF.pause_s(Failures(count, at), at + after) <= BACKOFF.longest_s
