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
from tests.integration.service_harness import PATIENCE_S, House, opened
from tests.machine import kill, wait_until

AT_ONCE = 2


@pytest.fixture
def house(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Give a house in which two browsers may start at a time."""
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(launcher, "usable_cores", lambda: AT_ONCE - 1)
    with opened(folder, monkeypatch) as house:
        yield house


def crowd(house: House, size: int) -> list[Future[Acquired]]:
    """Let so many clients ask for sessions whose starts hang, and give them when all slots are taken."""
    house.become(Fault.HUNG)
    names = [f"s{number}" for number in range(size)]
    asking = [house.begin(lambda name=name: house.acquire(name)) for name in names]  # type: ignore[misc]
    wait_until(lambda: {s.session_id for s in house.manager.registry.sessions()} >= set(names), "all are in")
    wait_until(lambda: len(started(house) & set(names)) == AT_ONCE, "the first two start")
    return asking


def started(house: House) -> set[str]:
    """Give the ids of the sessions whose ChromeDriver was started."""
    return {
        session.session_id
        for session in house.manager.registry.sessions()
        if session.folder.driver_output.exists()
    }


def test_no_more_start_at_once_than_may_and_all_are_served(house: House) -> None:
    asking = crowd(house, 6)
    assert len(house.drivers()) == AT_ONCE
    house.become(Fault.NONE)
    assert all(one.result(PATIENCE_S).created for one in asking)
    assert len(house.drivers()) == 6


def test_one_that_is_deleted_while_it_waits_is_gone_at_once_and_starts_nothing(house: House) -> None:
    asking = crowd(house, 3)
    (waiting,) = {"s0", "s1", "s2"} - started(house)
    house.manager.close(waiting, Deadline(PATIENCE_S))
    assert len(house.drivers()) == AT_ONCE
    house.become(Fault.NONE)
    outcomes = [type(one.exception(PATIENCE_S)) for one in asking]
    assert outcomes.count(SessionLost) == 1
    assert len(house.manager.registry.sessions()) == AT_ONCE


def test_an_emergency_ends_those_who_wait_as_well_and_the_next_start_at_once(house: House) -> None:
    asking = crowd(house, 5)
    house.manager.emergency()
    for one in asking:
        assert isinstance(one.exception(PATIENCE_S), (SessionLost, BrowserUnavailable))
    assert house.manager.registry.sessions() == ()
    house.assert_nothing_is_left()
    house.become(Fault.NONE)
    assert house.acquire("s0").created


def test_a_browser_that_lives_gets_its_new_driver_past_those_who_wait(house: House) -> None:
    session = house.acquire("old").session
    assert session.running is not None
    asking = crowd(house, 4)
    house.become_for(Fault.HUNG, house.drivers() - {session.running.driver.pid})
    kill([psutil.Process(session.running.driver.pid)])
    assert house.acquire("old").recovery is not None
    house.become(Fault.NONE)
    assert all(one.result(PATIENCE_S).created for one in asking)


def test_the_stop_waits_for_nobody_in_the_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(launcher, "usable_cores", lambda: AT_ONCE - 1)
    with opened(folder, monkeypatch) as house:
        asking = crowd(house, 5)
    assert all(one.exception(PATIENCE_S) is not None for one in asking)
