"""Who is in control of a session: one viewer at a time, and the session is in use meantime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from drover.attach.view_control import CONTROL_S, Control, Viewer
from drover.core.errors import SessionInUse, SessionNotFound


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.users = 0

    def __call__(self) -> float:
        return self.now

    @contextmanager
    def use(self) -> Iterator[None]:
        """Count the uses that are open."""
        self.users += 1
        yield
        self.users -= 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def control(clock: Clock) -> Control:
    return Control(clock.use, clock)


def test_the_first_input_takes_control_and_uses_the_session(control: Control, clock: Clock) -> None:
    anna = Viewer("Anna")
    assert (control.holder(), clock.users) == (None, 0)
    control.note_input(anna)
    control.note_input(anna)
    assert (control.holder(), clock.users) == (anna, 1)
    control.leave(anna)
    assert (control.holder(), clock.users) == (None, 0)


def test_control_ends_a_minute_after_the_last_input(control: Control, clock: Clock) -> None:
    anna = Viewer("Anna")
    control.note_input(anna)
    clock.now += CONTROL_S - 1
    control.note_input(anna)
    clock.now += CONTROL_S - 1
    assert (control.holder(), clock.users) == (anna, 1)
    clock.now += 1
    assert (control.holder(), clock.users) == (None, 0)
    control.note_input(anna)
    assert control.holder() is anna


def test_who_lost_control_gets_it_again_only_on_request(control: Control, clock: Clock) -> None:
    anna, ben = Viewer("Anna"), Viewer("Ben")
    control.note_input(anna)
    control.take(ben)
    assert (control.holder(), clock.users) == (ben, 1)
    with pytest.raises(SessionInUse):
        control.note_input(anna)
    assert control.holder() is ben
    control.take(anna)
    control.note_input(anna)
    assert (control.holder(), clock.users) == (anna, 1)
    with pytest.raises(SessionInUse):
        control.note_input(ben)


def test_who_lost_control_gets_it_by_input_once_it_is_free(control: Control, clock: Clock) -> None:
    anna, ben = Viewer("Anna"), Viewer("Ben")
    control.take(anna)
    control.take(ben)
    control.leave(anna)
    assert control.holder() is ben
    control.take(anna)
    control.leave(anna)
    control.note_input(ben)
    assert (control.holder(), clock.users) == (ben, 1)


def test_a_closed_session_cannot_be_taken() -> None:
    @contextmanager
    def use() -> Iterator[None]:
        raise SessionNotFound("it was closed")
        yield

    control = Control(use)
    with pytest.raises(SessionNotFound):
        control.take(Viewer(""))
    assert control.holder() is None
