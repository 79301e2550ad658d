"""WebDriver commands through the service over a ChromeDriver that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from drover.browser import launcher
from drover.browser.recovery import Method
from drover.sessions.pool.session import Session
from tests.integration.asgi_client import TICK_S, Call, Client, run, until
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import ServiceHarness, running_harness, stop_program
from tests.machine import kill, wait_gone

JOB = "/wd/hub/session/job"


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with running_harness(folder, monkeypatch, health_timeout=0.3) as harness:
        yield harness


def job(harness: ServiceHarness) -> Session:
    return harness.registry.get("job")


def driver_pid(harness: ServiceHarness) -> int:
    running = job(harness).running
    assert running is not None
    return running.driver.pid


def browser_pid(harness: ServiceHarness) -> int:
    running = job(harness).running
    assert running is not None
    return running.browser.pid


def error_of(call: Call) -> tuple[int, str, str]:
    """Return status, error code and message of a W3C error response."""
    value = call.json()["value"]
    assert value["stacktrace"] == ""
    return call.status, value["error"], value["message"]


def test_a_new_session_is_managed_and_deleting_it_ends_it(harness: ServiceHarness) -> None:
    async def scenario(client: Client) -> None:
        made = await client.send("POST", "/wd/hub/session", {"capabilities": {"alwaysMatch": {}}})
        assert made.status == 200
        value = made.json()["value"]
        session_id = value["sessionId"]
        assert harness.registry.get(session_id).ends_with_last_window
        assert value["capabilities"]["browserName"] == "chrome"
        assert value["capabilities"]["se:cdp"] == f"ws://localhost:5010/sessions/{session_id}/cdp"
        ended = await client.send("DELETE", f"/wd/hub/session/{session_id}")
        assert (ended.status, ended.json()) == (200, {"value": None})
        # ChromeDriver answers a second DELETE with 200 as well (measured).
        again = await client.send("DELETE", f"/wd/hub/session/{session_id}")
        assert (again.status, again.json()) == (200, {"value": None})

    run(harness.service, scenario)
    harness.assert_nothing_is_left()


def test_the_same_key_returns_the_same_session(harness: ServiceHarness) -> None:
    body = {"capabilities": {"alwaysMatch": {"drover:options": {"key": "account-17"}}}}

    async def scenario(client: Client) -> None:
        ids = {
            (await client.send("POST", "/wd/hub/session", body)).json()["value"]["sessionId"] for _ in "ab"
        }
        assert len(ids) == 1

    run(harness.service, scenario)


def test_a_client_that_disconnects_during_the_start_leaves_no_session(harness: ServiceHarness) -> None:
    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.HUNG)
        call, task = client.begin("POST", "/wd/hub/session", {"capabilities": {}})
        await until(lambda: bool(harness.drivers()), "a ChromeDriver is started")
        call.hang_up()
        await task
        harness.set_fault(Fault.NONE)
        await until(lambda: harness.registry.sessions() == (), "the session is closed")
        assert not call.finished

    run(harness.service, scenario)
    harness.assert_nothing_is_left()


def test_a_command_reaches_chromedriver_unchanged_and_updates_last_used(harness: ServiceHarness) -> None:
    before = harness.acquire("job").session.last_used_mono

    async def scenario(client: Client) -> None:
        answer = await client.send("POST", f"{JOB}/url", {"url": "http://example.com/"})
        assert (answer.status, answer.json()) == (200, {"value": None})
        odd = await client.send("GET", f"{JOB}/element/e%2F1/attribute/data%20x/")
        assert odd.status == 200

    run(harness.service, scenario)
    assert harness.commands() == ["POST /url", "GET /element/e%2F1/attribute/data%20x"]
    assert job(harness).last_used_mono > before
    assert job(harness).commands == 0


def test_a_command_to_a_dead_chromedriver_is_sent_to_its_replacement(harness: ServiceHarness) -> None:
    harness.acquire("job")
    kill([psutil.Process(driver_pid(harness))])

    async def scenario(client: Client) -> None:
        assert (await client.send("POST", f"{JOB}/url", {"url": "http://example.com/"})).status == 200

    run(harness.service, scenario)
    assert harness.commands().count("POST /url") == 1
    recovery = job(harness).last_recovery
    assert recovery is not None
    assert recovery.method is Method.REATTACHED


def test_a_command_in_flight_is_not_repeated_and_its_error_names_the_recovery(
    harness: ServiceHarness,
) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        call, task = client.begin("POST", f"{JOB}/url", {"url": "http://example.com/"})
        await until(lambda: "POST /url" in harness.commands(), "the command has reached ChromeDriver")
        stop_program(driver_pid(harness))
        harness.set_fault(Fault.NONE)
        await task
        status, word, message = error_of(call)
        assert (status, word) == (500, "unknown error")
        assert "driver_hung" in message
        assert "reattached" in message
        assert (await client.send("GET", f"{JOB}/title")).status == 200

    run(harness.service, scenario)
    assert harness.commands().count("POST /url") == 1


def test_a_read_only_command_is_repeated_after_a_reattach(harness: ServiceHarness) -> None:
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

    run(harness.service, scenario)
    assert harness.commands().count("GET /title") == 2


def test_a_command_without_a_valid_answer_is_told_as_that_and_not_as_a_death(harness: ServiceHarness) -> None:
    harness.acquire("job")
    driver = driver_pid(harness)

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.GARBLES_TITLE)
        answer = await client.send("GET", f"{JOB}/title")
        status, _word, message = error_of(answer)
        assert status == 500
        assert "in 3 attempts" in message
        assert "malformed response" in message

    run(harness.service, scenario)
    assert harness.commands().count("GET /title") == 3
    assert driver_pid(harness) == driver


def test_no_command_is_repeated_in_another_browser(harness: ServiceHarness) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        call, task = client.begin("GET", f"{JOB}/title")
        await until(lambda: "GET /title" in harness.commands(), "the command has reached ChromeDriver")
        browser, driver = browser_pid(harness), driver_pid(harness)
        kill([psutil.Process(browser), psutil.Process(driver)])
        harness.set_fault(Fault.NONE)
        await task
        status, word, message = error_of(call)
        assert (status, word) == (500, "unknown error")
        assert "browser_gone" in message

    run(harness.service, scenario)
    assert harness.commands().count("GET /title") == 1


def test_a_long_command_is_busy_and_not_dead(harness: ServiceHarness) -> None:
    harness.acquire("job")
    driver = driver_pid(harness)

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        call, task = client.begin("POST", f"{JOB}/url", {"url": "http://example.com/"})
        await asyncio.sleep(1.5)  # five times the health check timeout: several probes happen
        assert not task.done()
        harness.set_fault(Fault.NONE)
        await task
        assert call.status == 200

    run(harness.service, scenario)
    assert driver_pid(harness) == driver


def test_commands_of_one_session_run_in_order_and_one_at_a_time(harness: ServiceHarness) -> None:
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

    run(harness.service, scenario)
    assert harness.commands() == ["POST /first", *(f"POST /later{number}" for number in range(5))]


def test_a_queued_command_whose_client_disconnects_is_never_sent(harness: ServiceHarness) -> None:
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

    run(harness.service, scenario)
    assert harness.commands() == ["POST /first", "GET /title"]


def test_a_command_whose_session_ends_gets_invalid_session_id(harness: ServiceHarness) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        harness.set_fault(Fault.BUSY)
        call, task = client.begin("POST", f"{JOB}/url", {"url": "http://example.com/"})
        await until(lambda: "POST /url" in harness.commands(), "the command has reached ChromeDriver")
        ended = await client.send("DELETE", JOB)
        assert ended.status == 200
        await task
        assert error_of(call)[:2] == (404, "invalid session id")

    run(harness.service, scenario)


def test_unknown_commands_get_the_w3c_error(harness: ServiceHarness) -> None:
    async def scenario(client: Client) -> None:
        assert error_of(await client.send("GET", "/wd/hub/nonsense"))[:2] == (404, "unknown command")
        assert error_of(await client.send("PATCH", "/wd/hub/session"))[:2] == (405, "unknown method")
        assert error_of(await client.send("GET", "/wd/hub/session/unknown/title"))[:2] == (
            404,
            "invalid session id",
        )
        assert error_of(await client.send("POST", "/wd/hub/session", {}))[:2] == (400, "invalid argument")
        refused = await client.send(
            "POST",
            "/wd/hub/session",
            {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"debuggerAddress": "x:1"}}}},
        )
        assert error_of(refused)[:2] == (403, "session not created")
        status = await client.send("GET", "/wd/hub/status")
        assert status.json()["value"]["ready"] is True

    run(harness.service, scenario)


def test_the_chosen_window_and_timeouts_are_recorded_for_a_recovery(
    harness: ServiceHarness,
) -> None:
    harness.acquire("job")

    async def scenario(client: Client) -> None:
        await client.send("POST", f"{JOB}/window", {"handle": "W1"})
        await client.send("POST", f"{JOB}/timeouts", {"implicit": 7})
        await client.send("POST", f"{JOB}/timeouts", {"script": 9})

    run(harness.service, scenario)
    assert job(harness).window == "W1"
    assert job(harness).capabilities.capabilities["timeouts"] == {"implicit": 7, "script": 9}


def test_a_dead_chromedriver_releases_every_queued_command(harness: ServiceHarness) -> None:
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

    run(harness.service, scenario)
    assert job(harness).recoveries == 1
