"""Third-party clients of DevTools and BiDi: Playwright, Selenium's BiDi, plain WebSockets."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import psutil
import pytest
import requests
from playwright.sync_api import Browser, Error, Playwright, sync_playwright
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.acceptance import faults
from tests.acceptance.clients import attached, chrome_options, new_session
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import wait_until_saved
from tests.acceptance.service import Json, Service, expect, running
from tests.machine import wait_until

TWENTY_MB: Final = 20 * 1024 * 1024
MESSAGES: Final = 10_000
AHEAD: Final = 200
ANSWER_S: Final = 60


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Run Playwright's driver; it connects to existing browsers, and never downloads one."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def job(shared_service: Service) -> str:
    """Return the session that the tests of this module share."""
    shared_service.create(session_id="job")
    return "job"


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Yield the module's service; its session stays for the whole module."""
    return shared_service


def socket_address(service: Service, path: str = "cdp", session_id: str = "job") -> str:
    return f"ws://localhost:{service.port}/sessions/{session_id}/{path}"


@contextlib.contextmanager
def opened(address: str) -> Iterator[ClientConnection]:
    """Open a WebSocket that accepts messages of any size."""
    with connect(address, proxy=None, max_size=None, ping_interval=None, compression=None) as socket:
        yield socket


def call(socket: ClientConnection, method: str, **parameters: object) -> Json:
    """Send one command and return its result; events in between are dropped."""
    socket.send(json.dumps({"id": 7, "method": method, "params": parameters}))
    while True:
        message: Json = json.loads(socket.recv(timeout=ANSWER_S))
        if message.get("id") == 7:
            result: Json = message["result"]
            return result


def wait_for_end(socket: ClientConnection) -> None:
    """Read until the service closes the socket, and check the close reason."""
    with pytest.raises(ConnectionClosed, match="Chrome closed this connection"):
        list(socket)


def page_target(service: Service) -> Json:
    """Return the page's entry in json/list."""
    listed = service.get("/sessions/job/json/list").json()
    return next(target for target in listed if target["type"] == "page")


def is_in_use(service: Service, session_id: str = "job") -> bool:
    return bool(service.listed()[session_id]["in_use"])


def wait_until_free(service: Service, session_id: str = "job") -> None:
    wait_until(lambda: not is_in_use(service, session_id), "no client uses the session")


@contextlib.contextmanager
def over_cdp(playwright: Playwright, address: str, **options: Any) -> Iterator[Browser]:  # noqa: ANN401
    browser = playwright.chromium.connect_over_cdp(address, **options)
    try:
        yield browser
    finally:
        with contextlib.suppress(Error):
            browser.close()


def test_playwright_connects_by_both_addresses(
    service: Service, playwright: Playwright, job: str, pages: Pages
) -> None:
    cdp_url = service.report(job)["cdp_url"]
    for address in (cdp_url, f"http://localhost:{service.port}/sessions/{job}"):
        with over_cdp(playwright, address) as browser:
            assert is_in_use(service)
            page = browser.contexts[0].pages[0]
            page.goto(pages.url("/form"))
            page.fill("#name", "Grace")
            assert page.input_value("#name") == "Grace"
            assert page.title() == "Form"
        wait_until_free(service)


def test_pages_beside_the_profile_are_not_saved_as_the_sessions(
    service: Service, playwright: Playwright, pages: Pages
) -> None:
    session_id = service.create(key="beside", url=pages.url("/form"))["session_id"]
    with over_cdp(playwright, socket_address(service, session_id=session_id)) as browser:
        browser.contexts[0].pages[0].evaluate("localStorage.setItem('who', 'own')")
        page = browser.new_context().new_page()
        page.goto(pages.url("/red").replace("127.0.0.1", "localhost"))
        page.evaluate("localStorage.setItem('who', 'another')")
        with attached(service, session_id) as driver:
            assert driver.title
        wait_until_saved()
        (saved,) = service.get("/keys/beside/state").json()["origins"]
        assert saved["localStorage"] == [{"name": "who", "value": "own"}]
        faults.kill(service.report(session_id)["browser"]["pid"])
        assert expect(service.get(f"/sessions/{session_id}"))["session"]["current_url"] == pages.url("/form")
    expect(service.delete(f"/sessions/{session_id}"))


def test_several_clients_can_use_one_session_at_the_same_time(
    service: Service, playwright: Playwright, job: str, pages: Pages
) -> None:
    address = socket_address(service)
    with (
        over_cdp(playwright, address) as one,
        over_cdp(playwright, address) as other,
        opened(address) as plain,
        attached(service, job) as driver,
    ):
        driver.get(pages.url("/form"))
        for browser in (one, other):
            page = browser.contexts[0].pages[0]
            page.wait_for_url("**/form")
            assert page.evaluate("document.title") == "Form"
        one.contexts[0].pages[0].evaluate("document.title = 'From one'")
        assert other.contexts[0].pages[0].title() == driver.title == "From one"
        assert "Chrome" in call(plain, "Browser.getVersion")["product"]
        one.close()
        assert is_in_use(service)
        assert other.contexts[0].pages[0].title() == "From one"
    wait_until_free(service)


def test_urls_in_json_version_and_list_work(service: Service, job: str, pages: Pages) -> None:
    with attached(service, job) as driver:
        driver.get(pages.url("/red"))
    own = service.report(job)["browser"]["debugger_address"]
    for slash in ("", "/"):
        version = service.get(f"/sessions/job/json/version{slash}").json()
        assert version["webSocketDebuggerUrl"] == socket_address(service)
    target = page_target(service)
    assert target["url"] == pages.url("/red")
    with opened(target["webSocketDebuggerUrl"]) as page:
        cdp_url = call(page, "Runtime.evaluate", expression="document.title")
        assert cdp_url["result"]["value"] == "Red"
        assert is_in_use(service)
    wait_until_free(service)
    for path in ("/sessions/job/json/version", "/sessions/job/json/list"):
        assert own not in service.get(path).text


@pytest.mark.parametrize(
    "path", ["devtools/page/unknown", "devtools/page/..%2f..", "devtools/browser/x", "no"]
)
def test_a_socket_that_does_not_exist_is_refused(service: Service, job: str, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(socket_address(service, path)):
        pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["success"] is False


def test_a_session_that_does_not_exist_has_no_socket(service: Service) -> None:
    with pytest.raises(InvalidStatus) as refused, opened(socket_address(service, session_id="unknown")):
        pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["code"] == "session_not_found"


@pytest.mark.exhaustive
def test_a_message_of_twenty_megabytes_arrives_complete_in_both_directions(
    service: Service, job: str
) -> None:
    with opened(page_target(service)["webSocketDebuggerUrl"]) as page:
        down = call(page, "Runtime.evaluate", expression=f"'x'.repeat({TWENTY_MB})")["result"]["value"]
        assert down == "x" * TWENTY_MB
        up = call(page, "Runtime.evaluate", expression=f"'{'y' * TWENTY_MB}'.length")
        assert up["result"]["value"] == TWENTY_MB


@pytest.mark.exhaustive
def test_many_fast_messages_all_arrive_in_order(service: Service, job: str) -> None:
    with opened(page_target(service)["webSocketDebuggerUrl"]) as page:
        got = []
        for number in range(1, MESSAGES + 1):
            content = {"expression": str(number)}
            page.send(json.dumps({"id": number, "method": "Runtime.evaluate", "params": content}))
            if number > AHEAD:
                got.append(json.loads(page.recv(timeout=ANSWER_S)))
        got += [json.loads(page.recv(timeout=ANSWER_S)) for _ in range(AHEAD)]
    assert [one["id"] for one in got] == list(range(1, MESSAGES + 1))
    assert [one["result"]["result"]["value"] for one in got] == list(range(1, MESSAGES + 1))


def test_fast_events_all_arrive_even_if_the_client_reads_late(service: Service, job: str) -> None:
    address = page_target(service)["webSocketDebuggerUrl"]
    flood = f"for (let i = 0; i < {MESSAGES}; i++) console.log(i)"
    with opened(address) as page:
        call(page, "Runtime.enable")
        page.send(json.dumps({"id": 8, "method": "Runtime.evaluate", "params": {"expression": flood}}))
        with opened(address) as other:
            # A slow reader does not block other clients.
            assert call(other, "Runtime.evaluate", expression="1 + 1")["result"]["value"] == 2
        seen: list[int] = []
        while len(seen) < MESSAGES:
            message = json.loads(page.recv(timeout=ANSWER_S))
            if message.get("method") == "Runtime.consoleAPICalled":
                seen.append(message["params"]["args"][0]["value"])
    assert seen == list(range(MESSAGES))


def test_a_ping_is_answered_and_a_close_frees_the_session(service: Service, job: str) -> None:
    with opened(socket_address(service)) as socket:
        assert is_in_use(service)
        assert socket.ping().wait(ANSWER_S)
        socket.close(4321, "enough")
        assert socket.close_code == 4321
    wait_until_free(service)


def test_a_client_whose_connection_breaks_frees_the_session(service: Service, job: str) -> None:
    with opened(socket_address(service)) as socket:
        assert is_in_use(service)
        socket.socket.close()
        wait_until_free(service)


def test_closing_a_page_closes_its_socket(service: Service, job: str) -> None:
    with attached(service, job) as driver:
        first = driver.current_window_handle
        driver.switch_to.new_window("tab")
        address = socket_address(service, f"devtools/page/{driver.current_window_handle}")
        with opened(address) as page:
            call(page, "Runtime.evaluate", expression="1")
            driver.close()
            wait_for_end(page)
        driver.switch_to.window(first)
    wait_until_free(service)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_dead_browser_closes_its_sockets_with_a_reason_and_the_next_socket_recovers_it(
    service: Service, job: str
) -> None:
    with opened(socket_address(service)) as socket:
        call(socket, "Browser.getVersion")
        faults.kill(service.listed()[job]["browser"]["pid"])
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=ANSWER_S)
        received = closed.value.rcvd
        assert received is not None
        assert received.code == 1011
        assert "Reconnect" in received.reason
    with opened(socket_address(service)) as socket:
        assert "Chrome" in call(socket, "Browser.getVersion")["product"]
    assert service.report(job)["last_recovery"]["method"] == "restored"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_socket_stays_open_when_chromedriver_dies(service: Service, job: str) -> None:
    with opened(socket_address(service)) as socket:
        faults.kill(service.listed()[job]["driver"]["pid"])
        assert expect(service.get(f"/sessions/{job}"))["recovery"]["method"] == "reattached"
        assert "Chrome" in call(socket, "Browser.getVersion")["product"]


def test_closing_a_session_closes_its_sockets(service: Service) -> None:
    service.create(session_id="brief")
    with opened(socket_address(service, session_id="brief")) as socket:
        expect(service.delete("/sessions/brief"))
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=ANSWER_S)


def test_selenium_receives_console_events_over_bidi_and_a_wrong_secret_is_refused(
    service: Service, pages: Pages
) -> None:
    options = chrome_options(session_id="bidi")
    options.enable_bidi = True
    with new_session(service, options) as driver:
        address = driver.capabilities["webSocketUrl"]
        assert address.startswith(f"ws://localhost:{service.port}/bidi/")
        # Selenium 4.51 waits that long in every other quit(), also with a bare ChromeDriver.
        driver.command_executor.client_config.websocket_timeout = 1  # type: ignore[union-attr]
        heard: list[str] = []
        driver.script.add_console_message_handler(lambda entry: heard.append(entry.text))
        driver.get(pages.url("/form"))
        driver.execute_script("console.log('over', 'BiDi')")
        wait_until(lambda: heard == ["over BiDi"], "the console message arrives")
        assert is_in_use(service, "bidi")
        for wrong in (address[:-1], address + "x", address.rsplit("/", 1)[0] + "/", f"{address}/.."):
            with pytest.raises(InvalidStatus) as refused, opened(wrong):
                pass
            assert refused.value.response.status_code == 404, wrong
        driver.quit()
    with pytest.raises(InvalidStatus) as refused, opened(address):
        pass
    assert refused.value.response.status_code == 404
    assert "bidi" not in service.listed()


def test_clients_leave_no_connection_to_the_browser_behind(service: Service, job: str) -> None:
    port = int(service.report(job)["browser"]["debugger_address"].rpartition(":")[2])
    before = connections(service, port)
    for _ in range(10):
        with opened(socket_address(service)) as socket:
            call(socket, "Browser.getVersion")
    wait_until(lambda: connections(service, port) <= before, "the connections are closed")


def connections(service: Service, port: int) -> int:
    """Count the connections of the service to a loopback port."""
    held = psutil.Process(service.process.pid).net_connections(kind="tcp")
    return len([one for one in held if one.raddr[1:] == (port,) and one.status == psutil.CONN_ESTABLISHED])


def test_pages_are_opened_activated_and_closed_over_http(service: Service, job: str, pages: Pages) -> None:
    # Chrome takes an address up to its first "&"; clients escape it.
    address = quote(pages.url("/form#a=1&b=2"), safe="")
    opened_page = service.request("PUT", f"/sessions/{job}/json/new?{address}")
    target: Json = opened_page.json()
    assert opened_page.status_code == 200
    assert target["url"] == pages.url("/form#a=1&b=2")
    with opened(target["webSocketDebuggerUrl"]) as socket:
        script = "document.title + location.hash"
        wait_until(
            lambda: call(socket, "Runtime.evaluate", expression=script)["result"]["value"] == "Form#a=1&b=2",
            "the new page is loaded",
        )
    for action in ("activate", "close"):
        path = f"/sessions/{job}/json/{action}/{target['id']}"
        by_a_page = service.get(path, headers={"Sec-Fetch-Site": "none"})
        assert (by_a_page.status_code, by_a_page.json()["code"]) == (403, "forbidden_origin")
        assert service.get(path).status_code == 200
    wait_until(
        lambda: target["id"] not in service.get(f"/sessions/{job}/json/list").text, "the page is closed"
    )
    assert service.get(f"/sessions/{job}/json/close/{target['id']}").status_code == 404
    assert service.get(f"/sessions/{job}/json/new").status_code == 405
    assert service.get(f"/sessions/{job}/json/activate/..%2f..%2fversion").status_code == 404


def test_the_protocol_is_described_below_the_session_and_where_clients_look_for_it(
    service: Service, job: str
) -> None:
    for path in (f"/sessions/{job}/json/protocol", "/json/protocol"):
        domains = {one["domain"] for one in service.get(path).json()["domains"]}
        assert {"Page", "Target", "Browser"} <= domains


@pytest.mark.parametrize("prefix", ["", "/sessions/job", "/sessions/job/sessions/job"])
def test_a_page_is_found_at_the_addresses_that_clients_derive(
    service: Service, job: str, prefix: str
) -> None:
    target = page_target(service)
    with opened(f"ws://localhost:{service.port}{prefix}/devtools/page/{target['id']}") as socket:
        assert call(socket, "Runtime.evaluate", expression="1 + 1")["result"]["value"] == 2


@pytest.mark.exhaustive
def test_a_node_of_selenium_grid_reaches_devtools_without_the_token_and_after_a_recovery() -> None:
    token = {"Authorization": "Bearer long-token"}
    with running(api_token="long-token") as service:
        wanted = {"capabilities": {"alwaysMatch": {"drover:options": {"session_id": "job"}}}}
        made = service.post("/wd/hub/session", json=wanted, headers=token).json()["value"]
        address = made["capabilities"]["se:forwardCdp"]
        assert address.startswith(f"ws://localhost:{service.port}/cdp/")
        for wrong, status in ((address[:-1], 404), (made["capabilities"]["se:cdp"], 401)):
            with pytest.raises(InvalidStatus) as refused, opened(wrong):
                pass
            assert refused.value.response.status_code == status, wrong
        with opened(address) as socket:
            assert call(socket, "Browser.getVersion")["product"].startswith("Chrome/")
            (session,) = service.get("/sessions", headers=token).json()["sessions"]
            assert session["in_use"] is True
            faults.kill(session["browser"]["pid"])
            wait_for_end(socket)
        with opened(address) as socket:
            assert call(socket, "Browser.getVersion")["product"].startswith("Chrome/")
        recovered = service.get("/sessions/job?recover=false", headers=token).json()["session"]
        assert recovered["browser"]["pid"] != session["browser"]["pid"]
        again = service.post("/wd/hub/session", json=wanted, headers=token).json()["value"]
        assert again["capabilities"]["se:forwardCdp"] == address


def test_an_aborted_handshake_writes_nothing_into_the_log(service: Service, job: str) -> None:
    mark = service.mark()
    head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    for path in (f"/sessions/{job}/cdp", "/sessions/none/cdp", "/nothing", "/bidi/none"):
        for origin in ("", "Origin: http://evil.example\r\n"):
            with socket.create_connection(("127.0.0.1", service.port)) as connection:
                request = f"GET {path} HTTP/1.1\r\nHost: localhost:{service.port}\r\n{head}{key}{origin}\r\n"
                connection.sendall(request.encode())
    # They are answered in order of arrival, at the latest with this one.
    with opened(socket_address(service)) as client:
        call(client, "Browser.getVersion")
    wait_until_free(service)
    assert [line for line in service.logs(mark) if "ERROR" in line or "Traceback" in line] == []


def test_a_page_of_no_session_is_not_found(service: Service, job: str) -> None:
    for path in ("devtools/page/0123456789ABCDEF", "devtools/browser/none"):
        with pytest.raises(InvalidStatus) as refused, opened(f"ws://localhost:{service.port}/{path}"):
            pass
        assert refused.value.response.status_code == 404


def test_json_version_of_an_unknown_session_is_not_found(service: Service) -> None:
    for path in ("version", "list"):
        answer: requests.Response = service.get(f"/sessions/unknown/json/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
