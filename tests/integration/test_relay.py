"""Commands through the WebDriver door over a ChromeDriver that misbehaves."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from drover.attach.router import Router
from drover.attach.webdriver import WebDriver
from drover.browser import launcher
from drover.browser.recovery import Method
from drover.sessions.pool.session import Session
from tests.integration.asgi_client import Call, Client
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import ServiceHarness, running_harness
from tests.machine import kill, wait_gone

JOB = "/wd/hub/session/job"
TICK_S = 0.02

Scenario = Callable[[Client], Awaitable[None]]


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with running_harness(folder, monkeypatch, health_timeout=0.3) as harness:
        yield harness


def run(harness: ServiceHarness, scenario: Scenario) -> None:
    """Play a scenario with a client of the house, in an event loop of its own."""

    application = harness.service.asgi()
    assert isinstance(application, Router)
    webdriver: WebDriver = application._routes[0].handler.__self__  # type: ignore[attr-defined]

    async def played() -> None:
        await scenario(Client(application))
        # The connections outlive their commands, but not this loop.
        for line in webdriver._lines.values():
            line.close()
        await asyncio.sleep(0)

    asyncio.run(played())


async def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(TICK_S)
    message = f"not in time: {what}"
    raise AssertionError(message)


def job(harness: ServiceHarness) -> Session:
    return harness.manager.registry.get("job")


def driver_pid(harness: ServiceHarness) -> int:
    running = job(harness).running
    assert running is not None
    return running.driver.pid


def browser_pid(harness: ServiceHarness) -> int:
    running = job(harness).running
    assert running is not None
    return running.browser.pid


def told(call: Call) -> tuple[int, str, str]:
    """Give status, error word and message of a failure in the shape of the standard."""
    value = call.json()["value"]
    assert value["stacktrace"] == ""
    return call.status, value["error"], value["message"]


def test_a_new_session_is_a_managed_one_and_deleting_it_ends_it(harness: ServiceHarness) -> None:
    async def scenario(client: Client) -> None:
        made = await client.send("POST", "/wd/hub/session", {"capabilities": {"alwaysMatch": {}}})
        assert made.status == 200
        value = made.json()["value"]
        session_id = value["sessionId"]
        assert harness.manager.registry.get(session_id).ends_with_last_window
        assert value["capabilities"]["browserName"] == "chrome"
        assert value["capabilities"]["se:cdp"] == f"ws://localhost:5010/sessions/{session_id}/cdp"
        ended = await client.send("DELETE", f"/wd/hub/session/{session_id}")
        assert (ended.status, ended.json()) == (200, {"value": None})
        again = await client.send("DELETE", f"/wd/hub/session/{session_id}")
        assert told(again)[:2] == (404, "invalid session id")

    run(harness, scenario)
    harness.assert_nothing_is_left()


def test_a_session_asked_for_by_key_is_the_same_one_again(harness: ServiceHarness) -> None:
    asked = {"capabilities": {"alwaysMatch": {"drover:options": {"key": "account-17"}}}}

    async def scenario(client: Client) -> None:
        ids = {
            (await client.send("POST", "/wd/hub/session", asked)).json()["value"]["sessionId"] for _ in "ab"
        }
        assert len(ids) == 1

    run(harness, scenario)


def test_a_client_that_leaves_during_the_start_leaves_no_session_behind(harness: ServiceHarness) -> None:
    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.HUNG)
        call, task = client.begin("POST", "/wd/hub/session", {"capabilities": {}})
        await until(lambda: bool(harness.drivers()), "a ChromeDriver is started")
        call.hang_up()
        await task
        harness.set_fault(Fault.NONE)
        await until(lambda: harness.manager.registry.sessions() == (), "the session is closed")
        assert not call.finished

    run(harness, scenario)
    harness.assert_nothing_is_left()


def test_a_command_reaches_chromedriver_as_it_is_and_moves_the_last_use(harness: ServiceHarness) -> None:
    before = harness.acquire("job").session.last_used_mono

    async def scenario(client: Client) -> None:
        answer = await client.send("POST", f"{JOB}/url", {"url": "http://example.com/"})
        assert (answer.status, answer.json()) == (200, {"value": None})
        odd = await client.send("GET", f"{JOB}/element/e%2F1/attribute/data%20x/")
        assert odd.status == 200

    run(harness, scenario)
    assert harness.commands() == ["POST /url", "GET /element/e%2F1/attribute/data%20x"]
    assert job(harness).last_used_mono > before
    assert job(harness).commands == 0


def test_a_command_that_finds_its_chromedriver_dead_is_sent_to_the_next_one(harness: ServiceHarness) -> None:
    harness.acquire("job")
    kill([psutil.Process(driver_pid(harness))])

    async def scenario(client: Client) -> None:
        assert (await client.send("POST", f"{JOB}/url", {"url": "http://example.com/"})).status == 200

    run(harness, scenario)
    assert harness.commands().count("POST /url") == 1
    recovery = job(harness).last_recovery
    assert recovery is not None
    assert recovery.method is Method.REATTACHED


def test_a_command_in_flight_is_not_run_twice_and_its_error_names_the_recovery(
    harness: ServiceHarness,
) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        call, task = client.begin("POST", f"{JOB}/url", {"url": "http://example.com/"})
        await until(lambda: "POST /url" in harness.commands(), "the command has reached ChromeDriver")
        os.kill(driver_pid(harness), signal.SIGSTOP)
        harness.set_fault(Fault.NONE)
        await task
        status, word, message = told(call)
        assert (status, word) == (500, "unknown error")
        assert "driver_hung" in message
        assert "reattached" in message
        assert (await client.send("GET", f"{JOB}/title")).status == 200

    run(harness, scenario)
    assert harness.commands().count("POST /url") == 1


def test_what_only_reads_is_repeated_after_a_reattach(harness: ServiceHarness) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        call, task = client.begin("GET", f"{JOB}/title")
        await until(lambda: "GET /title" in harness.commands(), "the command has reached ChromeDriver")
        dying = driver_pid(harness)
        kill([psutil.Process(dying)])
        harness.set_fault(Fault.NONE)
        await task
        assert (call.status, call.json()) == (200, {"value": ""})

    run(harness, scenario)
    assert harness.commands().count("GET /title") == 2


def test_nothing_is_repeated_in_another_browser(harness: ServiceHarness) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        call, task = client.begin("GET", f"{JOB}/title")
        await until(lambda: "GET /title" in harness.commands(), "the command has reached ChromeDriver")
        browser, driver = browser_pid(harness), driver_pid(harness)
        kill([psutil.Process(browser), psutil.Process(driver)])
        harness.set_fault(Fault.NONE)
        await task
        status, word, message = told(call)
        assert (status, word) == (500, "unknown error")
        assert "browser_gone" in message

    run(harness, scenario)
    assert harness.commands().count("GET /title") == 1


def test_a_long_command_is_busy_and_not_dead(harness: ServiceHarness) -> None:
    harness.acquire("job")
    driver = driver_pid(harness)

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        call, task = client.begin("POST", f"{JOB}/url", {"url": "http://example.com/"})
        await asyncio.sleep(1.5)  # five times the health check's timeout: it is looked at, again and again
        assert not task.done()
        harness.set_fault(Fault.NONE)
        await task
        assert call.status == 200

    run(harness, scenario)
    assert driver_pid(harness) == driver


def test_commands_of_one_session_run_in_their_order_and_one_at_a_time(harness: ServiceHarness) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        first, first_task = client.begin("POST", f"{JOB}/first")
        await until(lambda: harness.commands() == ["POST /first"], "the first has reached ChromeDriver")
        later = [client.begin("POST", f"{JOB}/later{number}") for number in range(5)]
        await asyncio.sleep(10 * TICK_S)
        assert harness.commands() == ["POST /first"]
        harness.set_fault(Fault.NONE)
        await asyncio.gather(first_task, *(task for _, task in later))
        assert [first.status, *(call.status for call, _ in later)] == [200] * 6

    run(harness, scenario)
    assert harness.commands() == ["POST /first", *(f"POST /later{number}" for number in range(5))]


def test_who_hangs_up_while_he_waits_for_his_turn_is_never_sent_on(harness: ServiceHarness) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        _, first = client.begin("POST", f"{JOB}/first")
        await until(lambda: harness.commands() == ["POST /first"], "the first has reached ChromeDriver")
        impatient, second = client.begin("POST", f"{JOB}/second")
        await asyncio.sleep(5 * TICK_S)
        impatient.hang_up()
        await asyncio.sleep(5 * TICK_S)
        harness.set_fault(Fault.NONE)
        await asyncio.gather(first, second)
        assert impatient.status == 0
        assert (await client.send("GET", f"{JOB}/title")).status == 200

    run(harness, scenario)
    assert harness.commands() == ["POST /first", "GET /title"]


def test_a_session_that_ends_under_a_command_is_said_to_be_gone(harness: ServiceHarness) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        call, task = client.begin("POST", f"{JOB}/url", {"url": "http://example.com/"})
        await until(lambda: "POST /url" in harness.commands(), "the command has reached ChromeDriver")
        ended = await client.send("DELETE", JOB)
        assert ended.status == 200
        await task
        assert told(call)[:2] == (404, "invalid session id")

    run(harness, scenario)


def test_what_is_no_command_is_told_in_the_words_of_the_standard(harness: ServiceHarness) -> None:
    async def scenario(client: Client) -> None:
        assert told(await client.send("GET", "/wd/hub/nonsense"))[:2] == (404, "unknown command")
        assert told(await client.send("PATCH", "/wd/hub/session"))[:2] == (405, "unknown method")
        assert told(await client.send("GET", "/wd/hub/session/nobody/title"))[:2] == (
            404,
            "invalid session id",
        )
        assert told(await client.send("POST", "/wd/hub/session", {}))[:2] == (400, "invalid argument")
        refused = await client.send(
            "POST",
            "/wd/hub/session",
            {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"binary": "/x"}}}},
        )
        assert told(refused)[:2] == (403, "session not created")
        status = await client.send("GET", "/wd/hub/status")
        assert status.json()["value"]["ready"] is True

    run(harness, scenario)


def test_a_window_that_the_client_chose_and_its_timeouts_are_noted_for_a_recovery(
    harness: ServiceHarness,
) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        await client.send("POST", f"{JOB}/window", {"handle": "W1"})
        await client.send("POST", f"{JOB}/timeouts", {"implicit": 7})
        await client.send("POST", f"{JOB}/timeouts", {"script": 9})

    run(harness, scenario)
    assert job(harness).window == "W1"
    assert job(harness).capabilities.capabilities["timeouts"] == {"implicit": 7, "script": 9}


def test_a_dead_chromedriver_frees_every_command_that_waits(harness: ServiceHarness) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        calls = [client.begin("GET", f"{JOB}/title") for _ in range(10)]
        await until(lambda: "GET /title" in harness.commands(), "one has reached ChromeDriver")
        dying = driver_pid(harness)
        kill([psutil.Process(dying)])
        wait_gone([dying])
        harness.set_fault(Fault.NONE)
        await asyncio.gather(*(task for _, task in calls))
        assert {call.status for call, _ in calls} == {200}

    run(harness, scenario)
    assert job(harness).recoveries == 1
