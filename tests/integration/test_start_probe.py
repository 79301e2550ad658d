"""After a failed start the service detects by itself when browsers can be started again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Semaphore
from typing import cast

import pytest

from drover.browser import launcher
from drover.browser.browsers import Browsers
from drover.browser.launcher import Launcher
from drover.core.backoff import Backoff
from drover.core.errors import BrowserUnavailable
from drover.core.jobs import Jobs
from drover.sessions.background import start_probe
from drover.sessions.background.start_probe import StartProbe
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.storage.session_folders import SessionFolders
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import TIMEOUT_S, ServiceHarness, running_harness
from tests.machine import wait_until

TRIED = r"Warm browser ready after .*"
CLOSED = r"Session warm:\w+ closed \(start probe\)"
FAILED = r"Session warm:\w+ could not be started: .*"


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(start_probe, "BACKOFF", Backoff(first_s=0.2, longest_s=600.0))
    with running_harness(folder, monkeypatch) as harness:
        yield harness


def fail_once(harness: ServiceHarness) -> None:
    harness.set_fault(Fault.REFUSES_SESSION)
    with pytest.raises(BrowserUnavailable):
        harness.acquire()
    assert harness.manager.unavailable


def test_a_successful_start_probe_makes_the_service_healthy_and_leaves_nothing(
    harness: ServiceHarness,
) -> None:
    fail_once(harness)
    harness.set_fault(Fault.NONE)
    wait_until(lambda: harness.has_logged(CLOSED), "a start probe has ended")
    assert harness.has_logged(TRIED)
    assert harness.manager.unavailable is None
    wait_until(lambda: not any((harness.data_dir / "s").iterdir()), "no folder is left")
    harness.assert_nothing_is_left()


def test_the_service_is_unhealthy_while_starts_fail(harness: ServiceHarness) -> None:
    fail_once(harness)
    wait_until(lambda: harness.has_logged(FAILED), "a start probe has failed")
    assert harness.manager.unavailable
    assert not harness.has_logged(TRIED)


def test_no_start_is_attempted_while_there_is_an_obstacle(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    obstacle_reads = Semaphore(0)

    def obstacle(_: Launcher) -> str:
        obstacle_reads.release()
        return "nothing works here"

    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "obstacle", obstacle)
        fail_once(harness)
        harness.set_fault(Fault.NONE)
        for _ in range(2):
            assert obstacle_reads.acquire(timeout=TIMEOUT_S)
        assert harness.manager.unavailable == "nothing works here"
        assert not harness.has_logged(TRIED)
    wait_until(lambda: harness.manager.unavailable is None, "a start probe has succeeded")


class HealthyBrowsers:
    """Browsers whose last start worked, and whose obstacle must not be read."""

    is_doubtful = False

    def obstacle(self) -> str:
        raise AssertionError("a healthy service looked for an obstacle")


def test_a_healthy_service_attempts_no_start(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_probe, "BACKOFF", Backoff(first_s=0.0, longest_s=0.0))
    registry = harness.registry
    well = StartProbe(
        registry,
        cast("Browsers", HealthyBrowsers()),
        cast("SessionWorker", None),
        SessionFolders(harness.data_dir),
        cast("Jobs", None),
    )
    for _ in range(3):
        well.begin()
    assert registry.works() == ()
