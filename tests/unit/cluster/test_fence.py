"""Who may serve, who is silent, and how memory and database are made to agree."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from drover.cluster import clock
from drover.cluster.fence import LOST_S, SERVE_S, Difference, Fence, SilenceWatch, compare
from drover.cluster.places import next_place, places
from drover.storage.cluster_values import NodeState
from tests.unit.examples import node


def test_a_node_serves_for_a_time_after_it_has_sent_a_sign_that_was_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = [100.0]
    monkeypatch.setattr(clock, "now", lambda: times[0])
    fence = Fence()
    assert not fence.may_serve()
    fence.extend(sent=100.0)
    times[0] = 100.0 + SERVE_S - 0.01
    assert fence.may_serve()
    times[0] = 100.0 + SERVE_S
    assert not fence.may_serve()
    fence.extend(sent=times[0])
    fence.close()
    assert not fence.may_serve()


def test_a_node_stops_serving_before_others_may_declare_it_lost() -> None:
    assert SERVE_S + 2 <= LOST_S


def test_a_node_without_a_new_sign_is_silent_from_the_first_answer_that_showed_its_last() -> None:
    watch = SilenceWatch()
    assert watch.hear([node(1, beat=7), node(2, beat=1)], 100.0) == ()
    for step in range(1, 5):
        assert watch.hear([node(1, beat=7), node(2, beat=1 + step)], 100.0 + 2 * step) == ()
    found = watch.hear([node(1, beat=7), node(2, beat=9)], 110.0)
    assert [(silent.name, seconds) for silent, seconds in found] == [("n1", 10.0)]


def test_after_an_outage_of_the_database_no_node_is_silent_for_it() -> None:
    watch = SilenceWatch()
    watch.hear([node(1)], 100.0)
    assert watch.hear([node(1)], 160.0) == ()
    assert watch.hear([node(1)], 164.0) == ()


def test_memory_and_database_are_compared_by_epoch() -> None:
    held = {"same": 1, "missing": 2, "moved": 3, "closed since": 4}
    owned = {"same": 1, "moved": 9, "stray": 5}
    found = compare(held, {"same": 1, "missing": 2, "moved": 3, "new": 0}, owned)
    assert found == Difference(("missing",), ("moved",), ("stray",))


@pytest.mark.parametrize("owned", [{}, {"made anew": 2}])
def test_an_answer_says_nothing_of_a_session_that_was_made_anew_since_the_question(
    owned: dict[str, int],
) -> None:
    assert compare({"made anew": 1}, {"made anew": 2}, owned) == Difference((), (), ())


def test_a_new_session_is_made_here_if_there_is_a_place() -> None:
    assert next_place(1, 0, [node(2, free=3)]) is None


def test_a_full_node_chooses_the_one_with_most_free_places() -> None:
    assert next_place(0, 1, [node(2, free=1), node(3, free=2)]) == node(3, free=2)


def test_a_draining_node_is_not_chosen() -> None:
    draining = replace(node(2, free=3), state=NodeState.DRAINING)
    assert next_place(0, 0, [draining]) is None


def test_those_who_wait_go_to_free_places_before_sessions_are_closed_for_them() -> None:
    drains = replace(node(3, free=5), state=NodeState.DRAINING)
    assert places([node(1, free=2), node(2, evictable=3), drains]) == 2
    assert places([node(1), node(2, evictable=3), drains]) == 3
    assert places([node(1), drains]) == 0


def test_without_a_free_place_a_session_is_closed_here_first_then_elsewhere() -> None:
    assert next_place(0, 1, [node(2, evictable=1)]) is None
    assert next_place(0, 0, [node(2), node(3, evictable=1)]) == node(3, evictable=1)
    assert next_place(0, 0, [node(2), node(3)]) is None


def test_a_jump_of_the_wall_clock_shows_that_the_machine_was_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"wall": 5000.0, "own": 100.0}
    monkeypatch.setattr(clock, "now", lambda: times["own"])
    monkeypatch.setattr(time, "time", lambda: times["wall"])
    watch = clock.FreezeWatch()
    times = {"wall": 5060.0, "own": 160.0}
    assert not watch.has_jumped()
    times["wall"] += 60.0
    assert watch.has_jumped()
    assert not watch.has_jumped()


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="needs a clock that goes on in a suspend")
def test_the_own_clock_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 7.0}.__getitem__)
    assert clock.now() == 7.0
