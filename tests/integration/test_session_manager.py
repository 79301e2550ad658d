"""The use cases of sessions over a ChromeDriver that misbehaves, from the claim to the last folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest

from drover.browser import launcher
from drover.browser.health import Cause, HealthStatus
from drover.browser.recovery import Method
from drover.core.deadline import ClientDisconnected, Deadline
from drover.core.errors import (
    AtCapacity,
    BrowserUnavailable,
    CleanupIncomplete,
    DroverError,
    RecoveryFailed,
    SessionLost,
    SessionNotFound,
    ShuttingDown,
)
from drover.sessions.pool.session import Session, SessionState
from process_cleanup import Trigger
from tests.integration.fake_chromedriver import LAST_WORDS, Fault
from tests.integration.service_harness import PATIENCE_S, House, opened
from tests.machine import is_living, kill, living, together, wait_gone, wait_until


@pytest.fixture
def house(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with opened(folder, monkeypatch) as house:
        yield house


@pytest.fixture
def small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Give a house with one place."""
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with opened(folder, monkeypatch, max_sessions=1) as house:
        yield house


def pids(session: Session) -> tuple[int, int]:
    assert session.running is not None
    return session.running.driver.pid, session.running.browser.pid


def deadline() -> Deadline:
    return Deadline(PATIENCE_S)


def shoot(*targets: int) -> None:
    kill([psutil.Process(pid) for pid in targets])


def gone() -> Future[None]:
    left: Future[None] = Future()
    left.set_result(None)
    return left


def test_twenty_callers_with_one_id_at_once_get_one_browser(house: House) -> None:
    acquired = together([lambda: house.acquire("job")] * 20)
    assert sorted(one.created for one in acquired) == 19 * [False] + [True]
    assert len({pids(one.session) for one in acquired}) == 1
    assert len(house.drivers()) == 1
    assert house.said(r"Session job created in \d+ ms \(ChromeDriver PID \d+, Chrome PID \d+\)")
    wait_until(lambda: house.manager.registry.get("job").callers == 0, "all callers let go")


def test_twenty_callers_with_one_key_at_once_get_one_session(house: House) -> None:
    acquired = together([lambda: house.acquire(key="account")] * 20)
    assert len({one.session.session_id for one in acquired}) == 1
    assert sum(one.created for one in acquired) == 1


def test_a_start_that_fails_fails_every_waiter_and_leaves_nothing(house: House) -> None:
    house.become(Fault.REFUSES_SESSION)

    def ask() -> DroverError | None:
        try:
            house.acquire("job")
        except DroverError as error:
            return error
        return None

    errors = together([ask] * 5)
    assert {type(error) for error in errors} == {BrowserUnavailable}
    assert all("Chrome failed to start" in str(error) for error in errors)
    assert house.manager.registry.sessions() == ()
    house.assert_nothing_is_left()
    house.become(Fault.NONE)
    assert house.acquire("job").created


def test_a_driver_that_refuses_to_start_is_told_with_its_last_words(house: House) -> None:
    house.become(Fault.REFUSES_TO_START)
    with pytest.raises(BrowserUnavailable, match=LAST_WORDS):
        house.acquire("job")
    assert house.said(f"Session job could not be started: .*{LAST_WORDS}.*")
    house.assert_nothing_is_left()


def test_a_delete_during_a_start_ends_it_and_who_waited_for_it_gets_another(house: House) -> None:
    house.become(Fault.HUNG)
    starting = house.begin(lambda: house.acquire("job"))
    driver = house.starting()
    waiting = house.begin(lambda: house.acquire("job"))
    house.manager.close("job", deadline())
    assert not is_living(driver)
    with pytest.raises((SessionLost, BrowserUnavailable)):
        starting.result(PATIENCE_S)
    assert house.service._launcher.unavailable is None
    house.become(Fault.NONE)
    assert waiting.result(PATIENCE_S).created, "who waited asks again"


def test_a_session_that_is_closed_is_gone_with_its_processes_and_folder(house: House) -> None:
    running = pids(house.acquire("job").session)
    house.manager.close("job", deadline())
    assert not living(running)
    house.assert_nothing_is_left()
    assert house.said(r"Session job closed \(deleted\)")
    with pytest.raises(SessionNotFound):
        house.manager.close("job", deadline())


def test_two_deletes_at_once_close_once(house: House) -> None:
    house.acquire("job")
    closes = together([lambda: house.begin(lambda: house.manager.close("job", deadline()))] * 4)
    outcomes = [type(close.exception(PATIENCE_S)) for close in closes]
    assert set(outcomes) <= {type(None), SessionNotFound}
    assert type(None) in outcomes
    assert house.ear.lines.count("Session job closed (deleted)") == 1


def test_a_close_that_cannot_end_everything_keeps_the_session_and_can_be_repeated(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = pids(house.acquire("job").session)
    with monkeypatch.context() as patch:
        patch.setattr(house.service._folders, "remove", lambda _: False)
        with pytest.raises(CleanupIncomplete, match="could not be removed"):
            house.manager.close("job", deadline())
        assert house.manager.registry.get("job").state is SessionState.CLOSING
        with pytest.raises(CleanupIncomplete):
            house.acquire("job")
    assert house.said("Session job is not closed yet: .*")
    assert not living(running)
    house.manager.close("job", deadline())
    assert house.manager.registry.sessions() == ()


def test_an_emergency_during_a_start_ends_it_and_the_service_is_ready_at_once(house: House) -> None:
    alive = house.acquire("alive").session
    house.become(Fault.HUNG)
    starting = house.begin(lambda: house.acquire("job"))
    wait_until(lambda: len(house.drivers()) == 2, "the second ChromeDriver is started")
    report = house.manager.emergency()
    assert report.failed == ()
    assert report.killed_count >= 4
    assert not living(pids(alive))
    with pytest.raises((SessionLost, BrowserUnavailable)):
        starting.result(PATIENCE_S)
    assert house.manager.registry.sessions() == ()
    house.assert_nothing_is_left()
    assert house.ear.lines[-2:] == [
        f"🚨 Emergency recovery killed {report.killed_count} processes",
        "🗑️ Cleared all session data",
    ]
    house.become(Fault.NONE)
    assert house.acquire("job").created


def test_who_waits_for_a_place_gets_one_after_the_emergency(small: House) -> None:
    small.become(Fault.HUNG)
    starting = small.begin(lambda: small.acquire("first"))
    small.starting()
    waiting = small.begin(lambda: small.acquire("second"))
    wait_until(lambda: "1 waiting" in repr(small.manager.registry), "the second one waits")
    small.become(Fault.NONE)
    small.manager.emergency()
    assert waiting.result(PATIENCE_S).created
    assert starting.exception(PATIENCE_S) is None or isinstance(starting.exception(), SessionLost)


def test_a_dead_driver_is_replaced_under_the_same_id_and_browser(house: House) -> None:
    driver, browser = pids(house.acquire("job").session)
    shoot(driver)
    acquired = house.acquire("job")
    assert not acquired.created
    assert acquired.recovery is not None
    assert (acquired.recovery.cause, acquired.recovery.method) == (Cause.DRIVER_GONE, Method.REATTACHED)
    assert pids(acquired.session)[1] == browser
    assert pids(acquired.session)[0] != driver
    assert (acquired.session.recoveries, acquired.session.health.status) == (1, HealthStatus.HEALTHY)
    lines = "\n".join(house.ear.lines)
    first = f"Session job appears dead: ChromeDriver (PID {driver}) is gone"
    assert f"{first}\n🔧 Connection error detected - attempting to clean up orphaned processes\n" in lines


def test_a_dead_browser_is_replaced_under_the_same_id(house: House) -> None:
    before = pids(house.acquire("job").session)
    shoot(before[1])
    acquired = house.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.cause is Cause.BROWSER_GONE
    assert not living(before)
    assert len(living(pids(acquired.session))) == 2


def test_many_who_find_a_session_dead_share_one_recovery(house: House) -> None:
    shoot(*pids(house.acquire("job").session))
    acquired = together([lambda: house.acquire("job")] * 10)
    assert len({pids(one.session) for one in acquired}) == 1
    assert {one.session.recoveries for one in acquired} == {1}
    assert len(house.drivers()) == 1


def test_a_look_heals_too_and_is_no_use(house: House) -> None:
    before = house.acquire("job").session
    shoot(pids(before)[0])
    looked = house.manager.check("job", deadline())
    assert looked.recovery is not None
    assert looked.session.last_used == before.last_used


def test_a_report_heals_nothing(house: House) -> None:
    driver, _ = pids(house.acquire("job").session)
    shoot(driver)
    reported = house.manager.report("job", deadline())
    assert (reported.health.status, reported.health.reason) == (
        HealthStatus.DEAD,
        f"ChromeDriver (PID {driver}) is gone",
    )
    assert reported.recoveries == 0


def test_a_driver_that_dies_of_the_health_check_itself_is_found_dead(house: House) -> None:
    driver, browser = pids(house.acquire("job").session)
    house.become(Fault.DIES_MID_COMMAND, driver)
    acquired = house.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.cause is Cause.DRIVER_GONE
    assert pids(acquired.session)[1] == browser


@pytest.mark.parametrize("fault", [Fault.ANSWERS_GARBAGE, Fault.ANSWERS_HTML])
def test_a_driver_that_talks_nonsense_is_replaced(house: House, fault: Fault) -> None:
    driver, browser = pids(house.acquire("job").session)
    house.become(fault, driver)
    acquired = house.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.method is Method.REATTACHED
    assert pids(acquired.session)[1] == browser
    assert not is_living(driver)


@pytest.mark.parametrize("fault", [Fault.HUNG, Fault.DEAF])
def test_a_silent_driver_is_hung_only_after_three_timeouts(house: House, fault: Fault) -> None:
    session = house.acquire("job").session
    house.become(fault, pids(session)[0])
    acquired = house.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.cause is Cause.DRIVER_HUNG
    assert pids(acquired.session)[1] == pids(session)[1]


def test_a_busy_driver_is_not_dead(house: House) -> None:
    before = pids(house.acquire("job").session)
    house.become(Fault.BUSY, before[0])
    acquired = house.acquire("job")
    assert acquired.recovery is None
    assert acquired.session.health.status is HealthStatus.BUSY
    assert pids(acquired.session) == before


def test_a_stopped_browser_is_replaced(house: House) -> None:
    before = pids(house.acquire("job").session)
    os.kill(before[1], signal.SIGSTOP)
    acquired = house.acquire("job")
    assert acquired.recovery is not None
    assert acquired.recovery.cause is Cause.BROWSER_HUNG
    assert not living(before)


def test_a_recovery_that_fails_says_so_and_the_next_one_tries_again(house: House) -> None:
    shoot(*pids(house.acquire("job").session))
    house.become(Fault.REFUSES_SESSION)
    with pytest.raises(RecoveryFailed, match="could not be recovered after browser_gone"):
        house.acquire("job")
    assert house.drivers() == set()
    house.become(Fault.NONE)
    acquired = house.acquire("job")
    assert (acquired.created, acquired.session.recoveries) == (False, 1)


def test_a_cleanup_that_breaks_off_neither_delays_nor_fails_the_recovery(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    shoot(pids(house.acquire("job").session)[0])

    def broken() -> None:
        message = "no process table"
        raise OSError(message)

    with monkeypatch.context() as patch:
        patch.setattr("process_cleanup.snapshot", broken)
        assert house.acquire("job").recovery is not None
    assert house.said("Orphaned process cleanup failed: no process table")


def test_a_caller_who_leaves_during_the_start_of_a_nameless_session_takes_it_with_him(house: House) -> None:
    with pytest.raises(ClientDisconnected):
        house.acquire(gone=gone())
    wait_until(lambda: house.manager.registry.sessions() == (), "the session is closed")
    house.assert_nothing_is_left()


def test_a_caller_who_leaves_during_the_start_of_a_named_session_leaves_it_to_others(house: House) -> None:
    with pytest.raises(ClientDisconnected):
        house.acquire("job", gone=gone())
    assert not house.acquire("job").created


def test_the_least_recently_used_session_makes_room_at_once(small: House) -> None:
    first = pids(small.acquire("first").session)
    assert small.acquire("second").created
    assert not living(first)
    assert small.said(r"Session first closed \(evicted\)")
    assert [session.session_id for session in small.manager.registry.sessions()] == ["second"]


def test_who_waits_too_long_for_a_place_is_told(small: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small.manager, "_queue_timeout", 0.1)
    with small.manager.registry.command(small.acquire("first").session):
        with pytest.raises(AtCapacity, match="All 1 sessions are in use"):
            small.acquire("second")
        assert "0 waiting" in repr(small.manager.registry)


def test_who_waits_and_hangs_up_leaves_the_line(small: House) -> None:
    with small.manager.registry.command(small.acquire("first").session):
        with pytest.raises(ClientDisconnected):
            small.acquire("second", gone=gone())
        assert "0 waiting" in repr(small.manager.registry)


def test_an_idle_session_is_closed_by_itself(house: House) -> None:
    running = pids(house.acquire("job", idle=0.2).session)
    wait_until(lambda: house.manager.registry.sessions() == (), "the idle session is closed")
    assert not living(running)
    assert house.said(r"Session job closed \(idle\)")


def test_what_no_list_knows_is_swept_up_by_a_cleanup_and_a_session_is_not(house: House) -> None:
    kept, lost = house.acquire("kept").session, house.acquire("lost").session
    house.manager.registry.forget(house.manager.registry.get("lost"))
    report = house.service._cleaner.cleanup(Trigger.PERSON)
    assert {killed.judgement.row.pid for killed in report.killed} >= set(pids(lost))
    assert (report.failed, report.removed_profiles) == ((), 1)
    assert len(living(pids(kept))) == 2


def test_the_stop_during_a_start_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with opened(folder, monkeypatch) as house:
        ready = pids(house.acquire("ready").session)
        house.become(Fault.HUNG)
        starting = house.begin(lambda: house.acquire("job"))
        wait_until(lambda: len(house.drivers()) == 2, "the second ChromeDriver is started")
        house.manager.stop(keep_browsers=False)
        with pytest.raises((ShuttingDown, BrowserUnavailable, SessionLost)):
            starting.result(PATIENCE_S)
        with pytest.raises(ShuttingDown):
            house.acquire("late")
        assert not living(ready)
        house.assert_nothing_is_left()
        assert house.said(r"Session ready closed \(stopping\)")


def test_a_console_that_is_closed_ends_all_that_runs_and_lets_nothing_new_in(house: House) -> None:
    running = pids(house.acquire("job").session)
    house.service.end_at_once()
    wait_gone(running)
    with pytest.raises(ShuttingDown):
        house.acquire("other")


def test_a_kill_ends_what_runs_at_once(house: House) -> None:
    running = pids(house.acquire("job").session)
    house.manager.kill()
    wait_gone(running)
