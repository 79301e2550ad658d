"""After a start that failed the service finds out by itself when browsers can be started again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import last_words, launcher
from errors import BrowserUnavailable
from sessions import trials
from tests.integration.fake_chromedriver import Fault
from tests.integration.house import House, opened
from tests.machine import wait_until

TRIED = r"Warm browser ready after .*"
CLOSED = r"Session warm:\w+ closed \(the trial is over\)"
FAILED = r"Session warm:\w+ could not be started: .*"


@pytest.fixture
def house(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(trials, "REST_S", 0.2)
    with opened(folder, monkeypatch) as house:
        yield house


def fail_once(house: House) -> None:
    house.become(Fault.REFUSES_SESSION)
    with pytest.raises(BrowserUnavailable):
        house.acquire()
    assert house.manager.unavailable


def test_a_trial_that_works_makes_the_service_well_and_leaves_nothing(house: House) -> None:
    fail_once(house)
    house.become(Fault.NONE)
    wait_until(lambda: house.said(CLOSED), "a trial is over")
    assert house.said(TRIED)
    assert house.manager.unavailable is None
    wait_until(lambda: not any((house.data_dir / "s").iterdir()), "no folder is left")
    house.assert_nothing_is_left()


def test_while_starts_fail_the_service_is_not_well(house: House) -> None:
    fail_once(house)
    wait_until(lambda: house.said(FAILED), "a trial has failed")
    assert house.manager.unavailable
    assert not house.said(TRIED)


def test_while_something_speaks_against_a_start_none_is_tried(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(house)
    monkeypatch.setattr(last_words, "ENOUGH_DISK_MB", 10**9)
    wait_until(lambda: "make room" in str(house.manager.unavailable), "the full disk is told")
    starts = len([line for line in house.ear.lines if "could not be started" in line])
    house.become(Fault.NONE)
    assert not house.said(TRIED)
    monkeypatch.undo()
    wait_until(lambda: house.manager.unavailable is None, "there is room, and a trial has worked")
    assert len([line for line in house.ear.lines if "could not be started" in line]) == starts


def test_a_service_that_is_well_tries_nothing(house: House) -> None:
    house.acquire("one")
    assert not house.said(TRIED)
    assert not house.said(FAILED)
