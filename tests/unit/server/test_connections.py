"""Which connection is closed for a new one, and what is served beyond the limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.server.connections import (
    LEAST,
    MOST,
    MOST_ON_WINDOWS,
    RESERVE,
    Admission,
    ConnectionTable,
    connection_limit,
    is_reserved,
)


def filled(limit: int) -> ConnectionTable[str]:
    table: ConnectionTable[str] = ConnectionTable(limit)
    for number in range(limit):
        assert table.admit(f"c{number}", number) == (Admission.ADMITTED, None)
    return table


def test_at_the_limit_the_connection_that_never_sent_a_request_goes_first() -> None:
    table = filled(3)
    table.busy("c0")
    table.idle("c0")
    table.busy("c1")
    assert table.admit("new", 3) == (Admission.ADMITTED, "c2")


def test_then_the_one_that_is_idle_for_the_longest_time() -> None:
    table = filled(3)
    for name in ("c1", "c0", "c2"):
        table.busy(name)
    table.idle("c1")
    table.idle("c0")
    table.busy("c1")
    table.idle("c1")
    assert table.admit("new", 3) == (Admission.ADMITTED, "c0")


def test_when_all_are_busy_new_ones_get_the_reserved_routes_and_then_nothing() -> None:
    table = filled(2)
    table.busy("c0")
    table.busy("c1")
    assert table.admit("new", 2) == (Admission.RESERVED_ROUTES_ONLY, None)
    assert table.admit("newer", 2 + RESERVE) == (Admission.REFUSED, None)


def test_a_connection_that_has_gone_is_never_chosen() -> None:
    table = filled(2)
    table.remove("c0")
    table.remove("c1")
    assert table.admit("new", 2) == (Admission.RESERVED_ROUTES_ONLY, None)


@given(st.lists(st.tuples(st.sampled_from(["admit", "busy", "idle", "remove"]), st.integers(0, 20))))
def test_a_busy_connection_is_never_closed_for_another(steps: list[tuple[str, int]]) -> None:
    table: ConnectionTable[int] = ConnectionTable(4)
    present: dict[int, str] = {}
    for step, number in steps:
        if step == "admit" and number not in present:
            admission, victim = table.admit(number, len(present))
            if victim is not None:
                assert present.pop(victim) != "busy"
            if admission is not Admission.REFUSED:
                present[number] = "new" if admission is Admission.ADMITTED else "busy"
        elif step in {"busy", "idle"} and number in present:
            getattr(table, step)(number)
            present[number] = step
        elif step == "remove":
            table.remove(number)
            present.pop(number, None)


@pytest.mark.parametrize(
    ("descriptors", "sessions", "windows", "limit"),
    [
        (65536, 10, False, MOST),
        (65536, 10, True, MOST_ON_WINDOWS),
        (1024, 10, False, 1024 - 128 - 120 - RESERVE),
        (256, 10, False, LEAST),
        (1024, 1000, False, LEAST),
    ],
)
def test_the_limit_leaves_descriptors_to_the_sessions(
    descriptors: int, sessions: int, windows: bool, limit: int
) -> None:
    assert connection_limit(descriptors, sessions, windows=windows) == limit


@pytest.mark.parametrize(
    ("method", "path", "reserved"),
    [
        ("GET", "/health", True),
        ("GET", "/sessions/", True),
        ("HEAD", "/ready", True),
        ("POST", "/sessions", False),
        ("GET", "/sessions/a", False),
        ("GET", "/", False),
    ],
)
def test_the_routes_that_show_what_is_going_on_are_reserved(method: str, path: str, reserved: bool) -> None:
    assert is_reserved(method, path) is reserved
