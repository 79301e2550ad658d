"""Whose fault a failed start is: a client's capabilities never make the service unhealthy, a machine does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from drover.browser import browsers, launcher, start_diagnostics
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.capabilities.tables import Ignored
from drover.core.backoff import Backoff
from drover.core.errors import BrowserUnavailable, SessionNotCreated
from drover.sessions.background import start_probe
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import TIMEOUT_S, ServiceHarness, running_harness
from tests.machine import wait_until

SPECIAL = CheckedCapabilities({"pageLoadStrategy": "none"})


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(start_probe, "BACKOFF", Backoff(first_s=0.2, longest_s=600.0))
    with running_harness(folder, monkeypatch) as harness:
        yield harness


def test_capabilities_with_which_chrome_does_not_start_are_the_clients_mistake(
    harness: ServiceHarness,
) -> None:
    harness.set_fault(Fault.REFUSES_CAPABILITIES)
    with pytest.raises(SessionNotCreated, match=r"but not with these .*Chrome instance exited") as refused:
        harness.acquire(capabilities=SPECIAL)
    assert refused.value.status == 400
    assert harness.manager.unavailable is None
    assert harness.has_logged("Session .* could not be started: Chrome starts with default capabilities.*")
    harness.assert_nothing_is_left()


@pytest.mark.parametrize("fault", [Fault.DIES_ONCE, Fault.BROWSER_DIES_ONCE])
def test_a_process_that_is_killed_during_a_start_is_not_the_clients_mistake(
    harness: ServiceHarness, fault: Fault
) -> None:
    harness.acquire("one")
    harness.set_fault(fault)
    assert harness.acquire("two", capabilities=SPECIAL).session.running is not None
    assert harness.manager.unavailable is None


def test_a_chromedriver_that_dies_at_every_start_is_not_the_clients_mistake(harness: ServiceHarness) -> None:
    harness.acquire("one")
    harness.set_fault(Fault.DIES_AT_NEW_SESSION)
    with pytest.raises(BrowserUnavailable, match="ChromeDriver does not answer"):
        harness.acquire("two", capabilities=SPECIAL)
    assert harness.manager.unavailable is None
    harness.set_fault(Fault.NONE)


def test_capabilities_that_chromedriver_rejects_are_the_clients_mistake_with_every_cause_named(
    harness: ServiceHarness,
) -> None:
    harness.set_fault(Fault.REJECTS_CAPABILITIES)
    with pytest.raises(SessionNotCreated, match=r"cannot parse capability.*'x' must be a device"):
        harness.acquire(capabilities=SPECIAL)
    assert harness.manager.unavailable is None
    harness.assert_nothing_is_left()


def test_a_machine_on_which_no_chrome_starts_is_found_out_by_a_clients_start(harness: ServiceHarness) -> None:
    harness.set_fault(Fault.REFUSES_SESSION)
    with pytest.raises(BrowserUnavailable):
        harness.acquire(capabilities=SPECIAL)
    assert harness.manager.unavailable
    harness.assert_nothing_is_left()


def test_a_chromedriver_that_does_not_start_is_never_the_clients_mistake(harness: ServiceHarness) -> None:
    harness.set_fault(Fault.REFUSES_TO_START)
    with pytest.raises(BrowserUnavailable):
        harness.acquire(capabilities=SPECIAL)
    assert harness.manager.unavailable


def test_a_profile_that_cannot_be_written_is_not_the_clients_mistake(harness: ServiceHarness) -> None:
    harness.acquire("one")
    harness.set_fault(Fault.CANNOT_WRITE)
    with pytest.raises(BrowserUnavailable, match="failed to write prefs file"):
        harness.acquire("two", capabilities=SPECIAL)
    assert harness.manager.unavailable
    harness.set_fault(Fault.NONE)
    assert harness.acquire("two", capabilities=SPECIAL).session.running is not None
    assert harness.manager.unavailable is None


def test_a_default_start_a_moment_ago_is_proof_enough(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsers, "RECENT_S", TIMEOUT_S)
    harness.acquire("one")
    harness.set_fault(Fault.REFUSES_SESSION)
    with pytest.raises(SessionNotCreated):
        harness.acquire("two", capabilities=SPECIAL)
    assert harness.manager.unavailable is None


def test_a_start_that_fails_on_a_full_disk_is_not_the_clients_mistake(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.acquire("one")
    harness.set_fault(Fault.REFUSES_CAPABILITIES)
    monkeypatch.setattr(start_diagnostics, "ENOUGH_DISK_MB", 10**9)
    with pytest.raises(BrowserUnavailable, match="Disk full"):
        harness.acquire("two", capabilities=SPECIAL)
    assert harness.manager.unavailable is None


def test_without_time_to_find_out_a_start_probe_does_it_later(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsers, "CONTROL_S", 10_000.0)
    harness.set_fault(Fault.REFUSES_CAPABILITIES)
    with pytest.raises(BrowserUnavailable):
        harness.acquire(capabilities=SPECIAL)
    assert harness.manager.unavailable is None
    wait_until(lambda: not harness.service.browsers.launcher.doubtful, "a start probe has succeeded")
    assert harness.manager.unavailable is None


def test_what_was_set_aside_stays_with_the_session_and_is_logged_once(harness: ServiceHarness) -> None:
    aside = CheckedCapabilities({"pageLoadStrategy": "none"}, (Ignored("no-sandbox", "why"),))
    assert harness.acquire("one", capabilities=aside).session.capabilities == aside
    assert harness.acquire("one").session.capabilities == aside
    lines = [line for line in harness.recorder.lines if "set aside" in line]
    assert lines == ["Session one: capabilities set aside: no-sandbox (why)"]
