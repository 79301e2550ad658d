"""Requests while many others wait, and while the system lets no more threads start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from drover.browser import launcher
from drover.net.request_threads import WAITING
from tests.integration.asgi_client import Call, Client, run, until
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import ServiceHarness, running_harness
from tests.machine import ThreadLimit, kill_pids

LIMIT_S = 20.0
MANY = 2 * WAITING
READ = ("/health", "/sessions", "/processes", "/metrics", "/openapi.json", "/wd/hub/status")


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with running_harness(folder, monkeypatch, health_timeout=0.3) as harness:
        yield harness


async def answered(client: Client, method: str, path: str, content: object = None) -> Call:
    return await asyncio.wait_for(client.send(method, path, content), LIMIT_S)


def kill_driver(harness: ServiceHarness, session_id: str) -> None:
    running = harness.registry.get(session_id).running
    assert running is not None
    kill_pids(running.driver.pid)


def assert_overloaded(call: Call, message: str) -> None:
    assert (call.status, call.json()["code"]) == (503, "overloaded")
    assert message in call.json()["error"]
    assert int(call.headers["retry-after"]) > 0


def test_clients_that_wait_for_one_slow_session_keep_no_other_request_waiting(
    harness: ServiceHarness,
) -> None:
    other = harness.acquire("other").session
    assert other.running is not None

    async def scenario(client: Client) -> None:
        harness.set_fault_except(Fault.HUNG, other.running.driver.pid)  # type: ignore[union-attr]
        clients = [client.begin("POST", "/sessions", {"session_id": "slow"}) for _ in range(MANY)]
        await until(lambda: sum(task.done() for _, task in clients) == MANY - WAITING, "half are refused")
        for call, task in clients:
            if task.done():
                assert_overloaded(call, f"All {WAITING} threads")
        for path in READ:
            assert (await answered(client, "GET", path)).status == 200, path
        refused = await answered(client, "POST", "/wd/hub/session", {"capabilities": {}})
        assert refused.json()["value"]["error"] == "session not created"
        assert "threads for such requests are busy" in refused.json()["value"]["message"]
        harness.set_fault(Fault.NONE)
        kill_driver(harness, "other")
        assert (await answered(client, "GET", "/wd/hub/session/other/url")).status == 200
        assert (await answered(client, "DELETE", "/sessions/slow")).status == 200
        await asyncio.wait_for(asyncio.gather(*(task for _, task in clients)), LIMIT_S)

    run(harness.service, scenario)


def test_without_a_thread_for_it_a_request_is_told_the_reason(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(client: Client) -> None:
        with monkeypatch.context() as patch:
            ThreadLimit(patch, 0)
            for method, path in (("GET", "/health"), ("POST", "/sessions"), ("DELETE", "/sessions/a")):
                assert_overloaded(await answered(client, method, path), "Raise the limit of processes")
            refused = await answered(client, "POST", "/wd/hub/session", {"capabilities": {}})
            assert refused.json()["value"]["error"] == "session not created"
            assert "can't start new thread" in refused.json()["value"]["message"]
        assert (await answered(client, "POST", "/sessions", {"session_id": "a"})).status == 201

    run(harness.service, scenario)
    assert [one.session_id for one in harness.registry.sessions()] == ["a"]


def test_a_service_that_gets_no_more_threads_works_and_stops(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.service.fill_threads()
    # In force until the service has stopped: its fixture ends before that of the patch.
    ThreadLimit(monkeypatch, 0)

    async def scenario(client: Client) -> None:
        for name in ("a", "b"):
            assert (await answered(client, "POST", "/sessions", {"session_id": name})).status == 201
        kill_driver(harness, "a")
        seen = await answered(client, "GET", "/wd/hub/session/a/url")
        assert seen.status == 200, seen.body
        kill_driver(harness, "b")
        assert (await answered(client, "GET", "/sessions/b")).status == 200
        assert (await answered(client, "DELETE", "/sessions/a")).status == 200
        assert (await answered(client, "POST", "/cleanup_orphaned_processes")).status == 200
        for path in READ:
            assert (await answered(client, "GET", path)).status == 200, path

    run(harness.service, scenario)
    harness.manager._monitor.watch()


def test_a_start_with_too_few_threads_says_so(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        ThreadLimit(patch, 10)
        harness.service.fill_threads()
    assert harness.has_logged(r"\d+ of the service's threads could not be started: .*")
