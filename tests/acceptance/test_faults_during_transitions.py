"""Kills and stops at the worst moment: during a start, a recovery or a delete, and of the service itself."""

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
    send_kill,
    stop,
)
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.saved_state import assert_saved_state, create_saved_state, wait_until_saved
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
from tests.machine import living, run_both, run_concurrently, wait_gone, wait_until

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(sys.platform == "win32", reason="kills and stops with POSIX signals"),
]

CLIENTS: Final = 20
TIMEOUT_S: Final = 100.0
"""No request waits longer than this."""


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service in which only a client's access recovers a session."""
    with running(health_timeout=1, watch_interval=0) as service:
        yield service


def acquire(service: Service, **fields: object) -> requests.Response:
    """Request the session."""
    body = {"session_id": "session"} | fields
    return service.post("/sessions", json=body, timeout=TIMEOUT_S)


def acquire_from_dying_service(service: Service, **fields: object) -> None:
    """Request the session from a service that dies during the request."""
    with contextlib.suppress(requests.ConnectionError):
        acquire(service, **fields)


def acquire_concurrently(service: Service) -> list[requests.Response]:
    """Request the session from twenty clients at once, and check the shape of every answer."""
    answers = run_concurrently([partial(acquire, service)] * CLIENTS)
    for answer in answers:
        if answer.status_code == 503:
            assert expect_error(answer, 503, answer.json()["code"])
        else:
            assert answer.status_code in {200, 201}, answer.text
    return answers


def assert_healthy(service: Service) -> Json:
    """Assert that the session works, in one browser, and that nothing else is left."""
    session = wait_until(lambda: acquire_if_ready(service), "the session is healthy", 30)
    assert Driver(session).run("return 6 * 7") == 42
    wait_until(lambda: is_accounted_for(service), "nothing else is left")
    return session


def acquire_if_ready(service: Service) -> Json:
    """Return the session if it is available now, else an empty object."""
    answer = acquire(service)
    return dict(answer.json()["session"]) if answer.ok else {}


@pytest.mark.parametrize("born", [new_driver, new_browser])
def test_a_process_killed_while_it_starts_leaves_nothing(
    service: Service, born: Callable[[Service, set[int]], int]
) -> None:
    answers, _ = run_both(partial(acquire_concurrently, service), lambda: send_kill(born(service, set())))
    assert len({answer.json()["session"]["browser"]["pid"] for answer in answers if answer.ok}) <= 1
    if not any(answer.ok for answer in answers) and service.listed() == {}:
        wait_until(lambda: not service.processes() and not service.session_folders(), "nothing is left")
    assert_healthy(service)


@pytest.mark.parametrize("born", [new_driver, new_browser])
def test_a_process_killed_while_it_starts_is_not_the_mistake_of_a_client_with_capabilities_of_its_own(
    service: Service, born: Callable[[Service, set[int]], int]
) -> None:
    # A start with default capabilities a moment ago would prove those of the client wrong.
    service.create(session_id="first")
    before = drivers(service) | browsers(service)
    body = {"capabilities": {"alwaysMatch": {"pageLoadStrategy": "eager"}}}
    answer, _ = run_both(
        lambda: service.post("/wd/hub/session", json=body, timeout=TIMEOUT_S),
        lambda: send_kill(born(service, before)),
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["value"]["capabilities"]["pageLoadStrategy"] == "eager"
    wait_until(lambda: is_accounted_for(service), "nothing else is left")


@pytest.mark.parametrize("born", [new_driver, new_browser])
def test_a_stuck_start_can_be_deleted(service: Service, born: Callable[[Service, set[int]], int]) -> None:
    def stop_and_delete() -> requests.Response:
        with contextlib.suppress(Exception):
            stop(born(service, set()))
        return service.delete("/sessions/session", timeout=30)

    answer, deletion = run_both(partial(acquire, service), stop_and_delete)
    assert answer.status_code in {200, 201, 404, 503}
    expect(deletion)
    assert service.listed() == {}
    wait_until(lambda: not service.processes() and not service.session_folders(), "nothing is left")
    assert_healthy(service)


def test_a_browser_killed_while_it_loads_its_first_page_is_recovered(
    service: Service, slow_page: Gate
) -> None:
    def kill_it() -> None:
        with slow_page.while_it_loads():
            kill(*browsers(service))

    answer, _ = run_both(partial(acquire, service, url=slow_page.url), kill_it)
    assert answer.status_code in {200, 201, 503}
    assert_healthy(service)


@pytest.mark.parametrize("born", [new_driver, new_browser])
def test_a_process_killed_during_a_recovery_is_replaced_again(
    service: Service, pages: Pages, born: Callable[[Service, set[int]], int]
) -> None:
    before = service.create(session_id="session")
    create_saved_state(before, pages)
    wait_until_saved()
    old = drivers(service) | browsers(service)
    kill(before["browser"]["pid"])
    answers, _ = run_both(partial(acquire_concurrently, service), lambda: send_kill(born(service, old)))
    assert len({answer.json()["session"]["browser"]["pid"] for answer in answers if answer.ok}) <= 2
    assert_saved_state(assert_healthy(service), pages)


def test_a_driver_stopped_during_a_recovery_does_not_block_requests(service: Service) -> None:
    before = service.create(session_id="session")
    Driver(before).run("window.left = 42")
    old = drivers(service)
    kill(before["driver"]["pid"])

    def stop_it() -> None:
        with contextlib.suppress(Exception):
            stop(new_driver(service, old))

    run_both(partial(acquire_concurrently, service), stop_it)
    assert_healthy(service)


@pytest.mark.parametrize("harm", [send_kill, stop])
def test_a_delete_is_complete_even_if_its_processes_are_harmed_during_it(
    service: Service, harm: Callable[..., None]
) -> None:
    session = service.create(session_id="session")
    pids, folder = pids_of(session), folder_of(session)

    def do_harm() -> None:
        with contextlib.suppress(Exception):
            harm(session["browser"]["pid"], session["driver"]["pid"])

    deletion, _ = run_both(lambda: service.delete("/sessions/session", timeout=30), do_harm)
    expect(deletion)
    assert living(pids) == set()
    assert not folder.exists()
    assert service.listed() == {}


def test_a_delete_and_twenty_concurrent_clients_leave_one_browser_or_none(service: Service) -> None:
    session = service.create(session_id="session")
    kill(session["browser"]["pid"])
    pids = pids_of(session)

    def close() -> requests.Response:
        return service.delete("/sessions/session", timeout=TIMEOUT_S)

    def call() -> requests.Response:
        return acquire(service)

    answers = run_concurrently([close, *[call] * CLIENTS])
    assert {answer.status_code for answer in answers} <= {200, 201, 404, 503}
    wait_gone(pids)
    wait_until(lambda: is_accounted_for(service), "nothing else is left")
    assert len(browsers(service)) <= 1
    assert_healthy(service)


def test_a_session_that_dies_during_a_save_keeps_its_previous_state(service: Service, pages: Pages) -> None:
    before = service.create(session_id="session")
    create_saved_state(before, pages)
    wait_until_saved()
    with pytest.raises((requests.ConnectionError, AssertionError)):
        run_both(partial(keep_busy, before), lambda: kill(before["browser"]["pid"]))
    after = assert_healthy(service)
    assert_saved_state(after, pages)


def keep_busy(session: Json) -> None:
    """Send one command after another until the session dies."""
    client = Driver(session)
    while True:
        client.run("localStorage.setItem('noise', Math.random())")


def test_a_service_killed_while_it_starts_a_session_leaves_nothing_of_it(
    service: Service, slow_page: Gate
) -> None:
    def kill_it() -> None:
        with slow_page.while_it_loads():
            service.kill()

    run_both(partial(acquire_from_dying_service, service, url=slow_page.url), kill_it)
    service.start()
    wait_until(lambda: is_accounted_for(service), "the started processes have an owner or are gone")
    assert_healthy(service)


def test_a_service_killed_as_it_starts_a_driver_leaves_nothing_of_it(service: Service) -> None:
    def kill_it() -> None:
        new_driver(service, set())
        service.kill()

    run_both(partial(acquire_from_dying_service, service), kill_it)
    service.start()
    wait_until(lambda: is_accounted_for(service), "the started processes have an owner or are gone")
    assert_healthy(service)


@pytest.mark.parametrize("part", ["driver", "browser"])
def test_a_service_killed_during_a_recovery_continues_with_one_browser(
    service: Service, pages: Pages, part: str
) -> None:
    before = service.create(session_id="session")
    create_saved_state(before, pages)
    wait_until_saved()
    old = drivers(service)
    kill(before[part]["pid"])

    def kill_it() -> None:
        new_driver(service, old)
        service.kill()

    callers = [partial(acquire_from_dying_service, service)] * CLIENTS
    run_both(lambda: run_concurrently(callers), kill_it)
    service.start()
    after = service.listed()["session"]
    assert after["state"] == "ready"
    assert_saved_state(assert_healthy(service), pages)
    if part == "driver":
        assert after["browser"] == before["browser"]


def test_a_service_killed_during_a_close_leaves_all_or_nothing_of_the_session(service: Service) -> None:
    session = service.create(session_id="session")
    pids = pids_of(session)

    def delete() -> None:
        with contextlib.suppress(requests.ConnectionError):
            service.delete("/sessions/session")

    def kill_it() -> None:
        wait_until(lambda: not living([session["browser"]["pid"]]), "the close is running")
        service.kill()

    run_both(delete, kill_it)
    service.start()
    wait_until(lambda: is_accounted_for(service), "everything left has an owner")
    assert_healthy(service)
    assert not living(pids)


def test_no_fault_leaves_a_stack_trace(shared_service: Service) -> None:
    assert_no_trace(shared_service)
    shared_service.close_all()
    assert shared_service.stop() == 0
    assert_nothing_left(shared_service)
    shared_service.start()
