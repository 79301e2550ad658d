"""Request coalescing: which callers share which call."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from drover.core.deadline import ClientDisconnected, Deadline, DeadlineExceeded
from drover.sessions.lifecycle.single_flight import SingleFlight
from tests.machine import wait_until

TIMEOUT_S = 10.0
LATE = Deadline(86_400)
"""Counted from the import of this module, which may be long before its tests run."""


class Gate:
    """A call that blocks until it is opened, and counts how often it has begun."""

    def __init__(self) -> None:
        self.begun = 0
        self._began = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        self._began.release()
        assert self._open.acquire(timeout=TIMEOUT_S)
        return number

    def await_begin(self) -> None:
        assert self._began.acquire(timeout=TIMEOUT_S)

    def open(self, times: int = 1) -> None:
        self._open.release(times)


class CountedLock:
    """A lock that counts how often it was acquired."""

    def __init__(self) -> None:
        self.taken = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_single_caller_makes_its_own_call_immediately() -> None:
    probes: SingleFlight[str] = SingleFlight()
    assert probes.do("session", lambda: "well", LATE) == "well"
    assert probes.do("session", lambda: "dead", LATE) == "dead"


def test_a_call_that_is_already_running_is_not_shared_and_all_waiting_callers_share_the_next() -> None:
    probes: SingleFlight[int] = SingleFlight()
    probes._lock = lock = CountedLock()  # type: ignore[assignment]
    gate = Gate()
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(probes.do, "session", gate, LATE)
        gate.await_begin()
        before = lock.taken
        later = [pool.submit(probes.do, "session", gate, LATE) for _ in range(20)]
        wait_until(lambda: lock.taken == before + 20, "all twenty have asked")
        gate.open(times=2)
        assert first.result(TIMEOUT_S) == 1
        assert [one.result(TIMEOUT_S) for one in later] == [2] * 20
    assert gate.begun == 2


def test_calls_with_different_keys_do_not_wait_for_each_other() -> None:
    probes: SingleFlight[int] = SingleFlight()
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(probes.do, "session", gate, LATE)
        gate.await_begin()
        assert probes.do("another session", lambda: 7, LATE) == 7
        gate.open()
        assert slow.result(TIMEOUT_S) == 1


def test_an_error_reaches_its_callers_and_does_not_affect_later_calls() -> None:
    probes: SingleFlight[int] = SingleFlight()

    def broken() -> int:
        message = "no table"
        raise OSError(message)

    with pytest.raises(OSError, match="no table"):
        probes.do("session", broken, LATE)
    assert probes.do("session", lambda: 1, LATE) == 1


class StallingLock(CountedLock):
    """A lock that holds up one thread at its third acquisition, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.stalled = threading.Event()
        self._acquired: dict[str, int] = {}

    def __enter__(self) -> None:
        name = threading.current_thread().name
        self._acquired[name] = self._acquired.get(name, 0) + 1
        if name == "slow" and self._acquired[name] == 3:
            self.stalled.set()
            assert self.let_go.wait(TIMEOUT_S)
        super().__enter__()


def test_a_call_that_is_overtaken_between_its_end_and_its_note_of_it_returns_its_result() -> None:
    flight: SingleFlight[int] = SingleFlight()
    lock = StallingLock()
    flight._lock = lock  # type: ignore[assignment]  # forces the order that preemption causes
    results: list[int] = []
    slow = threading.Thread(target=lambda: results.append(flight.do("a", lambda: 1, LATE)), name="slow")
    slow.start()
    assert lock.stalled.wait(TIMEOUT_S)
    assert flight.do("a", lambda: 2, LATE) == 2
    lock.let_go.set()
    slow.join(TIMEOUT_S)
    assert results == [1]


def test_a_caller_waits_for_a_running_call_until_its_deadline_at_most() -> None:
    probes: SingleFlight[int] = SingleFlight()
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(probes.do, "session", gate, LATE)
        gate.await_begin()
        with pytest.raises(DeadlineExceeded):
            probes.do("session", gate, Deadline(0))
        gate.open()
        assert running.result(TIMEOUT_S) == 1
    assert gate.begun == 1


def test_a_caller_that_gives_up_leaves_its_call_to_those_who_wanted_to_share_it() -> None:
    probes: SingleFlight[int] = SingleFlight()
    probes._lock = lock = CountedLock()  # type: ignore[assignment]
    gate = Gate()
    disconnected: Future[None] = Future()
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(probes.do, "session", gate, LATE)
        gate.await_begin()
        before = lock.taken
        leaving = pool.submit(probes.do, "session", gate, Deadline(600, disconnected))
        wait_until(lambda: lock.taken == before + 1, "it is about to make the next call")
        joined = pool.submit(probes.do, "session", gate, LATE)
        wait_until(lambda: lock.taken == before + 2, "another one shares that call")
        disconnected.set_result(None)
        assert isinstance(leaving.exception(TIMEOUT_S), ClientDisconnected)
        gate.open(times=2)
        assert running.result(TIMEOUT_S) == 1
        assert joined.result(TIMEOUT_S) == 2
