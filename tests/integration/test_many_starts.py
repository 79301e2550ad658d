"""Many sessions that start at once take turns, and every request gets an answer."""

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
    """Run a service in which two browsers may start at a time."""
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(launcher, "usable_cores", lambda: AT_ONCE - 1)
    with running_harness(folder, monkeypatch) as harness:
        yield harness


def acquire_concurrently(harness: ServiceHarness, size: int) -> list[Future[Acquired]]:
    """Request `size` sessions whose starts hang; return when all slots are taken."""
    harness.set_fault(Fault.HUNG)
    before = harness.drivers()
    names = [f"s{number}" for number in range(size)]
    asking = [harness.run_in_thread(lambda name=name: harness.acquire(name)) for name in names]  # type: ignore[misc]
    wait_until(
        lambda: {s.session_id for s in harness.registry.sessions()} >= set(names),
        "all sessions are registered",
    )
    wait_until(lambda: len(started(harness) & set(names)) == AT_ONCE, "the first two start")
    wait_until(lambda: len(harness.drivers() - before) == AT_ONCE, "their processes are there")
    return asking


def started(harness: ServiceHarness) -> set[str]:
    """Return the ids of the sessions whose ChromeDriver was started."""
    return {
        session.session_id for session in harness.registry.sessions() if session.folder.driver_output.exists()
    }


def test_concurrent_starts_are_limited_and_all_requests_are_served(harness: ServiceHarness) -> None:
    asking = acquire_concurrently(harness, 6)
    harness.set_fault(Fault.NONE)
    assert all(one.result(TIMEOUT_S).created for one in asking)
    assert len(harness.drivers()) == 6


def test_a_session_deleted_while_it_waits_for_a_slot_starts_nothing(
    harness: ServiceHarness,
) -> None:
    asking = acquire_concurrently(harness, 3)
    (waiting,) = {"s0", "s1", "s2"} - started(harness)
    harness.manager.close(waiting, Deadline(TIMEOUT_S))
    assert len(harness.drivers()) == AT_ONCE
    harness.set_fault(Fault.NONE)
    outcomes = [type(one.exception(TIMEOUT_S)) for one in asking]
    assert outcomes.count(SessionLost) == 1
    assert len(harness.registry.sessions()) == AT_ONCE


def test_an_emergency_ends_waiting_starts_and_new_ones_begin_at_once(harness: ServiceHarness) -> None:
    asking = acquire_concurrently(harness, 5)
    harness.service.sessions.emergency.run(Deadline(TIMEOUT_S))
    for one in asking:
        assert isinstance(one.exception(TIMEOUT_S), (SessionLost, BrowserUnavailable))
    assert harness.registry.sessions() == ()
    harness.assert_nothing_is_left()
    harness.set_fault(Fault.NONE)
    assert harness.acquire("s0").created


@pytest.mark.exhaustive
def test_a_reattach_does_not_wait_for_a_start_slot(harness: ServiceHarness) -> None:
    session = harness.acquire("old").session
    assert session.running is not None
    asking = acquire_concurrently(harness, 4)
    harness.set_fault_for(Fault.HUNG, harness.drivers() - {session.running.driver.pid})
    kill([psutil.Process(session.running.driver.pid)])
    assert harness.acquire("old").recovery is not None
    harness.set_fault(Fault.NONE)
    assert all(one.result(TIMEOUT_S).created for one in asking)


@pytest.mark.exhaustive
def test_stop_does_not_wait_for_queued_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(launcher, "usable_cores", lambda: AT_ONCE - 1)
    with running_harness(folder, monkeypatch) as harness:
        asking = acquire_concurrently(harness, 5)
    assert all(one.exception(TIMEOUT_S) is not None for one in asking)
