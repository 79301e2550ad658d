"""Due times: what is due is found without looking at the rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drover.sessions.pool.due_times import DueTimes

NAMES = st.sampled_from("abcde")
TIMES = st.floats(0, 100)


def test_what_is_due_is_taken_once_the_earliest_first() -> None:
    due = DueTimes()
    for name, at in (("a", 3.0), ("b", 1.0), ("c", 9.0)):
        due.set(name, at)
    assert due.take(3.0) == ("b", "a")
    assert due.take(3.0) == ()
    assert due.take(9.0) == ("c",)


@given(st.lists(st.tuples(NAMES, st.none() | TIMES)), TIMES)
def test_only_the_last_time_of_a_name_counts(changes: list[tuple[str, float | None]], now: float) -> None:
    due, expected = DueTimes(), dict[str, float]()
    for name, at in changes:
        expected.pop(name, None)
        if at is None:
            due.remove(name)
        else:
            due.set(name, at)
            expected[name] = at
    assert set(due.take(now)) == {name for name, at in expected.items() if at <= now}
    assert set(due.take(1000.0)) == {name for name, at in expected.items() if at > now}


def test_replaced_and_removed_times_do_not_accumulate() -> None:
    due = DueTimes()
    for number in range(10_000):
        due.set("a", float(number))
        due.set(f"s{number}", 1e6)
        due.remove(f"s{number}")
    assert len(due._heap) < 200


def test_after_clear_nothing_is_due() -> None:
    due = DueTimes()
    due.set("a", 1.0)
    due.clear()
    assert due.take(2.0) == ()
