"""Leases, warm browsers, patience, the stop and the restart, over a ChromeDriver that misbehaves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from drover.browser import launcher
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.core.deadline import ClientDisconnected, Deadline
from drover.core.errors import BrowserUnavailable, RecoveryFailed, SessionInUse, SessionNotFound
from drover.sessions.lifecycle.crash_backoff import IN_A_ROW, REST_S, CrashLoop
from drover.sessions.persistence.records import from_rows
from drover.sessions.pool.acquire_request import Acquired, AcquireRequest
from drover.sessions.pool.registry import Change
from drover.sessions.pool.session import Session, SessionState
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import TIMEOUT_S, ServiceHarness, running_harness
from tests.machine import kill_pids, living, wait_until


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    with running_harness(folder, monkeypatch, watch_interval=0) as harness:
        yield harness


@pytest.fixture
def warm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    """Give a house with two places, in which one browser stands ready."""
    with running_harness(folder, monkeypatch, max_sessions=2, warm_sessions=1, watch_interval=0) as harness:
        wait_until(lambda: harness.manager.registry.warm_count() == 1, "a browser stands ready")
        yield harness


def ask(harness: ServiceHarness, session_id: str | None = None, **fields: object) -> Acquired:
    gone = fields.pop("gone", None)
    assert gone is None or isinstance(gone, Future)
    request = AcquireRequest(session_id, None, None, CheckedCapabilities({}), None, **fields)  # type: ignore[arg-type]
    return harness.manager.acquire(request, Deadline(TIMEOUT_S, gone))


def pids(session: Session) -> tuple[int, int]:
    assert session.running is not None
    return session.running.driver.pid, session.running.browser.pid


def standing(harness: ServiceHarness) -> tuple[int, int]:
    """Give the processes of the browser that stands ready."""
    (running,) = harness.manager.registry.running()
    return running.driver.pid, running.browser.pid


def test_a_warm_browser_is_handed_out_and_another_takes_its_place(warm: ServiceHarness) -> None:
    ready = standing(warm)
    acquired = ask(warm, "job")
    assert acquired.created
    assert pids(acquired.session) == ready
    wait_until(lambda: warm.manager.registry.warm_count() == 1, "another one stands ready")
    assert not ask(warm, "job").created


def test_a_warm_browser_that_has_died_is_brought_back_before_it_is_handed_out(warm: ServiceHarness) -> None:
    kill_pids(*standing(warm))
    acquired = ask(warm, "job")
    assert acquired.created
    assert len(living(pids(acquired.session))) == 2


def test_a_nameless_session_whose_warm_browser_cannot_be_brought_back_is_not_left_behind(
    warm: ServiceHarness,
) -> None:
    kill_pids(*standing(warm))
    warm.set_fault(Fault.REFUSES_SESSION)
    with pytest.raises(RecoveryFailed):
        ask(warm)
    wait_until(lambda: warm.manager.registry.sessions() == (), "it is closed")


def test_a_nameless_session_whose_caller_hung_up_is_not_left_behind(warm: ServiceHarness) -> None:
    kill_pids(*standing(warm))
    gone: Future[None] = Future()
    gone.set_result(None)
    with pytest.raises(ClientDisconnected):
        ask(warm, gone=gone)
    wait_until(lambda: warm.manager.registry.sessions() == (), "it is closed")


def test_a_session_that_could_not_be_written_down_is_not_handed_out(
    warm: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise BrowserUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(warm.manager._repository, "promise", full)
        with pytest.raises(BrowserUnavailable, match="disk is full"):
            ask(warm, "job")
    wait_until(lambda: warm.manager.registry.sessions() == (), "it is closed")
    assert ask(warm, "job").created


def test_a_warm_browser_cannot_be_looked_at_or_deleted_by_name(warm: ServiceHarness) -> None:
    (folder,) = warm.manager.registry.protected()
    for use in (warm.manager.check, warm.manager.report, warm.manager.close):
        with pytest.raises(SessionNotFound):
            use(folder.session_id, Deadline(TIMEOUT_S))
    assert warm.manager.registry.warm_count() == 1


def test_a_lease_that_somebody_took_during_the_check_keeps_the_session_from_others(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(harness, "job")
    check_and_recover = harness.manager._monitor.check_and_recover

    def slow(session: Session, deadline: Deadline) -> object:
        harness.manager.lease("job", 60, "the other", None)
        return check_and_recover(session, deadline)

    monkeypatch.setattr(harness.manager._monitor, "check_and_recover", slow)
    with pytest.raises(SessionInUse, match="the other"):
        ask(harness, "job")
    assert harness.manager.registry.get("job").callers == 0


def test_a_lease_that_runs_out_during_the_start_is_granted_anew_at_the_handing_over(
    harness: ServiceHarness,
) -> None:
    acquired = ask(harness, "job", lease_s=0.05)
    assert acquired.lease is not None
    assert acquired.lease.expires_mono > time.monotonic() - 0.05


def test_a_lease_that_came_during_a_recovery_is_on_disk(harness: ServiceHarness) -> None:
    kill_pids(pids(ask(harness, "job").session)[0])
    harness.manager.registry.update("job", _died(2))
    healing = harness.run_in_thread(lambda: ask(harness, "job"))
    wait_until(lambda: harness.manager.registry.get("job").state is SessionState.RECOVERING, "a recovery")
    token = harness.manager.lease("job", 600, "me", None).token
    with pytest.raises(SessionInUse):
        healing.result(TIMEOUT_S)
    (stored,) = from_rows(harness.manager._repository._store.load_all()).sessions
    assert stored.lease is not None
    assert stored.lease.token == token


def test_the_sixth_death_in_a_row_is_given_up_with_the_time_to_wait(harness: ServiceHarness) -> None:
    kill_pids(*pids(ask(harness, "job").session))
    harness.manager.registry.update("job", _died(IN_A_ROW))
    with pytest.raises(RecoveryFailed, match=f"crashed {IN_A_ROW} times in a row") as told:
        ask(harness, "job")
    assert 0 < (told.value.retry_after_s or 0) <= REST_S
    assert harness.drivers() == set()
    harness.manager.registry.update("job", _died(IN_A_ROW, REST_S))
    assert ask(harness, "job").recovery is not None
    assert harness.manager.registry.get("job").crash_loop.length == IN_A_ROW + 1
    assert ask(harness, "job").recovery is None
    assert harness.manager.registry.get("job").crash_loop.length == 0


def test_a_delete_during_the_pause_before_a_recovery_does_not_wait_for_it(harness: ServiceHarness) -> None:
    kill_pids(*pids(ask(harness, "job").session))
    harness.manager.registry.update("job", _died(IN_A_ROW - 1))
    healing = harness.run_in_thread(lambda: harness.manager.check("job", Deadline(TIMEOUT_S)))
    wait_until(lambda: harness.manager.registry.get("job").state is SessionState.RECOVERING, "a recovery")
    begun = time.monotonic()
    harness.manager.close("job", Deadline(TIMEOUT_S))
    assert time.monotonic() - begun < 3.5
    with pytest.raises(SessionNotFound):
        healing.result(TIMEOUT_S)
    harness.assert_nothing_is_left()


def test_the_stop_during_the_pause_before_a_recovery_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_harness(folder, monkeypatch, watch_interval=0) as harness:
        kill_pids(*pids(ask(harness, "job").session))
        harness.manager.registry.update("job", _died(IN_A_ROW - 1))
        healing = harness.run_in_thread(lambda: ask(harness, "job"))
        wait_until(lambda: harness.manager.registry.get("job").state is SessionState.RECOVERING, "a recovery")
        harness.manager.stop(keep_browsers=False)
        assert healing.exception(TIMEOUT_S) is not None
        harness.assert_nothing_is_left()


def _died(times: int, ago: float = 0.0) -> Change:
    crash_loop = CrashLoop(times, time.monotonic() - ago)
    return lambda session: replace(session, crash_loop=crash_loop)


def test_a_session_is_measured_when_it_has_its_browser_and_not_before(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[set[int]] = []

    def note(found: Iterable[int]) -> float:
        measured.append(set(found))
        return 1.0

    monkeypatch.setattr("drover.sessions.lifecycle.health_monitor.memory_held_mb", note)
    harness.set_fault(Fault.HUNG)
    asked = harness.run_in_thread(lambda: ask(harness, "a"))
    harness.wait_for_driver()
    harness.service._monitor.watch()
    harness.set_fault(Fault.NONE)
    session = asked.result(TIMEOUT_S).session
    harness.service._monitor.watch()
    wait_until(lambda: measured, "it is measured")
    assert [found for found in measured if not found.issuperset(pids(session))] == []
