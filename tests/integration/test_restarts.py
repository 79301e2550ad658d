"""Leases, warm browsers, crash backoff, stop and restart, over a ChromeDriver that misbehaves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from drover.browser import launcher
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.core.backoff import Backoff, Failures
from drover.core.deadline import ClientDisconnected, Deadline
from drover.core.errors import (
    BrowserUnavailable,
    RecoveryFailed,
    SessionInUse,
    SessionNotFound,
    StorageUnavailable,
)
from drover.server.service import Drover
from drover.sessions.background.memory_meter import MemoryMeter
from drover.sessions.lifecycle import crash_backoff
from drover.sessions.lifecycle.crash_backoff import LONG_PAUSE_S, MAX_IN_A_ROW
from drover.sessions.lifecycle.session_steps import SessionSteps
from drover.sessions.persistence.records import from_row
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.acquire_request import Acquired, AcquireRequest
from drover.sessions.pool.registry import Change
from drover.sessions.pool.session import Session, SessionState
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import TIMEOUT_S, ServiceHarness, running_harness
from tests.machine import kill_pids, living, wait_until

HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    with running_harness(folder, monkeypatch, watch_interval=0) as harness:
        yield harness


@pytest.fixture
def warm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    """Run a service with two places, one of them for a warm browser."""
    with running_harness(folder, monkeypatch, max_sessions=2, warm_sessions=1, watch_interval=0) as harness:
        wait_until(lambda: harness.registry.warm_count() == 1, "a warm browser is ready")
        yield harness


def acquire(harness: ServiceHarness, session_id: str | None = None, **fields: object) -> Acquired:
    disconnected = fields.pop("disconnected", None)
    assert disconnected is None or isinstance(disconnected, Future)
    request = AcquireRequest(session_id, None, None, CheckedCapabilities({}), None, **fields)  # type: ignore[arg-type]
    return harness.manager.acquire(request, Deadline(TIMEOUT_S, disconnected))


def pids(session: Session) -> tuple[int, int]:
    assert session.running is not None
    return session.running.driver.pid, session.running.browser.pid


def warm_pids(harness: ServiceHarness) -> tuple[int, int]:
    """Return the process ids of the warm browser."""
    (running,) = harness.registry.running()
    return running.driver.pid, running.browser.pid


def test_a_warm_browser_is_handed_out_and_replaced(warm: ServiceHarness) -> None:
    ready = warm_pids(warm)
    acquired = acquire(warm, "job")
    assert acquired.created
    assert pids(acquired.session) == ready
    wait_until(lambda: warm.registry.warm_count() == 1, "another warm browser is ready")
    assert not acquire(warm, "job").created


def test_a_dead_warm_browser_is_recovered_before_it_is_handed_out(warm: ServiceHarness) -> None:
    kill_pids(*warm_pids(warm))
    acquired = acquire(warm, "job")
    assert acquired.created
    assert len(living(pids(acquired.session))) == 2


def test_an_unnamed_session_whose_warm_browser_cannot_be_recovered_is_closed(
    warm: ServiceHarness,
) -> None:
    kill_pids(*warm_pids(warm))
    warm.set_fault(Fault.REFUSES_SESSION)
    with pytest.raises(RecoveryFailed):
        acquire(warm)
    wait_until(lambda: warm.registry.sessions() == (), "the session is closed")


def test_an_unnamed_session_whose_client_disconnected_is_closed(warm: ServiceHarness) -> None:
    kill_pids(*warm_pids(warm))
    disconnected: Future[None] = Future()
    disconnected.set_result(None)
    with pytest.raises(ClientDisconnected):
        acquire(warm, disconnected=disconnected)
    wait_until(lambda: warm.registry.sessions() == (), "the session is closed")


def test_a_session_that_could_not_be_saved_is_not_handed_out(
    warm: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(warm.manager._repository, "confirm", full)
        with pytest.raises(StorageUnavailable, match="disk is full"):
            acquire(warm, "job")
    wait_until(lambda: warm.registry.sessions() == (), "the session is closed")
    assert acquire(warm, "job").created


def test_a_warm_browser_cannot_be_read_or_deleted_by_name(warm: ServiceHarness) -> None:
    (folder,) = warm.registry.protected()
    for use in (warm.manager.check, warm.manager.report, warm.manager.close):
        with pytest.raises(SessionNotFound):
            use(folder.session_id, Deadline(TIMEOUT_S))
    assert warm.registry.warm_count() == 1


def test_a_lease_taken_during_the_health_check_excludes_other_clients(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire(harness, "job")
    check_and_recover = harness.manager._monitor.check_and_recover

    def slow(session: Session, deadline: Deadline) -> object:
        harness.manager.lease("job", 60, "the other", None, deadline)
        return check_and_recover(session, deadline)

    monkeypatch.setattr(harness.manager._monitor, "check_and_recover", slow)
    with pytest.raises(SessionInUse, match="the other"):
        acquire(harness, "job")
    assert harness.registry.get("job").callers == 0


def test_a_lease_that_expires_during_the_start_is_granted_again_at_hand_over(
    harness: ServiceHarness,
) -> None:
    acquired = acquire(harness, "job", lease_s=0.05)
    assert acquired.lease is not None
    assert acquired.lease.expires_mono > time.monotonic() - 0.05


def test_a_lease_taken_during_a_recovery_is_on_disk(harness: ServiceHarness) -> None:
    kill_pids(pids(acquire(harness, "job").session)[0])
    harness.registry.update("job", _crashed(2))
    recovery = harness.run_in_thread(lambda: acquire(harness, "job"))
    wait_until(lambda: harness.registry.get("job").state is SessionState.RECOVERING, "a recovery")
    token = harness.manager.lease("job", 600, "me", None, Deadline(TIMEOUT_S)).token
    with pytest.raises(SessionInUse):
        recovery.result(TIMEOUT_S)
    (stored,) = map(from_row, harness.manager._repository._database.load_all())
    assert stored is not None
    assert stored.lease is not None
    assert stored.lease.token == token


def test_the_sixth_crash_in_a_row_pauses_recovery_with_a_retry_time(harness: ServiceHarness) -> None:
    kill_pids(*pids(acquire(harness, "job").session))
    harness.registry.update("job", _crashed(MAX_IN_A_ROW))
    with pytest.raises(RecoveryFailed, match=f"crashed {MAX_IN_A_ROW} times in a row") as error:
        acquire(harness, "job")
    assert 0 < (error.value.retry_after_s or 0) <= LONG_PAUSE_S
    assert harness.drivers() == set()
    harness.registry.update("job", _crashed(MAX_IN_A_ROW, LONG_PAUSE_S))
    assert acquire(harness, "job").recovery is not None
    assert harness.registry.get("job").crash_loop.count == MAX_IN_A_ROW + 1
    assert acquire(harness, "job").recovery is None
    assert harness.registry.get("job").crash_loop.count == 0


def test_a_delete_during_the_recovery_backoff_does_not_wait(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash_backoff, "CRASHES", Backoff(first_s=HOUR_S, longest_s=HOUR_S))
    kill_pids(*pids(acquire(harness, "job").session))
    harness.registry.update("job", _crashed(1))
    recovery = harness.run_in_thread(lambda: harness.manager.check("job", Deadline(TIMEOUT_S)))
    wait_until(lambda: harness.registry.get("job").state is SessionState.RECOVERING, "a recovery")
    harness.manager.close("job", Deadline(TIMEOUT_S))
    with pytest.raises(SessionNotFound):
        recovery.result(TIMEOUT_S)
    harness.assert_nothing_is_left()


def test_a_stop_during_the_recovery_backoff_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(folder, monkeypatch, watch_interval=0) as harness:
        kill_pids(*pids(acquire(harness, "job").session))
        harness.registry.update("job", _crashed(MAX_IN_A_ROW - 1))
        recovery = harness.run_in_thread(lambda: acquire(harness, "job"))
        wait_until(lambda: harness.registry.get("job").state is SessionState.RECOVERING, "a recovery")
        harness.service.sessions.shutdown.stop(keep_browsers=False)
        assert recovery.exception(TIMEOUT_S) is not None
        harness.assert_nothing_is_left()


@pytest.mark.parametrize(
    "error", [OSError(28, "disk full"), BrowserUnavailable("it accepts no DevTools connection")]
)
def test_a_reattachment_that_cannot_be_published_leaves_the_browser_and_no_chromedriver(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    driver, browser = pids(acquire(harness, "job").session)
    kill_pids(driver)
    with monkeypatch.context() as patch:
        patch.setattr(SessionSteps, "publish", fail)
        for _ in range(2):
            with pytest.raises(RecoveryFailed):
                acquire(harness, "job")
            assert harness.drivers() == set()
    assert pids(acquire(harness, "job").session)[1] == browser
    assert len(harness.drivers()) == 1


def test_an_adopted_session_is_saved_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[str] = []

    def tick(_: StateSaver, sessions: Iterable[Session]) -> None:
        saved.extend(one.session_id for one in sessions)

    with running_harness(folder, monkeypatch, watch_interval=0) as harness:
        acquire(harness, "job")
        harness.service.stop(keep_browsers=True)
        monkeypatch.setattr(StateSaver, "tick", tick)
        second = Drover(harness.service.settings)
        second.take_possession()
        # It is stopped after the first step, the adoption: its periodic tasks save nothing.
        second.start(lambda: bool(second.sessions.registry.sessions()))
        assert saved == ["job"]
        second.stop()


def _crashed(times: int, ago: float = 0.0) -> Change:
    crash_loop = Failures(times, time.monotonic() - ago)
    return lambda session: replace(session, crash_loop=crash_loop)


def test_memory_is_measured_only_once_the_browser_runs(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[set[int]] = []

    def note(found: Iterable[int]) -> float:
        measured.append(set(found))
        return 1.0

    monkeypatch.setattr("drover.sessions.background.memory_meter.memory_held_mb", note)
    meter = MemoryMeter(harness.registry, harness.service._jobs, 0.0)
    harness.set_fault(Fault.HUNG)
    start = harness.run_in_thread(lambda: acquire(harness, "a"))
    harness.wait_for_driver()
    meter.tick()
    harness.set_fault(Fault.NONE)
    session = start.result(TIMEOUT_S).session
    meter.tick()
    wait_until(lambda: measured, "the memory is measured")
    assert [found for found in measured if not found.issuperset(pids(session))] == []
