"""Many callers, few looks: who shares whose."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from drover.sessions.lifecycle.single_flight import SingleFlight
from tests.machine import wait_until

PATIENCE_S = 10.0


class Gate:
    """A look that lasts until it is opened, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self._began = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        self._began.release()
        assert self._open.acquire(timeout=PATIENCE_S)
        return number

    def await_begin(self) -> None:
        assert self._began.acquire(timeout=PATIENCE_S)

    def open(self, times: int = 1) -> None:
        self._open.release(times)


class CountedLock:
    """A lock that tells how often it was taken."""

    def __init__(self) -> None:
        self.taken = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_single_caller_looks_at_once() -> None:
    looks: SingleFlight[str] = SingleFlight()
    assert looks.take("session", lambda: "well") == "well"
    assert looks.take("session", lambda: "dead") == "dead"


def test_nobody_gets_a_look_that_began_before_he_asked_and_all_who_wait_share_the_next() -> None:
    looks: SingleFlight[int] = SingleFlight()
    looks._lock = lock = CountedLock()  # type: ignore[assignment]
    gate = Gate()
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(looks.take, "session", gate)
        gate.await_begin()
        before = lock.taken
        later = [pool.submit(looks.take, "session", gate) for _ in range(20)]
        wait_until(lambda: lock.taken == before + 20, "all twenty have asked")
        gate.open(times=2)
        assert first.result(PATIENCE_S) == 1
        assert [one.result(PATIENCE_S) for one in later] == [2] * 20
    assert gate.begun == 2


def test_looks_at_different_things_do_not_wait_for_each_other() -> None:
    looks: SingleFlight[int] = SingleFlight()
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(looks.take, "session", gate)
        gate.await_begin()
        assert looks.take("another session", lambda: 7) == 7
        gate.open()
        assert slow.result(PATIENCE_S) == 1


def test_an_error_reaches_its_callers_and_spoils_no_later_look() -> None:
    looks: SingleFlight[int] = SingleFlight()

    def broken() -> int:
        message = "no table"
        raise OSError(message)

    with pytest.raises(OSError, match="no table"):
        looks.take("session", broken)
    assert looks.take("session", lambda: 1) == 1
