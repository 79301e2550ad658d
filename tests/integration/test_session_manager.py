"""The use cases of sessions over a ChromeDriver that misbehaves, from acquire to the removed folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from drover.browser import launcher
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.health import Cause, HealthStatus
from drover.browser.recovery import Method
from drover.core.deadline import ClientDisconnected, Deadline
from drover.core.errors import (
    AtCapacity,
    BrowserUnavailable,
    CleanupIncomplete,
    DroverError,
    Overloaded,
    RecoveryFailed,
    SessionLost,
    SessionNotFound,
    ShuttingDown,
)
from drover.sessions.lifecycle import shutdown
from drover.sessions.lifecycle.session_pool import PoolPolicy
from drover.sessions.pool.acquire import InProgress
from drover.sessions.pool.acquire_request import AcquireRequest
from drover.sessions.pool.session import Session, SessionState
from process_cleanup import Trigger
from tests.cases import first_or_all
from tests.integration.fake_chromedriver import START_ERROR, Fault
from tests.integration.service_harness import TIMEOUT_S, ServiceHarness, running_harness, stop_program
from tests.machine import is_living, kill_pids, living, run_concurrently, wait_gone, wait_until
from tests.unit.examples import in_command, session


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with running_harness(folder, monkeypatch) as harness:
        yield harness


@pytest.fixture
def small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    """Run a service with one place."""
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with running_harness(folder, monkeypatch, max_sessions=1) as harness:
        yield harness


def pids(session: Session) -> tuple[int, int]:
    assert session.running is not None
    return session.running.driver.pid, session.running.browser.pid


def deadline() -> Deadline:
    return Deadline(TIMEOUT_S)


def disconnected() -> Future[None]:
    left: Future[None] = Future()
    left.set_result(None)
    return left


def test_twenty_concurrent_clients_with_one_id_get_one_browser(harness: ServiceHarness) -> None:
    acquired = run_concurrently([lambda: harness.acquire("job")] * 20)
    assert sorted(one.created for one in acquired) == 19 * [False] + [True]
    assert len({pids(one.session) for one in acquired}) == 1
    assert len(harness.drivers()) == 1
    assert harness.has_logged(r"Session job created in \d+ ms \(ChromeDriver PID \d+, Chrome PID \d+\)")
    wait_until(lambda: harness.registry.get("job").callers == 0, "all clients have released the session")


def test_twenty_concurrent_clients_with_one_key_get_one_session(harness: ServiceHarness) -> None:
    acquired = run_concurrently([lambda: harness.acquire(key="account")] * 20)
    assert len({one.session.session_id for one in acquired}) == 1
    assert sum(one.created for one in acquired) == 1


def test_a_failed_start_fails_every_waiter_and_leaves_nothing(harness: ServiceHarness) -> None:
    harness.set_fault(Fault.REFUSES_SESSION)

    def try_to_acquire() -> DroverError | None:
        try:
            harness.acquire("job")
        except DroverError as error:
            return error
        return None

    errors = run_concurrently([try_to_acquire] * 5)
    assert all(isinstance(error, BrowserUnavailable) for error in errors)
    assert all("Chrome failed to start" in str(error) for error in errors)
    assert harness.registry.sessions() == ()
    harness.assert_nothing_is_left()
    harness.set_fault(Fault.NONE)
    assert harness.acquire("job").created


def test_a_driver_that_does_not_start_is_reported_with_its_output(harness: ServiceHarness) -> None:
    harness.set_fault(Fault.REFUSES_TO_START)
    with pytest.raises(BrowserUnavailable, match=START_ERROR):
        harness.acquire("job")
    assert harness.has_logged(f"Session job could not be started: .*{START_ERROR}.*")
    harness.assert_nothing_is_left()


def test_a_delete_during_a_start_ends_it_and_waiting_clients_get_a_new_session(
    harness: ServiceHarness,
) -> None:
    harness.set_fault(Fault.HUNG)
    starting = harness.run_in_thread(lambda: harness.acquire("job"))
    driver = harness.wait_for_driver()
    waiting = harness.run_in_thread(lambda: harness.acquire("job"))
    harness.manager.close("job", deadline())
    assert not is_living(driver)
    with pytest.raises((SessionLost, BrowserUnavailable)):
        starting.result(TIMEOUT_S)
    assert harness.service.browsers.launcher.unavailable is None
    harness.set_fault(Fault.NONE)
    assert waiting.result(TIMEOUT_S).created, "the waiting client retries"


def test_no_client_retries_longer_than_its_deadline(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: Future[Session] = Future()
    lost.set_exception(SessionLost("it was closed in the meantime"))
    again_and_again = InProgress(session("job"), lost)
    monkeypatch.setattr(harness.registry, "claim", lambda _: again_and_again)
    monkeypatch.setattr(harness.registry, "find", lambda _: again_and_again)
    request = AcquireRequest("job", None, None, CheckedCapabilities({}), None)
    for ask in (partial(harness.manager.acquire, request), partial(harness.manager.check, "job")):
        with pytest.raises(BrowserUnavailable, match="closed or lost at every attempt"):
            ask(Deadline(0.05))
        with pytest.raises(ClientDisconnected):
            ask(Deadline(TIMEOUT_S, disconnected()))


def test_a_session_on_which_no_thread_can_begin_to_work_stays_as_it_was(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object) -> Future[None]:
        refused: Future[None] = Future()
        refused.set_exception(Overloaded("No thread can be started; raise the limit of processes"))
        return refused

    alive = harness.acquire("alive").session
    dead = harness.acquire("dead").session
    with monkeypatch.context() as patch:
        patch.setattr(harness.service._jobs, "begin", no_thread)
        kill_pids(pids(dead)[0])
        for call in (
            lambda: harness.acquire("new"),
            lambda: harness.acquire("dead"),
            lambda: harness.manager.close("alive", deadline()),
        ):
            with pytest.raises(Overloaded, match="raise the limit of processes"):
                call()
    assert [one.session_id for one in harness.registry.sessions()] == ["alive", "dead"]
    assert pids(harness.acquire("dead").session)[1] == pids(dead)[1]
    # A close that failed is tried again in the background.
    with suppress(SessionNotFound):
        harness.manager.close("alive", deadline())
    assert not living(pids(alive))


def test_closing_a_session_removes_its_processes_and_folder(harness: ServiceHarness) -> None:
    running = pids(harness.acquire("job").session)
    harness.manager.close("job", deadline())
    assert not living(running)
    harness.assert_nothing_is_left()
    assert harness.has_logged(r"Session job closed \(deleted\)")
    with pytest.raises(SessionNotFound):
        harness.manager.close("job", deadline())


def test_two_concurrent_deletes_close_once(harness: ServiceHarness) -> None:
    harness.acquire("job")
    closes = run_concurrently(
        [lambda: harness.run_in_thread(lambda: harness.manager.close("job", deadline()))] * 4
    )
    outcomes = [type(close.exception(TIMEOUT_S)) for close in closes]
    assert set(outcomes) <= {type(None), SessionNotFound}
    assert type(None) in outcomes
    assert harness.recorder.lines.count("Session job closed (deleted)") == 1


def test_an_incomplete_close_keeps_the_session_and_can_be_repeated(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = pids(harness.acquire("job").session)
    with monkeypatch.context() as patch:
        patch.setattr(harness.service.storage.folders, "remove", lambda _: False)
        with pytest.raises(CleanupIncomplete, match="could not be removed"):
            harness.manager.close("job", deadline())
        assert harness.registry.get("job").state is SessionState.CLOSING
        with pytest.raises(CleanupIncomplete):
            harness.acquire("job")
    assert harness.has_logged("Session job is not closed yet: .*")
    assert not living(running)
    harness.manager.close("job", deadline())
    assert harness.registry.sessions() == ()


def test_an_emergency_ends_a_running_start_and_the_service_is_ready_at_once(
    harness: ServiceHarness,
) -> None:
    alive = harness.acquire("alive").session
    harness.set_fault(Fault.HUNG)
    starting = harness.run_in_thread(lambda: harness.acquire("job"))
    wait_until(lambda: len(harness.drivers()) == 2, "the second ChromeDriver is started")
    report = harness.service.sessions.emergency.run(deadline()).cleanup
    assert report.failed == ()
    # The helper of the fake browser has a name of Chrome's only on POSIX.
    assert report.killed_count >= (4 if sys.platform != "win32" else 3)
    assert not living(pids(alive))
    with pytest.raises((SessionLost, BrowserUnavailable)):
        starting.result(TIMEOUT_S)
    assert harness.registry.sessions() == ()
    harness.assert_nothing_is_left()
    assert harness.recorder.lines[-2:] == [
        f"🚨 Emergency recovery killed {report.killed_count} processes",
        "🗑️ Cleared all session data",
    ]
    harness.set_fault(Fault.NONE)
    assert harness.acquire("job").created


def test_a_client_in_the_wait_queue_gets_a_place_after_the_emergency(small: ServiceHarness) -> None:
    small.set_fault(Fault.HUNG)
    starting = small.run_in_thread(lambda: small.acquire("first"))
    small.wait_for_driver()
    waiting = small.run_in_thread(lambda: small.acquire("second"))
    wait_until(lambda: "1 waiting" in repr(small.registry), "the second one waits")
    small.set_fault(Fault.NONE)
    small.service.sessions.emergency.run(deadline())
    assert waiting.result(TIMEOUT_S).created
    assert starting.exception(TIMEOUT_S) is None or isinstance(starting.exception(), SessionLost)


def test_a_dead_driver_is_replaced_under_the_same_id_and_browser(harness: ServiceHarness) -> None:
    driver, browser = pids(harness.acquire("job").session)
    kill_pids(driver)
    acquired = harness.acquire("job")
    assert not acquired.created
    assert acquired.recovery is not None
    assert (acquired.recovery.cause, acquired.recovery.method) == (Cause.DRIVER_GONE, Method.REATTACHED)
    assert pids(acquired.session)[1] == browser
    assert pids(acquired.session)[0] != driver
    assert (acquired.session.recoveries, acquired.session.health.status) == (1, HealthStatus.HEALTHY)
    lines = "\n".join(harness.recorder.lines)
    first = f"Session job appears dead: ChromeDriver (PID {driver}) is gone"
    assert f"{first}\n🔧 Connection error detected - attempting to clean up orphaned processes\n" in lines


def test_a_dead_browser_is_replaced_under_the_same_id(harness: ServiceHarness) -> None:
    before = pids(harness.acquire("job").session)
    kill_pids(before[1])
    acquired = harness.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.cause is Cause.BROWSER_GONE
    assert not living(before)
    assert len(living(pids(acquired.session))) == 2


def test_concurrent_clients_of_a_dead_session_share_one_recovery(harness: ServiceHarness) -> None:
    kill_pids(*pids(harness.acquire("job").session))
    acquired = run_concurrently([lambda: harness.acquire("job")] * 10)
    assert len({pids(one.session) for one in acquired}) == 1
    assert {one.session.recoveries for one in acquired} == {1}
    assert len(harness.drivers()) == 1


def test_a_check_recovers_a_session_and_does_not_count_as_use(harness: ServiceHarness) -> None:
    before = harness.acquire("job").session
    kill_pids(pids(before)[0])
    looked = harness.manager.check("job", deadline())
    assert looked.recovery is not None
    assert looked.session.last_used == before.last_used


def test_a_report_recovers_nothing(harness: ServiceHarness) -> None:
    driver, _ = pids(harness.acquire("job").session)
    kill_pids(driver)
    reported = harness.manager.report("job", deadline())
    assert (reported.health.status, reported.health.reason) == (
        HealthStatus.DEAD,
        f"ChromeDriver (PID {driver}) is gone",
    )
    assert reported.recoveries == 0


def test_a_driver_that_dies_during_the_health_check_is_found_dead(harness: ServiceHarness) -> None:
    driver, browser = pids(harness.acquire("job").session)
    harness.set_fault(Fault.DIES_MID_COMMAND, driver)
    acquired = harness.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.cause is Cause.DRIVER_GONE
    assert pids(acquired.session)[1] == browser


@pytest.mark.parametrize("fault", [Fault.ANSWERS_GARBAGE, Fault.ANSWERS_HTML])
def test_a_driver_that_answers_garbage_is_replaced(harness: ServiceHarness, fault: Fault) -> None:
    driver, browser = pids(harness.acquire("job").session)
    harness.set_fault(fault, driver)
    acquired = harness.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.method is Method.REATTACHED
    assert pids(acquired.session)[1] == browser
    assert not is_living(driver)


@pytest.mark.parametrize("fault", first_or_all([Fault.HUNG, Fault.NOT_ACCEPTING]))
def test_a_silent_driver_is_hung_only_after_three_timeouts(harness: ServiceHarness, fault: Fault) -> None:
    session = harness.acquire("job").session
    harness.set_fault(fault, pids(session)[0])
    acquired = harness.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.cause is Cause.DRIVER_HUNG
    assert pids(acquired.session)[1] == pids(session)[1]


def test_a_busy_driver_is_not_dead(harness: ServiceHarness) -> None:
    before = pids(harness.acquire("job").session)
    harness.set_fault(Fault.BUSY, before[0])
    acquired = harness.acquire("job")
    assert acquired.recovery is None
    assert acquired.session.health.status is HealthStatus.BUSY
    assert pids(acquired.session) == before


def test_a_stopped_browser_is_replaced(harness: ServiceHarness) -> None:
    before = pids(harness.acquire("job").session)
    stop_program(before[1])
    acquired = harness.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.cause is Cause.BROWSER_HUNG
    assert not living(before)


def test_a_failed_recovery_is_reported_and_retried_by_the_next_request(harness: ServiceHarness) -> None:
    kill_pids(*pids(harness.acquire("job").session))
    harness.set_fault(Fault.REFUSES_SESSION)
    with pytest.raises(RecoveryFailed, match="could not be recovered after browser_gone"):
        harness.acquire("job")
    assert harness.drivers() == set()
    harness.set_fault(Fault.NONE)
    acquired = harness.acquire("job")
    assert (acquired.created, acquired.session.recoveries) == (False, 1)


def test_a_failed_cleanup_neither_delays_nor_fails_the_recovery(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_pids(pids(harness.acquire("job").session)[0])

    def broken() -> None:
        message = "no process table"
        raise OSError(message)

    with monkeypatch.context() as patch:
        patch.setattr("process_cleanup.snapshot", broken)
        assert harness.acquire("job").recovery is not None
    assert harness.has_logged("Orphaned process cleanup failed: no process table")


def test_an_unnamed_session_is_closed_if_its_client_disconnects_during_the_start(
    harness: ServiceHarness,
) -> None:
    with pytest.raises(ClientDisconnected):
        harness.acquire(disconnected=disconnected())
    wait_until(lambda: harness.registry.sessions() == (), "the session is closed")
    harness.assert_nothing_is_left()


def test_a_named_session_stays_if_its_client_disconnects_during_the_start(
    harness: ServiceHarness,
) -> None:
    with pytest.raises(ClientDisconnected):
        harness.acquire("job", disconnected=disconnected())
    assert not harness.acquire("job").created


def test_the_least_recently_used_session_is_evicted_at_once(small: ServiceHarness) -> None:
    first = pids(small.acquire("first").session)
    assert small.acquire("second").created
    assert not living(first)
    assert small.has_logged(r"Session first closed \(evicted\)")
    assert [session.session_id for session in small.registry.sessions()] == ["second"]


def test_waiting_too_long_for_a_place_raises_at_capacity(
    small: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = PoolPolicy(queue_timeout=0.1, idle_timeout=0, hands_out_warm=False, keeps_profiles=False)
    monkeypatch.setattr(small.manager._pool, "_policy", policy)
    with in_command(small.registry, small.acquire("first").session):
        with pytest.raises(AtCapacity, match="All 1 sessions are in use"):
            small.acquire("second")
        assert "0 waiting" in repr(small.registry)


def test_a_waiting_client_that_disconnects_leaves_the_wait_queue(small: ServiceHarness) -> None:
    with in_command(small.registry, small.acquire("first").session):
        with pytest.raises(ClientDisconnected):
            small.acquire("second", disconnected=disconnected())
        assert "0 waiting" in repr(small.registry)


def test_an_idle_session_is_closed_automatically(harness: ServiceHarness) -> None:
    running = pids(harness.acquire("job", idle=0.2).session)
    wait_until(lambda: harness.registry.sessions() == (), "the idle session is closed")
    assert not living(running)
    assert harness.has_logged(r"Session job closed \(idle\)")


def test_a_cleanup_ends_unregistered_processes_and_spares_sessions(harness: ServiceHarness) -> None:
    kept, lost = harness.acquire("kept").session, harness.acquire("lost").session
    harness.registry.forget(harness.registry.get("lost"))
    report = harness.service.sessions.cleaner.cleanup(Trigger.PERSON)
    assert {killed.judgement.row.pid for killed in report.killed} >= set(pids(lost))
    assert (report.failed, report.removed_profiles) == ((), 1)
    assert len(living(pids(kept))) == 2


def test_a_stop_during_a_start_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with running_harness(folder, monkeypatch) as harness:
        ready = pids(harness.acquire("ready").session)
        harness.set_fault(Fault.HUNG)
        starting = harness.run_in_thread(lambda: harness.acquire("job"))
        wait_until(lambda: len(harness.drivers()) == 2, "the second ChromeDriver is started")
        harness.service.sessions.shutdown.stop(keep_browsers=False)
        with pytest.raises((ShuttingDown, BrowserUnavailable, SessionLost)):
            starting.result(TIMEOUT_S)
        with pytest.raises(ShuttingDown):
            harness.acquire("late")
        assert not living(ready)
        harness.assert_nothing_is_left()
        assert harness.has_logged(r"Session ready closed \(stopping\)")


def test_a_stop_that_keeps_the_browsers_leaves_no_start_in_progress(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    monkeypatch.setattr(shutdown, "WORKS_S", 0.1)
    monkeypatch.setattr(shutdown, "STOP_S", TIMEOUT_S)
    with running_harness(folder, monkeypatch, watch_interval=0) as harness:
        ready = pids(harness.acquire("ready").session)
        harness.set_fault_except(Fault.HUNG, ready[0])
        starting = harness.run_in_thread(lambda: harness.acquire("job"))
        wait_until(lambda: len(harness.drivers()) == 2, "the second ChromeDriver is started")
        assert harness.service.sessions.shutdown.stop(keep_browsers=True) == ()
        assert harness.registry.works() == ()
        with pytest.raises(ShuttingDown):
            starting.result(TIMEOUT_S)
        assert len(harness.drivers()) == 1
        assert living(ready) == set(ready)


def test_a_stop_that_keeps_the_browsers_leaves_no_recovery_in_progress(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "WORKS_S", 0.1)
    monkeypatch.setattr(shutdown, "STOP_S", TIMEOUT_S)
    with running_harness(folder, monkeypatch, watch_interval=0) as harness:
        session = harness.acquire("job").session
        driver, browser = pids(session)
        harness.set_fault_except(Fault.HUNG, browser)
        kill_pids(driver)
        recovery = harness.run_in_thread(lambda: harness.acquire("job"))
        wait_until(lambda: harness.drivers() - {driver}, "a ChromeDriver is started", TIMEOUT_S)
        assert harness.service.sessions.shutdown.stop(keep_browsers=True) == ()
        assert harness.registry.works() == ()
        assert recovery.exception(TIMEOUT_S) is not None
        assert harness.drivers() == set()
        assert is_living(browser)


def test_end_at_once_ends_all_processes_and_refuses_new_sessions(harness: ServiceHarness) -> None:
    running = pids(harness.acquire("job").session)
    harness.service.end_at_once()
    wait_gone(running)
    with pytest.raises(ShuttingDown):
        harness.acquire("other")


def test_kill_ends_all_processes_at_once(harness: ServiceHarness) -> None:
    running = pids(harness.acquire("job").session)
    harness.service.sessions.shutdown.kill()
    wait_gone(running)
