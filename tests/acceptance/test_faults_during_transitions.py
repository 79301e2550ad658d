"""Kills and stops at the worst moment: during a start, a recovery, a delete; the service itself in each."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import pytest
import requests

from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import (
    browsers,
    drivers,
    is_accounted_for,
    kill,
    new_browser,
    new_driver,
    stop,
    strike,
)
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.saved_state import assert_belongings, leave_belongings, wait_until_saved
from tests.acceptance.service import (
    Json,
    Service,
    assert_no_trace,
    assert_nothing_left,
    expect,
    expect_error,
    folder_of,
    pids_of,
    running,
)
from tests.machine import beside, living, together, wait_gone, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills and stops with POSIX signals")

CALLERS: Final = 20
PATIENCE_S: Final = 100.0
"""Nobody waits for ever, whatever happens."""


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service in which nothing but a client's access heals a session."""
    with running(health_timeout=1, watch_interval=0) as service:
        yield service


def ask(service: Service, **fields: object) -> requests.Response:
    """Ask for the patient."""
    body = {"session_id": "patient"} | fields
    return service.post("/sessions", json=body, timeout=PATIENCE_S)


def ask_in_vain(service: Service, **fields: object) -> None:
    """Ask for the patient of a service that dies over it."""
    with contextlib.suppress(requests.ConnectionError):
        ask(service, **fields)


def crowd(service: Service) -> list[requests.Response]:
    """Let twenty callers ask for the patient, and hold every answer to its shape."""
    answers = together([partial(ask, service)] * CALLERS)
    for answer in answers:
        if answer.status_code == 503:
            assert expect_error(answer, 503, answer.json()["code"])
        else:
            assert answer.status_code in {200, 201}, answer.text
    return answers


def assert_well(service: Service) -> Json:
    """Hold the patient to working, in one browser, with nothing left besides."""
    session = wait_until(lambda: ask_if_ready(service), "the patient is well", 30)
    assert Driver(session).run("return 6 * 7") == 42
    wait_until(lambda: is_accounted_for(service), "nothing is left besides")
    return session


def ask_if_ready(service: Service) -> Json:
    """Give the patient where it can be had by now, else nothing."""
    answer = ask(service)
    return dict(answer.json()["session"]) if answer.ok else {}


@pytest.mark.parametrize("born", [new_driver, new_browser])
def test_what_is_killed_as_it_starts_is_answered_and_leaves_nothing(
    service: Service, born: Callable[[Service, set[int]], int]
) -> None:
    answers, _ = beside(partial(crowd, service), lambda: strike(born(service, set())))
    assert len({answer.json()["session"]["browser"]["pid"] for answer in answers if answer.ok}) <= 1
    if not any(answer.ok for answer in answers) and service.listed() == {}:
        wait_until(lambda: not service.processes() and not service.session_folders(), "nothing is left")
    assert_well(service)


@pytest.mark.parametrize("born", [new_driver, new_browser])
def test_a_start_that_is_stuck_can_be_deleted(
    service: Service, born: Callable[[Service, set[int]], int]
) -> None:
    def stop_and_delete() -> requests.Response:
        with contextlib.suppress(Exception):
            stop(born(service, set()))
        return service.delete("/sessions/patient", timeout=30)

    answer, deletion = beside(partial(ask, service), stop_and_delete)
    assert answer.status_code in {200, 201, 404, 503}
    expect(deletion)
    assert service.listed() == {}
    wait_until(lambda: not service.processes() and not service.session_folders(), "nothing is left")
    assert_well(service)


def test_a_browser_killed_under_its_first_page_is_healed_by_whoever_comes(
    service: Service, slow_page: Gate
) -> None:
    def kill_it() -> None:
        with slow_page.while_it_loads():
            kill(*browsers(service))

    answer, _ = beside(partial(ask, service, url=slow_page.url), kill_it)
    assert answer.status_code in {200, 201, 503}
    assert_well(service)


@pytest.mark.parametrize("born", [new_driver, new_browser])
def test_what_is_killed_during_a_recovery_is_replaced_again(
    service: Service, pages: Pages, born: Callable[[Service, set[int]], int]
) -> None:
    before = service.create(session_id="patient")
    leave_belongings(before, pages)
    wait_until_saved()
    old = drivers(service) | browsers(service)
    kill(before["browser"]["pid"])
    answers, _ = beside(partial(crowd, service), lambda: strike(born(service, old)))
    assert len({answer.json()["session"]["browser"]["pid"] for answer in answers if answer.ok}) <= 2
    assert_belongings(assert_well(service), pages)


def test_what_is_stopped_during_a_recovery_keeps_nobody_waiting_for_ever(service: Service) -> None:
    before = service.create(session_id="patient")
    Driver(before).run("window.left = 42")
    old = drivers(service)
    kill(before["driver"]["pid"])

    def stop_it() -> None:
        with contextlib.suppress(Exception):
            stop(new_driver(service, old))

    beside(partial(crowd, service), stop_it)
    assert_well(service)


@pytest.mark.parametrize("harm", [strike, stop])
def test_a_delete_is_complete_whatever_befalls_the_session_meanwhile(
    service: Service, harm: Callable[..., None]
) -> None:
    session = service.create(session_id="patient")
    pids, folder = pids_of(session), folder_of(session)

    def do_harm() -> None:
        with contextlib.suppress(Exception):
            harm(session["browser"]["pid"], session["driver"]["pid"])

    deletion, _ = beside(lambda: service.delete("/sessions/patient", timeout=30), do_harm)
    expect(deletion)
    assert living(pids) == set()
    assert not folder.exists()
    assert service.listed() == {}


def test_a_delete_and_twenty_callers_at_once_leave_one_browser_or_none(service: Service) -> None:
    session = service.create(session_id="patient")
    kill(session["browser"]["pid"])
    pids = pids_of(session)

    def close() -> requests.Response:
        return service.delete("/sessions/patient", timeout=PATIENCE_S)

    def call() -> requests.Response:
        return ask(service)

    answers = together([close, *[call] * CALLERS])
    assert {answer.status_code for answer in answers} <= {200, 201, 404, 503}
    wait_gone(pids)
    wait_until(lambda: is_accounted_for(service), "nothing is left besides")
    assert len(browsers(service)) <= 1
    assert_well(service)


def test_a_session_that_dies_during_a_save_keeps_what_was_saved_before(
    service: Service, pages: Pages
) -> None:
    before = service.create(session_id="patient")
    leave_belongings(before, pages)
    wait_until_saved()
    with pytest.raises((requests.ConnectionError, AssertionError)):
        beside(partial(keep_busy, before), lambda: kill(before["browser"]["pid"]))
    after = assert_well(service)
    assert_belongings(after, pages)


def keep_busy(session: Json) -> None:
    """Do one thing after the other until the session dies."""
    client = Driver(session)
    while True:
        client.run("localStorage.setItem('noise', Math.random())")


def test_a_service_killed_while_it_starts_a_session_leaves_nothing_of_it(
    service: Service, slow_page: Gate
) -> None:
    def kill_it() -> None:
        with slow_page.while_it_loads():
            service.kill()

    beside(partial(ask_in_vain, service, url=slow_page.url), kill_it)
    service.start()
    wait_until(lambda: is_accounted_for(service), "what was started is somebody's, or gone")
    assert_well(service)


def test_a_service_killed_as_it_starts_a_driver_leaves_nothing_of_it(service: Service) -> None:
    def kill_it() -> None:
        new_driver(service, set())
        service.kill()

    beside(partial(ask_in_vain, service), kill_it)
    service.start()
    wait_until(lambda: is_accounted_for(service), "what was started is somebody's, or gone")
    assert_well(service)


@pytest.mark.parametrize("part", ["driver", "browser"])
def test_a_service_killed_while_it_recovers_goes_on_with_one_browser(
    service: Service, pages: Pages, part: str
) -> None:
    before = service.create(session_id="patient")
    leave_belongings(before, pages)
    wait_until_saved()
    old = drivers(service)
    kill(before[part]["pid"])

    def kill_it() -> None:
        new_driver(service, old)
        service.kill()

    callers = [partial(ask_in_vain, service)] * CALLERS
    beside(lambda: together(callers), kill_it)
    service.start()
    after = service.listed()["patient"]
    assert after["state"] == "ready"
    assert_belongings(assert_well(service), pages)
    if part == "driver":
        assert after["browser"] == before["browser"]


def test_a_service_killed_while_it_closes_a_session_leaves_all_or_nothing_of_it(service: Service) -> None:
    session = service.create(session_id="patient")
    pids = pids_of(session)

    def delete() -> None:
        with contextlib.suppress(requests.ConnectionError):
            service.delete("/sessions/patient")

    def kill_it() -> None:
        wait_until(lambda: not living([session["browser"]["pid"]]), "the close is under way")
        service.kill()

    beside(delete, kill_it)
    service.start()
    wait_until(lambda: is_accounted_for(service), "what is left is somebody's")
    assert_well(service)
    assert not living(pids)


def test_none_of_this_leaves_a_stack_trace(shared_service: Service) -> None:
    assert_no_trace(shared_service)
    shared_service.close_all()
    assert shared_service.stop() == 0
    assert_nothing_left(shared_service)
    shared_service.start()
