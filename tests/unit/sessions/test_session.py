"""Session states: the transitions that exist, and those that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drover.sessions.pool.session import SESSION_ID, TRANSITIONS, IllegalTransition, SessionState
from tests.unit.examples import session

STARTING, READY, RECOVERING, CLOSING = SessionState
ALLOWED = {
    (STARTING, READY),
    (STARTING, CLOSING),
    (READY, RECOVERING),
    (READY, CLOSING),
    (RECOVERING, READY),
    (RECOVERING, CLOSING),
    (CLOSING, CLOSING),
}
ALL = {(old, new) for old in SessionState for new in SessionState}


def test_the_table_has_exactly_the_known_transitions() -> None:
    assert {(old, new) for old, targets in TRANSITIONS.items() for new in targets} == ALLOWED


@pytest.mark.parametrize(("old", "new"), sorted(ALLOWED))
def test_a_transition_of_the_table_begins_a_new_generation(old: SessionState, new: SessionState) -> None:
    before = session(state=old, generation=7)
    after = before.moved(new)
    assert (after.state, after.generation) == (new, 8)
    assert replace(after, state=old, generation=7) == before


@pytest.mark.parametrize(("old", "new"), sorted(ALL - ALLOWED))
def test_every_other_transition_is_refused(old: SessionState, new: SessionState) -> None:
    with pytest.raises(IllegalTransition, match=f"one: {old.value} -> {new.value}"):
        session(state=old).moved(new)


def test_a_session_is_in_use_while_a_command_runs() -> None:
    assert not session(state=READY).in_use
    assert session(state=READY, commands=1).in_use


@pytest.mark.parametrize(
    ("fields", "evictable"),
    [
        ({"state": READY}, True),
        ({"state": READY, "callers": 1}, False),
        ({"state": READY, "commands": 1}, False),
        ({"state": STARTING}, False),
        ({"state": RECOVERING}, False),
        ({"state": CLOSING}, False),
    ],
)
def test_only_a_ready_session_that_is_not_in_use_may_be_evicted(
    fields: dict[str, Any], evictable: bool
) -> None:
    assert session(**fields).evictable is evictable


@pytest.mark.parametrize(
    ("fields", "now", "idle"),
    [
        ({"idle_timeout": 10}, 109.9, False),
        ({"idle_timeout": 10}, 110.0, True),
        ({"idle_timeout": 0}, 1e9, False),
        ({"idle_timeout": 10, "callers": 1}, 1e9, False),
        ({"idle_timeout": 10, "commands": 1}, 1e9, False),
        ({"idle_timeout": 10, "state": RECOVERING}, 1e9, False),
    ],
)
def test_a_session_is_idle_after_its_timeout_without_use(
    fields: dict[str, Any], now: float, idle: bool
) -> None:
    assert replace(session(state=READY, last_used_mono=100.0), **fields).idle_at(now) is idle


@pytest.mark.parametrize("name", ["a", "Z9", "session_3f9c0a1b2c4d", "a-b_c", "x" * 64])
def test_a_valid_session_id_is_accepted(name: str) -> None:
    assert SESSION_ID.fullmatch(name)


@pytest.mark.parametrize("name", ["", "_a", "-a", "a b", "a/b", "../a", "ä", "a\n", "x" * 65])
def test_an_invalid_session_id_is_refused(name: str) -> None:
    assert not SESSION_ID.fullmatch(name)
