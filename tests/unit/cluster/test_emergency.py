"""A node's part of an emergency of all nodes."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from drover.cluster import emergency
from drover.cluster.emergency import NodeEmergency
from drover.core.deadline import Deadline
from drover.core.errors import DroverError, Overloaded
from tests.machine import wait_until


class Shared:
    """The database of one node, as far as emergencies concern it."""

    def __init__(self) -> None:
        self.ordered = self.emergency = 2
        self.database = self.ownership = self

    def begin_emergency(self) -> int:
        self.ordered += 1
        return self.ordered


class Recovery:
    """This machine's part; it fails with an error, or cannot delete everything, or waits."""

    def __init__(self, error: DroverError | None = None, *, cleared: bool = True) -> None:
        self.error = error
        self.cleared = cleared
        self.runs = 0
        self.may_end = threading.Event()
        self.may_end.set()

    def run(self, _: Deadline) -> Any:  # noqa: ANN401 - as much of a report as is needed
        self.runs += 1
        assert self.may_end.wait(10)
        if self.error is not None:
            raise self.error
        return SimpleNamespace(cleared=self.cleared)


def node_emergency(recovery: Recovery, shared: Shared) -> tuple[NodeEmergency, list[object]]:
    """Return the part of a node, and the events that it emits."""
    emitted: list[object] = []
    of_node: Any = shared
    of_machine: Any = recovery
    part = NodeEmergency(of_node, of_machine, emitted.append)
    part.begin_to_obey()
    return part, emitted


def obey(part: NodeEmergency, number: int) -> None:
    """Have an emergency obeyed, and wait for the end of that."""
    part.obey(number)
    wait_until(lambda: not part._turn.locked(), "it is obeyed", 10)


@pytest.mark.parametrize("cleared", [False, True])
def test_an_emergency_is_obeyed_when_everything_is_deleted(*, cleared: bool) -> None:
    shared, recovery = Shared(), Recovery(cleared=cleared)
    part, _ = node_emergency(recovery, shared)
    obey(part, 3)
    assert shared.emergency == (3 if cleared else 2)
    recovery.cleared = True
    obey(part, 3)
    assert shared.emergency == 3
    assert recovery.runs == (1 if cleared else 2)


@pytest.mark.parametrize("error", [Overloaded("a cleanup runs"), None])
def test_the_node_that_orders_an_emergency_has_obeyed_it_when_its_own_part_is_done(
    error: DroverError | None,
) -> None:
    shared, recovery = Shared(), Recovery(error, cleared=False)
    part, emitted = node_emergency(recovery, shared)
    if error is None:
        assert part.order(Deadline(1))[0] == 3
    else:
        with pytest.raises(Overloaded):
            part.order(Deadline(1))
    assert shared.emergency == 2
    # The next sign of life does it again, until it is done.
    obey(part, 3)
    assert len(emitted) == (error is not None)
    recovery.error, recovery.cleared = None, True
    obey(part, 3)
    assert (shared.emergency, recovery.runs) == (3, 3)


def test_a_sign_of_life_begins_no_second_part_while_the_first_is_in_progress() -> None:
    shared, recovery = Shared(), Recovery()
    recovery.may_end.clear()
    part, _ = node_emergency(recovery, shared)
    ordering = threading.Thread(target=part.order, args=[Deadline(10)])
    ordering.start()
    wait_until(lambda: recovery.runs == 1, "it has begun", 10)
    part.obey(3)
    with pytest.raises(Overloaded):
        part.order(Deadline(0.01))
    recovery.may_end.set()
    ordering.join()
    assert (shared.emergency, recovery.runs) == (3, 1)


def test_a_part_for_which_no_thread_can_be_started_is_begun_by_a_later_sign_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(*_: object) -> None:
        raise Overloaded("no thread")

    shared, recovery = Shared(), Recovery()
    part, emitted = node_emergency(recovery, shared)
    with monkeypatch.context() as patched:
        patched.setattr(emergency, "start_thread", no_thread)
        part.obey(3)
    assert (len(emitted), recovery.runs) == (1, 0)
    obey(part, 3)
    assert shared.emergency == 3
