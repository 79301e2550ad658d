"""The DevTools connections over a browser that is deaf, refuses, floods, and dies at the wrong moment."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from drover.browser import devtools as devtools_module
from drover.browser.background_tab import visit
from drover.browser.devtools import NO_SIGNALS, DevTools, DevToolsFailed, DevToolsRefused
from drover.browser.saved_state import SavedState, put_back, take
from tests.integration.devtools_server import FakeDevTools, fake_devtools
from tests.machine import run_concurrently, wait_until
from tests.unit.examples import RUNNING

SHORT_S = 0.2
TIMEOUT_S = 10.0


@pytest.fixture
def browser() -> Iterator[FakeDevTools]:
    with fake_devtools() as server:
        yield server


@pytest.fixture
def devtools() -> Iterator[DevTools]:
    started = DevTools()
    started.start()
    yield started
    started.stop()


def begin(call: Callable[[], Any]) -> Future[Any]:
    """Make a call in a thread that is given up with the test."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future


def test_a_command_gives_its_result(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.results["Browser.getVersion"] = {"product": "Chrome/156"}
    connection = devtools.of(browser.running)
    assert connection.call("Browser.getVersion", TIMEOUT_S) == {"product": "Chrome/156"}
    assert browser.commands[0] == "Target.setDiscoverTargets"


def test_twenty_callers_share_one_connection(browser: FakeDevTools, devtools: DevTools) -> None:
    run_concurrently([lambda: devtools.of(browser.running).call("Browser.getVersion", TIMEOUT_S)] * 20)
    assert browser.connections == 1


def test_answers_go_to_those_who_asked(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.results["Echo.echo"] = lambda parameters: parameters
    connection = devtools.of(browser.running)
    calls = [lambda n=n: connection.call("Echo.echo", TIMEOUT_S, n=n)["n"] for n in range(20)]
    assert run_concurrently(calls) == list(range(20))


def test_a_refusal_says_what_was_refused_and_why(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.refused.add("Storage.setCookies")
    with pytest.raises(DevToolsRefused, match=r"Chrome refuses Storage\.setCookies: not today"):
        devtools.of(browser.running).call("Storage.setCookies", TIMEOUT_S)


def test_a_deaf_browser_is_waited_for_no_longer_than_allowed(
    browser: FakeDevTools, devtools: DevTools
) -> None:
    browser.ignored.add("Page.captureScreenshot")
    connection = devtools.of(browser.running)
    begun = time.monotonic()
    with pytest.raises(DevToolsFailed, match=r"did not answer within 0\.2 s"):
        connection.call_page("P1", "Page.captureScreenshot", SHORT_S, format="png")
    assert time.monotonic() - begun < TIMEOUT_S
    assert connection.call("Browser.getVersion", TIMEOUT_S) == {}


def test_a_browser_that_dies_of_a_command_fails_everybody_who_waits(
    browser: FakeDevTools, devtools: DevTools
) -> None:
    browser.ignored.add("Slow.command")
    browser.fatal.add("Browser.crash")
    connection = devtools.of(browser.running)
    waiting = begin(lambda: connection.call("Slow.command", TIMEOUT_S))
    wait_until(lambda: "Slow.command" in browser.commands, "the slow command came")
    for call in (lambda: connection.call("Browser.crash", TIMEOUT_S), lambda: waiting.result(TIMEOUT_S)):
        with pytest.raises(DevToolsFailed, match="gone"):
            call()
    assert not connection.alive
    with pytest.raises(DevToolsFailed, match="gone"):
        connection.call("Browser.getVersion", TIMEOUT_S)


def test_a_broken_connection_is_made_anew(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.fatal.add("Browser.crash")
    first = devtools.of(browser.running)
    with pytest.raises(DevToolsFailed):
        first.call("Browser.crash", TIMEOUT_S)
    second = devtools.of(browser.running)
    assert second is not first
    assert second.call("Browser.getVersion", TIMEOUT_S) == {}


def test_a_flood_of_events_drowns_no_answer(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.flooding.add("Browser.getVersion")
    assert devtools.of(browser.running).call("Browser.getVersion", TIMEOUT_S) == {}


def test_a_crashed_tab_is_heard_of_and_forgotten_when_it_was_loaded_again(
    browser: FakeDevTools, devtools: DevTools
) -> None:
    connection = devtools.of(browser.running)
    browser.page("P1")
    browser.tell("Target.targetCrashed", targetId="P1", status="crashed", errorCode=5)
    wait_until(lambda: devtools.seen(browser.running).crashed_pages == ("P1",), "the crash is heard of")
    connection.reload_page("P1", TIMEOUT_S)
    wait_until(lambda: devtools.seen(browser.running).crashed_pages == (), "the tab is well again")
    assert browser.commands[-1] == "Page.reload"


def test_a_crashed_worker_is_no_crashed_page(browser: FakeDevTools, devtools: DevTools) -> None:
    devtools.of(browser.running)
    browser.page("W1", "worker")
    browser.tell("Target.targetCrashed", targetId="W1", status="crashed", errorCode=5)
    browser.page("P1")
    browser.tell("Target.targetDestroyed", targetId="P1")
    wait_until(lambda: devtools.seen(browser.running).no_page_left, "the last page is closed")
    assert devtools.seen(browser.running).crashed_pages == ()


def test_what_was_heard_stands_when_the_browser_is_gone(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.fatal.add("Browser.crash")
    connection = devtools.of(browser.running)
    browser.page("P1")
    browser.tell("Target.targetDestroyed", targetId="P1")
    with pytest.raises(DevToolsFailed):
        connection.call("Browser.crash", TIMEOUT_S)
    assert devtools.seen(browser.running).no_page_left


def test_of_a_browser_that_was_never_asked_or_is_forgotten_nothing_is_known(
    browser: FakeDevTools, devtools: DevTools
) -> None:
    assert devtools.seen(browser.running) == NO_SIGNALS
    connection = devtools.of(browser.running)
    devtools.forget(browser.running.browser_guid)
    wait_until(lambda: not connection.alive, "the connection is closed")
    assert devtools.seen(browser.running) == NO_SIGNALS


def test_a_browser_that_is_gone_takes_no_connection(devtools: DevTools) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gone = replace(RUNNING, debugger_address=f"127.0.0.1:{port}")
    with pytest.raises(DevToolsFailed, match="takes no DevTools connection"):
        devtools.of(gone)


def test_a_browser_that_listens_and_never_answers_is_given_up(
    devtools: DevTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devtools_module, "CONNECT_S", SHORT_S)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        running = replace(RUNNING, debugger_address=f"127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(DevToolsFailed, match="takes no DevTools connection"):
            devtools.of(running)


def test_a_connection_that_could_not_be_opened_is_closed_again(
    browser: FakeDevTools, devtools: DevTools
) -> None:
    browser.refused.add("Target.setDiscoverTargets")
    for _ in range(3):
        with pytest.raises(DevToolsFailed):
            devtools.of(browser.running)
    wait_until(lambda: browser._open == set(), "no connection is left")
    browser.refused.clear()
    assert devtools.of(browser.running).alive


def test_a_page_that_was_closed_is_attached_to_anew(browser: FakeDevTools, devtools: DevTools) -> None:
    connection = devtools.of(browser.running)
    connection.call_page("P1", "Page.enable", TIMEOUT_S)
    connection.call_page("P1", "Page.enable", TIMEOUT_S)
    assert browser.commands.count("Target.attachToTarget") == 1
    browser.tell("Target.detachedFromTarget", sessionId="S1")
    wait_until(lambda: not connection._attached, "the detachment is heard of")
    connection.call_page("P1", "Page.enable", TIMEOUT_S)
    assert browser.commands.count("Target.attachToTarget") == 2


def test_the_stop_fails_those_who_wait_at_once_and_those_who_come_later(browser: FakeDevTools) -> None:
    devtools = DevTools()
    devtools.start()
    browser.ignored.add("Slow.command")
    connection = devtools.of(browser.running)
    waiting = begin(lambda: connection.call("Slow.command", 60))
    wait_until(lambda: "Slow.command" in browser.commands, "the slow command came")
    devtools.stop()
    with pytest.raises(DevToolsFailed):
        waiting.result(TIMEOUT_S)
    for late in (lambda: connection.call("Browser.getVersion", 60), lambda: devtools.of(browser.running)):
        with pytest.raises(DevToolsFailed):
            begin(late).result(TIMEOUT_S)
    devtools.stop()


def test_the_stop_waits_for_no_browser_that_hangs() -> None:
    """One that is stopped by a signal answers no closing handshake."""
    accepted, go_on = threading.Event(), threading.Event()
    with fake_devtools() as browser:

        def hang(_: object) -> dict[str, object]:
            accepted.set()
            go_on.wait(60)
            return {}

        browser.results["Browser.hang"] = hang
        devtools = DevTools()
        devtools.start()
        connection = devtools.of(browser.running)
        waiting = begin(lambda: connection.call("Browser.hang", 60))
        assert accepted.wait(TIMEOUT_S)
        begun = time.monotonic()
        devtools.stop()
        assert time.monotonic() - begun < devtools_module.CONNECT_S
        with pytest.raises(DevToolsFailed):
            waiting.result(TIMEOUT_S)
        go_on.set()


def test_a_visit_opens_a_tab_behind_and_closes_it(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.results |= {
        "Target.createTarget": {"targetId": "B1"},
        "Runtime.evaluate": {"result": {"value": "complete"}},
    }
    visit(devtools.of(browser.running), "http://shop.example/", TIMEOUT_S)
    assert browser.commands[1:] == [
        "Target.createTarget",
        "Target.attachToTarget",
        "Page.navigate",
        "Runtime.evaluate",
        "Target.closeTarget",
    ]
    assert browser.parameters[1] == {"url": "about:blank", "background": True}


def test_a_visit_that_fails_says_so_and_closes_its_tab(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.results |= {
        "Target.createTarget": {"targetId": "B1"},
        "Page.navigate": {"errorText": "net::ERR_NAME_NOT_RESOLVED"},
    }
    with pytest.raises(DevToolsFailed, match="ERR_NAME_NOT_RESOLVED"):
        visit(devtools.of(browser.running), "http://nowhere.example/", TIMEOUT_S)
    assert browser.commands[-1] == "Target.closeTarget"


def test_a_page_that_loads_for_ever_is_closed_when_its_time_is_over(
    browser: FakeDevTools, devtools: DevTools
) -> None:
    browser.results |= {
        "Target.createTarget": {"targetId": "B1"},
        "Runtime.evaluate": {"result": {"value": "loading"}},
    }
    visit(devtools.of(browser.running), "http://slow.example/", SHORT_S)
    assert browser.commands[-1] == "Target.closeTarget"


def test_a_page_that_hangs_keeps_its_state_of_before(browser: FakeDevTools, devtools: DevTools) -> None:
    before = SavedState(origins={"http://a.example": _storage("old")})
    browser.results |= {
        "Storage.getCookies": {"cookies": []},
        "Browser.getWindowForTarget": {"windowId": 1, "bounds": {"width": 800}},
    }
    browser.ignored.add("Runtime.evaluate")
    after = take(devtools.of(browser.running), [("P1", "http://a.example/")], before)
    assert after.origins == before.origins
    assert (after.url, after.window) == ("http://a.example/", {"width": 800})


def test_one_cookie_that_chrome_refuses_does_not_lose_the_others(
    browser: FakeDevTools, devtools: DevTools
) -> None:
    kept: list[str] = []

    def set_cookies(parameters: dict[str, Any]) -> dict[str, Any]:
        names = [cookie["name"] for cookie in parameters["cookies"]]
        browser.refused.discard("Storage.setCookies")
        if len(names) == 1 and names != ["bad"]:
            kept.extend(names)
        return {}

    browser.refused.add("Storage.setCookies")
    browser.results["Storage.setCookies"] = set_cookies
    original = browser._take

    def all_or_none(socket: Any, command: dict[str, Any]) -> None:  # noqa: ANN401
        names = [cookie["name"] for cookie in command["params"].get("cookies", ())]
        browser.refused = {"Storage.setCookies"} if "bad" in names else set()
        original(socket, command)

    browser._take = all_or_none  # type: ignore[method-assign]
    cookies = [{"name": name, "value": "1", "session": True} for name in ("one", "bad", "two")]
    put_back(devtools.of(browser.running), "P1", SavedState(cookies=cookies))
    assert kept == ["one", "two"]


def _storage(value: str) -> Any:  # noqa: ANN401
    from drover.browser.saved_state import OriginStorage  # noqa: PLC0415

    return OriginStorage({"name": value}, {})
