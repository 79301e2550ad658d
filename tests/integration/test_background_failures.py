"""Background jobs that fail: each failure is logged with its session, and counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from drover.browser import browsers, launcher
from drover.browser.browsers import DEFAULT
from drover.core.backoff import Backoff
from drover.core.deadline import Deadline
from drover.server import background
from drover.sessions.background import memory_meter, start_probe
from drover.sessions.lifecycle import health_monitor
from drover.sessions.persistence import state_saver
from drover.sessions.pool.acquire_request import AcquireRequest
from drover.sessions.pool.session import KeepAlive
from drover.storage.session_folders import SessionFolder, SessionFolders
from tests.integration.service_harness import TIMEOUT_S, ServiceHarness, running_harness
from tests.machine import wait_until


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(start_probe, "BACKOFF", Backoff(first_s=0.1, longest_s=0.1))
    with running_harness(folder, monkeypatch, watch_interval=0.2) as harness:
        yield harness


def fail(*_: object, **__: object) -> None:
    raise KeyError("what nobody expected")


EXPECTED = (
    r"Background job failed: watch of session a: KeyError: .*",
    r"Background job failed: memory measurement: KeyError: .*",
    r"Background job failed: state save of session a: KeyError: .*",
    r"Background job failed: keep-alive visit of session a: KeyError: .*",
    r"Background job failed: start probe: KeyError: .*",
)


def test_every_failure_in_the_background_is_logged_with_its_session_and_counted(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(health_monitor, "look_at_helpers", fail)
        patch.setattr(memory_meter, "snapshot", fail)
        patch.setattr(state_saver, "network_process", fail)
        patch.setattr(browsers, "visit", fail)
        patch.setattr(harness.service.browsers.launcher, "obstacle", fail)
        patch.setattr(harness.service.browsers.launcher, "unavailable", None)
        page = KeepAlive("https://login.example/", 0.1)
        harness.manager.acquire(AcquireRequest("a", None, None, DEFAULT, 0.0, page), Deadline(TIMEOUT_S))
        harness.service.browsers.launcher.unavailable = "a start has failed"
        for pattern in EXPECTED:
            wait_until(lambda pattern=pattern: harness.has_logged(pattern), pattern)  # type: ignore[misc]
    counted = harness.service.metrics.exposition().decode()
    for kind in ("watch", "memory measurement", "state save", "keep-alive visit", "start probe"):
        assert f'drover_job_failures_total{{kind="{kind}"}} 0.0' not in counted
    assert harness.acquire("a").recovery is None


def test_a_disk_that_hangs_while_orphaned_folders_are_searched_delays_no_idle_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def present(_: SessionFolders) -> tuple[SessionFolder, ...]:
        hangs.set()
        goes_on.wait()
        return ()

    monkeypatch.setattr(background, "TIDY_TICK_S", 0.1)
    with monkeypatch.context() as patched, running_harness(folder, monkeypatch) as harness:
        try:
            patched.setattr(SessionFolders, "present", present)
            assert hangs.wait(60)
            harness.acquire("idle", idle=0.1)
            wait_until(lambda: not harness.registry.sessions(), "it is closed")
        finally:
            goes_on.set()
