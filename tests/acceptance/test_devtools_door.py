"""Chrome's DevTools, BiDi and live pictures through the service's own port, with clients as they are."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import psutil
import pytest
import requests
from playwright.sync_api import Browser, sync_playwright
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.acceptance.clients import attached, chrome_options, new_session
from tests.acceptance.driving import Driver
from tests.acceptance.faults import kill
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service, expect
from tests.machine import wait_until

ANSWER_S: Final = 30.0
BIG: Final = 20_000_000
MANY: Final = 10_000
FRAME: Final = re.compile(rb"--frame\r\ncontent-type: image/jpeg\r\ncontent-length: (\d+)\r\n\r\n")
JPEG: Final = b"\xff\xd8\xff"


@pytest.fixture
def session(service: Service) -> Json:
    return service.create(session_id="seen")


@contextlib.contextmanager
def socket_to(address: str) -> Iterator[ClientConnection]:
    """Open a socket as a program does, without a bound on what comes."""
    with connect(address, max_size=None, open_timeout=ANSWER_S, proxy=None, compression=None) as socket:
        yield socket


@contextlib.contextmanager
def over_cdp(*addresses: str) -> Iterator[list[Browser]]:
    """Connect Playwright to each address; it starts no browser of its own."""
    with sync_playwright() as playwright:
        browsers = [playwright.chromium.connect_over_cdp(address) for address in addresses]
        yield browsers
        for browser in browsers:
            browser.close()


def call(socket: ClientConnection, number: int, method: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
    """Send a command and give its result; what comes in between is passed over."""
    socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
    while (message := json.loads(socket.recv(timeout=ANSWER_S))).get("id") != number:
        continue
    return message["result"]


def until_closed(socket: ClientConnection) -> None:
    """Take what comes until the other side closes."""
    while True:
        socket.recv(timeout=ANSWER_S)


def frames(answer: requests.Response) -> Iterator[bytes]:
    """Give the pictures of a stream, one after the other."""
    seen = b""
    for part in answer.iter_content(None):
        seen += part
        while (head := FRAME.search(seen)) and len(seen) >= head.end() + int(head[1]):
            picture = seen[head.end() : head.end() + int(head[1])]
            seen = seen[head.end() + int(head[1]) :]
            yield picture


def test_playwright_connects_by_both_addresses_several_at_a_time(
    service: Service, session: Json, pages: Pages
) -> None:
    http = f"http://localhost:{service.port}/sessions/seen"
    with over_cdp(session["cdp_url"], http) as (one, other):
        assert service.listed()["seen"]["in_use"] is True
        page = one.contexts[0].pages[0]
        page.goto(pages.url("/form"))
        page.fill("#name", "typed")
        assert other.contexts[0].pages[0].input_value("#name") == "typed"
    wait_until(lambda: service.listed()["seen"]["in_use"] is False, "nobody uses it any more")
    assert service.report("seen")["health"]["status"] == "healthy"


def test_what_is_told_of_the_browser_points_to_our_port(service: Service, session: Json) -> None:
    base = f"ws://localhost:{service.port}/sessions/seen"
    version = service.get("/sessions/seen/json/version/").json()
    assert version["webSocketDebuggerUrl"] == f"{base}/cdp" == session["cdp_url"]
    targets = service.get("/sessions/seen/json/list").json()
    page = next(target for target in targets if target["type"] == "page")
    assert page["webSocketDebuggerUrl"] == f"{base}/devtools/page/{page['id']}"
    assert session["browser"]["debugger_address"] not in json.dumps([version, targets])
    with socket_to(page["webSocketDebuggerUrl"]) as socket:
        assert call(socket, 1, "Runtime.evaluate", expression="1 + 1")["result"]["value"] == 2


def test_a_message_of_twenty_megabytes_passes_both_ways(session: Json) -> None:
    with socket_to(session["cdp_url"]) as socket:
        target = call(socket, 1, "Target.getTargets")["targetInfos"][0]["targetId"]
        page = call(socket, 2, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        expression = f"'{'x' * BIG}'"
        message = {"id": 3, "method": "Runtime.evaluate", "sessionId": page}
        socket.send(json.dumps(message | {"params": {"expression": expression}}))
        while (answer := json.loads(socket.recv(timeout=ANSWER_S))).get("id") != 3:
            continue
        assert len(answer["result"]["result"]["value"]) == BIG


def test_no_message_is_lost_at_a_fast_pace_and_all_come_in_order(session: Json) -> None:
    with socket_to(session["cdp_url"]) as socket:
        numbers = range(1, MANY + 1)
        for number in numbers:
            socket.send(json.dumps({"id": number, "method": "Browser.getVersion"}))
        answers = [json.loads(socket.recv(timeout=ANSWER_S)) for _ in numbers]
    assert [answer["id"] for answer in answers] == list(numbers)


def test_a_ping_is_answered_and_a_close_is_returned(session: Json) -> None:
    with socket_to(session["cdp_url"]) as socket:
        assert socket.ping().wait(ANSWER_S)
        socket.close(4001, "enough")
        assert socket.close_code == 4001


def test_a_socket_ends_with_its_browser_and_the_next_one_finds_it_healed(
    service: Service, session: Json
) -> None:
    with socket_to(session["cdp_url"]) as socket:
        kill(session["browser"]["pid"])
        with pytest.raises(ConnectionClosed) as closed:
            until_closed(socket)
        assert closed.value.rcvd is not None
        assert "connect again" in closed.value.rcvd.reason
    with socket_to(session["cdp_url"]) as socket:
        assert call(socket, 1, "Browser.getVersion")["product"].startswith("Chrome/")
    assert service.report("seen")["recoveries"] == 1


def test_a_socket_lives_on_while_chromedriver_dies(service: Service, session: Json) -> None:
    with socket_to(session["cdp_url"]) as socket:
        kill(session["driver"]["pid"])
        assert expect(service.get("/sessions/seen"))["recovery"]["method"] == "reattached"
        assert call(socket, 1, "Browser.getVersion")["product"].startswith("Chrome/")


@pytest.mark.parametrize("path", ["nobody/cdp", "seen/devtools/page/nothing", "seen/devtools/page/a%0d%0ab"])
def test_a_socket_to_nothing_is_refused(service: Service, session: Json, path: str) -> None:
    assert session["session_id"] == "seen"
    with (
        pytest.raises(InvalidStatus) as refused,
        socket_to(f"ws://localhost:{service.port}/sessions/{path}"),
    ):
        pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["success"] is False


def test_seleniums_bidi_hears_the_console_through_our_port(service: Service, pages: Pages) -> None:
    options = chrome_options()
    options.enable_bidi = True
    with new_session(service, options) as driver:
        assert driver.capabilities["webSocketUrl"].startswith(f"ws://localhost:{service.port}/bidi/")
        heard: list[str] = []
        driver.script.add_console_message_handler(lambda entry: heard.append(entry.text))
        driver.get(pages.url("/"))
        driver.execute_script("console.log('hello')")
        wait_until(lambda: heard == ["hello"], "the console is heard")
        driver.quit()
    assert service.listed() == {}


def test_the_secret_of_a_bidi_address_stands_nowhere_else_and_cannot_be_guessed(service: Service) -> None:
    options = chrome_options()
    options.enable_bidi = True
    with new_session(service, options) as driver:
        address = driver.capabilities["webSocketUrl"]
        secret = address.rpartition("/")[2]
        assert secret not in service.get("/sessions").text + "".join(service.logs())
        with (
            pytest.raises(InvalidStatus) as refused,
            socket_to(address.replace(secret, secret[::-1])),
        ):
            pass
        assert refused.value.response.status_code == 404
        driver.quit()


def test_live_pictures_follow_the_page_and_the_window_in_front(
    service: Service, session: Json, pages: Pages
) -> None:
    driver = Driver(session)
    before = service.report("seen")
    with requests.get(f"{service.url}/sessions/seen/live", stream=True, timeout=ANSWER_S) as answer:
        assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
        pictures = frames(answer)
        blank = next(pictures)
        assert blank.startswith(JPEG)
        driver.open(pages.url("/red"))
        red = next(picture for picture in pictures if picture != blank)
        assert red.startswith(JPEG)
        driver.switch_to(driver.new_window())
        driver.open(pages.url("/big"))
        assert next(picture for picture in pictures if picture not in {blank, red}).startswith(JPEG)
        after = service.report("seen")
        assert (after["in_use"], after["last_used"]) == (False, before["last_used"])
    wait_until(lambda: not is_watched(service, session), "nobody draws any more")


def test_a_stream_of_pictures_ends_with_its_session(service: Service, session: Json) -> None:
    assert session["session_id"] == "seen"
    with requests.get(f"{service.url}/sessions/seen/live", stream=True, timeout=ANSWER_S) as answer:
        pictures = frames(answer)
        assert next(pictures).startswith(JPEG)
        expect(service.delete("/sessions/seen"))
        assert all(picture.startswith(JPEG) for picture in pictures)
    assert service.get("/sessions/seen/live").status_code == 404


def test_a_running_command_is_not_disturbed_by_who_looks(
    service: Service, session: Json, pages: Pages
) -> None:
    assert session["session_id"] == "seen"
    with attached(service, "seen") as driver:
        driver.get(pages.url("/red"))
        with requests.get(f"{service.url}/sessions/seen/live", stream=True, timeout=ANSWER_S) as answer:
            assert next(frames(answer)).startswith(JPEG)
            driver.set_script_timeout(10)
            assert driver.execute_async_script("setTimeout(() => arguments[0]('done'), 1500)") == "done"


def is_watched(service: Service, session: Json) -> bool:
    """Tell whether the service has more than its one connection to a session's browser."""
    port = int(session["browser"]["debugger_address"].rpartition(":")[2])
    connections = psutil.Process(service.process.pid).net_connections("tcp")
    open_ones = [one for one in connections if one.raddr[1:] == (port,)]
    return len([one for one in open_ones if one.status == psutil.CONN_ESTABLISHED]) > 1
