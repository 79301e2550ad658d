"""DevTools connections to a browser that does not respond, refuses, floods, or dies at the wrong moment."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drover.browser import devtools as devtools_module
from drover.browser import navigation
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import DevToolsFailed, DevToolsRefused
from drover.browser.navigation import visit
from drover.browser.page_targets import NO_SIGNALS, OWN_PAGE
from drover.browser.saved_state import Into, SavedState, capture, restore
from drover.core.errors import BrowserUnavailable
from drover.net.loopback import CONNECT_S
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
    """Make a call in a daemon thread, which is abandoned with the test."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future


def test_a_command_returns_its_result(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.results["Browser.getVersion"] = {"product": "Chrome/156"}
    connection = devtools.of(browser.running)
    assert connection.call("Browser.getVersion", TIMEOUT_S) == {"product": "Chrome/156"}
    assert browser.commands[0] == "Target.setDiscoverTargets"


def test_a_browser_that_reports_no_downloads_is_watched_all_the_same(browser: FakeDevTools) -> None:
    browser.refused.add("Browser.setDownloadBehavior")
    limited = DevTools(max_downloads_mb=1)
    limited.start()
    try:
        assert limited.of(browser.running).alive
        assert "Target.setDiscoverTargets" in browser.commands
    finally:
        limited.stop()


def test_twenty_callers_share_one_connection(browser: FakeDevTools, devtools: DevTools) -> None:
    run_concurrently([lambda: devtools.of(browser.running).call("Browser.getVersion", TIMEOUT_S)] * 20)
    assert browser.connections == 1


def test_each_caller_gets_the_answer_to_its_own_command(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.results["Echo.echo"] = lambda parameters: parameters
    connection = devtools.of(browser.running)
    calls = [lambda n=n: connection.call("Echo.echo", TIMEOUT_S, n=n)["n"] for n in range(20)]
    assert run_concurrently(calls) == list(range(20))


def test_an_error_names_the_refused_command_and_the_reason(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.refused.add("Storage.setCookies")
    with pytest.raises(DevToolsRefused, match=r"Chrome refused Storage\.setCookies: not today"):
        devtools.of(browser.running).call("Storage.setCookies", TIMEOUT_S)


def test_a_command_without_an_answer_times_out(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.ignored.add("Page.captureScreenshot")
    connection = devtools.of(browser.running)
    begun = time.monotonic()
    with pytest.raises(DevToolsFailed, match=r"did not answer within 0\.2 s"):
        connection.call_page("P1", "Page.captureScreenshot", SHORT_S, format="png")
    assert time.monotonic() - begun < TIMEOUT_S
    assert connection.call("Browser.getVersion", TIMEOUT_S) == {}


def test_a_browser_that_dies_fails_every_pending_command(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.ignored.add("Slow.command")
    browser.fatal.add("Browser.crash")
    connection = devtools.of(browser.running)
    waiting = begin(lambda: connection.call("Slow.command", TIMEOUT_S))
    wait_until(lambda: "Slow.command" in browser.commands, "the slow command was received")
    for call in (lambda: connection.call("Browser.crash", TIMEOUT_S), lambda: waiting.result(TIMEOUT_S)):
        with pytest.raises(DevToolsFailed, match="was lost"):
            call()
    assert not connection.alive
    with pytest.raises(DevToolsFailed, match="was lost"):
        connection.call("Browser.getVersion", TIMEOUT_S)


def test_a_broken_connection_is_replaced(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.fatal.add("Browser.crash")
    first = devtools.of(browser.running)
    with pytest.raises(DevToolsFailed):
        first.call("Browser.crash", TIMEOUT_S)
    second = devtools.of(browser.running)
    assert second is not first
    assert second.call("Browser.getVersion", TIMEOUT_S) == {}


def test_an_answer_after_many_events_arrives(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.flooding.add("Browser.getVersion")
    assert devtools.of(browser.running).call("Browser.getVersion", TIMEOUT_S) == {}


def test_a_crashed_tab_is_reported_until_it_is_reloaded(browser: FakeDevTools, devtools: DevTools) -> None:
    connection = devtools.of(browser.running)
    browser.page("P1")
    browser.tell("Target.targetCrashed", targetId="P1", status="crashed", errorCode=5)
    wait_until(lambda: devtools.seen(browser.running).crashed_pages == ("P1",), "the crash is reported")
    connection.reload_page("P1", TIMEOUT_S)
    wait_until(lambda: devtools.seen(browser.running).crashed_pages == (), "the tab is healthy again")
    assert "Page.reload" in browser.commands


def test_a_crashed_worker_is_not_a_crashed_page(browser: FakeDevTools, devtools: DevTools) -> None:
    devtools.of(browser.running)
    browser.page("W1", "worker")
    browser.tell("Target.targetCrashed", targetId="W1", status="crashed", errorCode=5)
    browser.page("P1")
    browser.tell("Target.targetDestroyed", targetId="P1")
    wait_until(lambda: devtools.seen(browser.running).no_page_left, "the last page is closed")
    assert devtools.seen(browser.running).crashed_pages == ()


def test_signals_seen_are_kept_when_the_browser_is_gone(browser: FakeDevTools, devtools: DevTools) -> None:
    browser.fatal.add("Browser.crash")
    connection = devtools.of(browser.running)
    browser.page("P1")
    browser.tell("Target.targetDestroyed", targetId="P1")
    with pytest.raises(DevToolsFailed):
        connection.call("Browser.crash", TIMEOUT_S)
    assert devtools.seen(browser.running).no_page_left


def test_a_browser_never_connected_or_forgotten_has_no_signals(
    browser: FakeDevTools, devtools: DevTools
) -> None:
    assert devtools.seen(browser.running) == NO_SIGNALS
    connection = devtools.of(browser.running)
    devtools.forget(browser.running.browser_guid)
    wait_until(lambda: not connection.alive, "the connection is closed")
    assert devtools.seen(browser.running) == NO_SIGNALS


def test_connecting_to_a_browser_that_is_gone_fails(devtools: DevTools) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gone = replace(RUNNING, debugger_address=f"127.0.0.1:{port}")
    with pytest.raises(DevToolsFailed, match="Cannot connect to Chrome DevTools"):
        devtools.of(gone)


def test_connecting_to_a_browser_that_never_answers_times_out(
    devtools: DevTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devtools_module, "CONNECT_S", SHORT_S)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        running = replace(RUNNING, debugger_address=f"127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(DevToolsFailed, match="Cannot connect to Chrome DevTools"):
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


def test_a_page_that_was_detached_is_attached_again(browser: FakeDevTools, devtools: DevTools) -> None:
    connection = devtools.of(browser.running)
    connection.call_page("P1", "Page.enable", TIMEOUT_S)
    connection.call_page("P1", "Page.enable", TIMEOUT_S)
    assert browser.commands.count("Target.attachToTarget") == 1
    browser.tell("Target.detachedFromTarget", sessionId="S1")
    browser.page("P2")
    wait_until(lambda: [page.target_id for page in connection.pages] == ["P2"], "the events are received")
    connection.call_page("P1", "Page.enable", TIMEOUT_S)
    attached = [
        one["targetId"]
        for method, one in zip(browser.commands, browser.parameters, strict=True)
        if method == "Target.attachToTarget"
    ]
    assert attached.count("P1") == 2


def test_stop_fails_pending_and_later_commands(browser: FakeDevTools) -> None:
    devtools = DevTools()
    devtools.start()
    browser.ignored.add("Slow.command")
    connection = devtools.of(browser.running)
    waiting = begin(lambda: connection.call("Slow.command", 60))
    wait_until(lambda: "Slow.command" in browser.commands, "the slow command was received")
    devtools.stop()
    with pytest.raises(DevToolsFailed):
        waiting.result(TIMEOUT_S)
    for late in (lambda: connection.call("Browser.getVersion", 60), lambda: devtools.of(browser.running)):
        with pytest.raises(DevToolsFailed):
            begin(late).result(TIMEOUT_S)
    devtools.stop()


def test_a_browser_that_starts_is_connected_to_as_soon_as_it_says_where_it_listens(
    browser: FakeDevTools, devtools: DevTools, tmp_path: Path
) -> None:
    told = tmp_path / "DevToolsActivePort"
    told.write_text("1\n/devtools/browser/of-an-earlier-start", encoding="ascii")
    port = browser.running.debugger_address.rpartition(":")[2]
    with devtools.connecting(tmp_path):
        assert not told.exists()
        told.write_text(f"{port}\n/devtools/browser/{browser.running.browser_guid}", encoding="ascii")
        wait_until(lambda: browser.connections, "it is connected to")
    assert devtools.of(browser.running).alive
    assert browser.connections == 1


def test_a_browser_whose_start_fails_is_forgotten(
    browser: FakeDevTools, devtools: DevTools, tmp_path: Path
) -> None:
    port = browser.running.debugger_address.rpartition(":")[2]
    told = f"{port}\n/devtools/browser/{browser.running.browser_guid}"

    def start() -> None:
        (tmp_path / "DevToolsActivePort").write_text(told, encoding="ascii")
        wait_until(lambda: browser.connections, "it is connected to")
        raise BrowserUnavailable("it has died")

    with pytest.raises(BrowserUnavailable), devtools.connecting(tmp_path):
        start()
    assert devtools.of(browser.running).alive
    assert browser.connections == 2


def test_stop_does_not_wait_for_a_hung_browser() -> None:
    """Test with a stopped browser, which never answers the closing handshake."""
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
        assert time.monotonic() - begun < CONNECT_S
        with pytest.raises(DevToolsFailed):
            waiting.result(TIMEOUT_S)
        go_on.set()


@pytest.fixture
def visited(browser: FakeDevTools) -> FakeDevTools:
    """Return a browser whose new page has loaded at once, and is gone at the first look after its close."""
    browser.results |= {
        "Target.createTarget": {"targetId": "B1"},
        "Runtime.evaluate": {"result": {"value": "complete"}},
    }
    browser.refused.add("Target.getTargetInfo")
    return browser


def test_a_visit_opens_and_closes_a_hidden_tab(visited: FakeDevTools, devtools: DevTools) -> None:
    visit(devtools.of(visited.running), "http://shop.example/", TIMEOUT_S, hidden=True)
    assert visited.commands[1:] == [
        "Target.createTarget",
        "Target.attachToTarget",
        "Page.navigate",
        "Runtime.evaluate",
        "Target.closeTarget",
        "Target.getTargetInfo",
    ]
    assert visited.parameters[1] == {"url": OWN_PAGE, "background": True, "hidden": True}


def test_a_failed_visit_raises_and_closes_its_tab(visited: FakeDevTools, devtools: DevTools) -> None:
    visited.results["Page.navigate"] = {"errorText": "net::ERR_NAME_NOT_RESOLVED"}
    with pytest.raises(DevToolsFailed, match="ERR_NAME_NOT_RESOLVED"):
        visit(devtools.of(visited.running), "http://nowhere.example/", TIMEOUT_S, hidden=True)
    assert visited.commands[-2:] == ["Target.closeTarget", "Target.getTargetInfo"]


def test_a_page_that_never_finishes_loading_is_closed_at_the_deadline(
    visited: FakeDevTools, devtools: DevTools
) -> None:
    visited.results["Runtime.evaluate"] = {"result": {"value": "loading"}}
    visit(devtools.of(visited.running), "http://slow.example/", SHORT_S, hidden=True)
    assert visited.commands[-2:] == ["Target.closeTarget", "Target.getTargetInfo"]


def test_a_close_that_chrome_has_lost_is_asked_for_again(visited: FakeDevTools, devtools: DevTools) -> None:
    visited.refused.clear()

    def close(_: object) -> dict[str, object]:
        if visited.commands.count("Target.closeTarget") == 2:
            visited.refused.add("Target.getTargetInfo")
        return {"success": True}

    visited.results["Target.closeTarget"] = close
    visit(devtools.of(visited.running), "http://shop.example/", TIMEOUT_S, hidden=True)
    assert visited.commands.count("Target.closeTarget") == 2


def test_popups_of_a_visited_page_are_closed_after_it(visited: FakeDevTools, devtools: DevTools) -> None:
    closed: list[object] = []

    def navigate(_: object) -> dict[str, object]:
        popup = {"targetId": "B2", "type": "page", "openerId": "B1"}
        visited.tell("Target.targetCreated", targetInfo=popup)
        return {}

    def close(parameters: dict[str, object]) -> dict[str, object]:
        closed.append(parameters["targetId"])
        return {"success": True}

    visited.results |= {"Page.navigate": navigate, "Target.closeTarget": close}
    visit(devtools.of(visited.running), "http://shop.example/", TIMEOUT_S, hidden=False)
    assert {*closed} == {"B1", "B2"}


def test_a_page_that_opens_too_late_is_closed_after_the_next_visit(
    visited: FakeDevTools, devtools: DevTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[object] = []

    def close(parameters: dict[str, object]) -> dict[str, object]:
        closed.append(parameters["targetId"])
        return {"success": True}

    visited.results["Target.closeTarget"] = close
    visited.ignored.add("Target.createTarget")
    with monkeypatch.context() as change:
        change.setattr(navigation, "COMMAND_S", SHORT_S)
        with pytest.raises(DevToolsFailed, match="did not answer"):
            visit(devtools.of(visited.running), "http://shop.example/", TIMEOUT_S, hidden=True)
    visited.ignored.clear()
    visited.tell("Target.targetCreated", targetInfo={"targetId": "B0", "type": "other", "url": OWN_PAGE})
    visit(devtools.of(visited.running), "http://shop.example/", TIMEOUT_S, hidden=True)
    assert {*closed} == {"B0", "B1"}


def test_a_page_that_does_not_close_is_reported(
    visited: FakeDevTools, devtools: DevTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited.refused.clear()
    monkeypatch.setattr(navigation, "CLOSE_S", SHORT_S)
    with pytest.raises(DevToolsFailed, match="did not close"):
        visit(devtools.of(visited.running), "http://shop.example/", TIMEOUT_S, hidden=True)


def test_a_hung_page_keeps_its_previously_saved_state(browser: FakeDevTools, devtools: DevTools) -> None:
    before = SavedState(origins={"http://a.example": _storage("old")})
    browser.results |= {
        "Storage.getCookies": {"cookies": []},
        "Browser.getWindowForTarget": {"windowId": 1, "bounds": {"width": 800}},
    }
    browser.ignored.add("Runtime.evaluate")
    after = capture(devtools.of(browser.running), [("P1", "http://a.example/")], before)
    assert after.origins == before.origins
    assert (after.url, after.window) == ("http://a.example/", {"width": 800})


def test_a_cookie_that_chrome_refuses_does_not_affect_the_others(
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
    restored = restore(devtools.of(browser.running), "P1", SavedState(cookies=cookies), Into.NEW_PROFILE)
    assert restored.lost == ("cookies",)
    assert kept == ["one", "two"]


def _storage(value: str) -> Any:  # noqa: ANN401
    from drover.browser.saved_state import OriginStorage  # noqa: PLC0415

    return OriginStorage({"name": value}, {})
