"""Many sessions that start at once take turns, and whatever befalls them, none waits for ever."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest

from drover.browser import launcher
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, SessionLost
from drover.sessions.pool.acquire_request import Acquired
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import TIMEOUT_S, ServiceHarness, running_harness
from tests.machine import kill, wait_until

AT_ONCE = 2


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    """Give a house in which two browsers may start at a time."""
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(launcher, "usable_cores", lambda: AT_ONCE - 1)
    with running_harness(folder, monkeypatch) as harness:
        yield harness


def acquire_concurrently(harness: ServiceHarness, size: int) -> list[Future[Acquired]]:
    """Let so many clients ask for sessions whose starts hang, and give them when all slots are taken."""
    harness.set_fault(Fault.HUNG)
    names = [f"s{number}" for number in range(size)]
    asking = [harness.run_in_thread(lambda name=name: harness.acquire(name)) for name in names]  # type: ignore[misc]
    wait_until(
        lambda: {s.session_id for s in harness.manager.registry.sessions()} >= set(names), "all are in"
    )
    wait_until(lambda: len(started(harness) & set(names)) == AT_ONCE, "the first two start")
    return asking


def started(harness: ServiceHarness) -> set[str]:
    """Give the ids of the sessions whose ChromeDriver was started."""
    return {
        session.session_id
        for session in harness.manager.registry.sessions()
        if session.folder.driver_output.exists()
    }


def test_no_more_start_at_once_than_may_and_all_are_served(harness: ServiceHarness) -> None:
    asking = acquire_concurrently(harness, 6)
    assert len(harness.drivers()) == AT_ONCE
    harness.set_fault(Fault.NONE)
    assert all(one.result(TIMEOUT_S).created for one in asking)
    assert len(harness.drivers()) == 6


def test_one_that_is_deleted_while_it_waits_is_gone_at_once_and_starts_nothing(
    harness: ServiceHarness,
) -> None:
    asking = acquire_concurrently(harness, 3)
    (waiting,) = {"s0", "s1", "s2"} - started(harness)
    harness.manager.close(waiting, Deadline(TIMEOUT_S))
    assert len(harness.drivers()) == AT_ONCE
    harness.set_fault(Fault.NONE)
    outcomes = [type(one.exception(TIMEOUT_S)) for one in asking]
    assert outcomes.count(SessionLost) == 1
    assert len(harness.manager.registry.sessions()) == AT_ONCE


def test_an_emergency_ends_those_who_wait_as_well_and_the_next_start_at_once(harness: ServiceHarness) -> None:
    asking = acquire_concurrently(harness, 5)
    harness.manager.emergency()
    for one in asking:
        assert isinstance(one.exception(TIMEOUT_S), (SessionLost, BrowserUnavailable))
    assert harness.manager.registry.sessions() == ()
    harness.assert_nothing_is_left()
    harness.set_fault(Fault.NONE)
    assert harness.acquire("s0").created


def test_a_browser_that_lives_gets_its_new_driver_past_those_who_wait(harness: ServiceHarness) -> None:
    session = harness.acquire("old").session
    assert session.running is not None
    asking = acquire_concurrently(harness, 4)
    harness.set_fault_for(Fault.HUNG, harness.drivers() - {session.running.driver.pid})
    kill([psutil.Process(session.running.driver.pid)])
    assert harness.acquire("old").recovery is not None
    harness.set_fault(Fault.NONE)
    assert all(one.result(TIMEOUT_S).created for one in asking)


def test_the_stop_waits_for_nobody_in_the_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(launcher, "usable_cores", lambda: AT_ONCE - 1)
    with running_harness(folder, monkeypatch) as harness:
        asking = acquire_concurrently(harness, 5)
    assert all(one.exception(TIMEOUT_S) is not None for one in asking)
