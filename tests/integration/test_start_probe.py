"""After a start that failed the service finds out by itself when browsers can be started again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Semaphore
from typing import cast

import pytest

from drover.browser import launcher
from drover.browser.launcher import Launcher
from drover.core.errors import BrowserUnavailable
from drover.sessions.background import start_probe
from drover.sessions.background.start_probe import StartProbe
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.storage.session_folders import SessionFolders
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import PATIENCE_S, House, opened
from tests.machine import wait_until

TRIED = r"Warm browser ready after .*"
CLOSED = r"Session warm:\w+ closed \(the trial is over\)"
FAILED = r"Session warm:\w+ could not be started: .*"


@pytest.fixture
def house(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(start_probe, "REST_S", 0.2)
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
    looks = Semaphore(0)

    def obstacle(_: Launcher) -> str:
        looks.release()
        return "nothing works here"

    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "obstacle", obstacle)
        fail_once(house)
        house.become(Fault.NONE)
        for _ in range(2):
            assert looks.acquire(timeout=PATIENCE_S)
        assert house.manager.unavailable == "nothing works here"
        assert not house.said(TRIED)
    wait_until(lambda: house.manager.unavailable is None, "a trial has worked")


class WellLauncher:
    """A launcher whose last start has worked, and that is not to be asked."""

    unavailable = None

    def obstacle(self) -> str:
        raise AssertionError("a service that is well has looked for an obstacle")


def test_a_service_that_is_well_tries_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_probe, "REST_S", 0.0)
    registry = house.manager.registry
    well = StartProbe(
        registry,
        cast("Launcher", WellLauncher()),
        cast("SessionWorker", None),
        SessionFolders(house.data_dir),
    )
    for _ in range(3):
        well.begin()
    assert not [thread for thread in threading.enumerate() if thread.name == "trial"]
    assert registry.works() == ()
