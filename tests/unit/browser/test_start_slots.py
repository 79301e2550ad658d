"""The limit on concurrent browser starts, and their order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from drover.browser import start_slots
from drover.browser.start_slots import StartSlots, starts_at_once, usable_cores
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, SessionLost
from tests.machine import wait_until

TIMEOUT_S = 10.0


class Start(threading.Thread):
    """A start in a thread of its own that waits for its slot and holds it until `finish`."""

    def __init__(self, slots: StartSlots, begun: list[str], name: str, *, low_priority: bool) -> None:
        super().__init__(name=name, daemon=True)
        self._slots = slots
        self._begun = begun
        self._low_priority = low_priority
        self._end = threading.Event()
        self.has_slot = threading.Event()
        self.wanted = True
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with self._slots.slot(Deadline(TIMEOUT_S), lambda: self.wanted, low_priority=self._low_priority):
                self._begun.append(self.name)
                self.has_slot.set()
                assert self._end.wait(TIMEOUT_S)
        except (SessionLost, BrowserUnavailable) as error:
            self.error = error

    def finish(self) -> None:
        self._end.set()
        self.join(TIMEOUT_S)


class Starts:
    """Starts that share one set of slots."""

    def __init__(self, limit: int) -> None:
        self.slots = StartSlots(limit)
        self.begun: list[str] = []
        self._all: list[Start] = []

    def begin(self, name: str, *, low_priority: bool = False) -> Start:
        """Begin a start; return when it waits in the queue or has a slot."""
        start = Start(self.slots, self.begun, name, low_priority=low_priority)
        self._all.append(start)
        start.start()
        wait_until(lambda: start.has_slot.is_set() or len(self.slots._queue) == self._waiting(), "it waits")
        return start

    def running(self, name: str) -> Start:
        """Return a start that has a slot."""
        start = self.begin(name)
        assert start.has_slot.wait(TIMEOUT_S)
        return start

    def finish(self) -> None:
        """End all starts."""
        for start in self._all:
            start.wanted = False
        for start in self._all:
            start.finish()

    def _waiting(self) -> int:
        return sum(1 for start in self._all if start.is_alive() and not start.has_slot.is_set())


@pytest.fixture
def starts() -> Iterator[Starts]:
    """Return starts of which one may run at a time."""
    starts = Starts(1)
    yield starts
    starts.finish()


def test_starts_up_to_the_limit_get_a_slot_and_the_next_waits() -> None:
    slots = StartSlots(2)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(slots.slot(Deadline(0), lambda: True, low_priority=False))
        with (
            pytest.raises(BrowserUnavailable, match="no start slot became free in time"),
            slots.slot(Deadline(0), lambda: True, low_priority=False),
        ):
            pytest.fail("a third one got a slot")
    with slots.slot(Deadline(0), lambda: True, low_priority=False):
        assert len(slots._starting) == 1


def test_starts_are_served_in_order(starts: Starts) -> None:
    first = starts.running("first")
    waiting = [starts.begin(name) for name in ("second", "third", "fourth")]
    first.finish()
    for start in waiting:
        assert start.has_slot.wait(TIMEOUT_S)
        start.finish()
    assert starts.begun == ["first", "second", "third", "fourth"]


def test_low_priority_starts_are_served_last(starts: Starts) -> None:
    first = starts.running("first")
    warm, client = starts.begin("warm", low_priority=True), starts.begin("client")
    first.finish()
    assert client.has_slot.wait(TIMEOUT_S)
    client.finish()
    assert warm.has_slot.wait(TIMEOUT_S)
    assert starts.begun == ["first", "client", "warm"]


def test_an_unwanted_start_leaves_the_queue_immediately(starts: Starts) -> None:
    first = starts.running("first")
    lost, next_one = starts.begin("lost"), starts.begin("next")
    lost.wanted = False
    lost.join(TIMEOUT_S)
    assert isinstance(lost.error, SessionLost)
    assert not next_one.has_slot.is_set()
    first.finish()
    assert next_one.has_slot.wait(TIMEOUT_S)


def test_a_failed_start_releases_its_slot() -> None:
    slots = StartSlots(1)
    with pytest.raises(OSError, match="no"), slots.slot(Deadline(0), lambda: True, low_priority=False):
        raise OSError("no")
    with slots.slot(Deadline(0), lambda: True, low_priority=False):
        assert slots._queue == []


def test_a_hung_start_does_not_block_others(starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = starts.running("hanging")
    monkeypatch.setattr(start_slots, "STUCK_S", 0.0)
    next_one = starts.running("next")
    hanging.finish()
    next_one.finish()
    assert starts.slots._starting == []


def test_the_limit_is_one_more_than_the_cores_up_to_a_maximum() -> None:
    assert [starts_at_once(cores) for cores in (1, 2, 4, 64)] == [2, 3, 5, 8]
    assert usable_cores() >= 1
