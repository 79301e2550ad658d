"""Every door of the service's own document is shut to pages, to rebound names and to strangers."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psutil
import pytest
import requests
from playwright.sync_api import Error, sync_playwright
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.remote.webdriver import WebDriver
from websockets.sync.client import connect

from tests.acceptance.clients import Attached, attached, chrome_options
from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service, expect, pids_of, running
from tests.machine import command_line

TOKEN: Final = "t0ken-of-the-tests"
BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}
EVIL: Final = "http://evil.example"
UPGRADE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}
HOSTILE: Final[list[dict[str, str]]] = [
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "chrome-extension://abcdefghijklmnop"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Host": "evil.example"},
    {"Host": "localhost.evil.example"},
    {"Host": "192.0.2.1"},
]
WRONG: Final[list[dict[str, str]]] = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": "Basic " + base64.b64encode(b"me:wrong").decode()},
    {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()},
    {"Authorization": TOKEN},
    {"Cookie": f"token={TOKEN}"},
]
MEGABYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Door:
    """One method of one path."""

    method: str
    path: str
    is_socket: bool
    is_open: bool

    def knock(
        self, service: Service, headers: Mapping[str, str], query: str = "", body: bytes | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request; gives status, headers and, where it was refused, the body."""
        said = {**(UPGRADE if self.is_socket else {}), **headers}
        if body is not None:
            said.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        try:
            connection.request(self.method, self.path + query, body, said)
            answer = connection.getresponse()
            refused = answer.status >= http.client.BAD_REQUEST
            return answer.status, answer.headers, answer.read() if refused else b""
        finally:
            connection.close()

    def code_of(self, content: bytes) -> str:
        """Give the `code` of a refusal, and hold it to the shape of its kind of door."""
        told = json.loads(content)
        if self.path.startswith("/wd/hub"):
            value = told["value"]
            assert value["stacktrace"] == ""
            assert value["error"] in {"unknown error", "session not created", "invalid argument"}, value
            assert value["message"]
            return str(value["data"]["code"])
        assert told["success"] is False
        assert told["error"]
        return str(told["code"])


def doors(service: Service) -> list[Door]:
    """Give every door that the service's own document describes, and those that it has besides."""
    document = service.get("/openapi.json", headers=BEARER).json()
    filled = {"session_id": "prey", "command": "url", "target_id": "x", "secret": "x"}
    found = [
        Door(
            method.upper(),
            re.sub(r"\{(\w+)\}", lambda name: filled[name[1]], path),
            "101" in route["responses"],
            path == "/health" or path.startswith("/bidi/"),
        )
        for path, routes in document["paths"].items()
        for method, route in routes.items()
    ]
    more = [Door("GET", path, is_socket=False, is_open=False) for path in ("/no", "/wd/hub", "/wd/hub/no")]
    return [*found, *more]


@pytest.fixture(scope="module")
def shut() -> Iterator[Service]:
    """Run a service without a token, which has one session."""
    with running(log_level="DEBUG") as service:
        service.create(session_id="prey")
        yield service


@pytest.fixture(scope="module")
def guarded() -> Iterator[Service]:
    """Run a service with a token, which has one session."""
    with running(api_token=TOKEN, log_level="DEBUG") as service:
        answer = service.post("/sessions", json={"session_id": "prey"}, headers=BEARER)
        expect(answer, 201)
        yield service


def prey(service: Service) -> Json:
    """Give the one session, which must still be there, and alone."""
    sessions = service.get("/sessions", headers=BEARER).json()["sessions"]
    assert [session["session_id"] for session in sessions] == ["prey"]
    session: Json = sessions[0]
    return session


def test_the_document_names_all_kinds_of_doors(shut: Service) -> None:
    found = {(door.method, door.path) for door in doors(shut)}
    assert {
        ("POST", "/sessions"),
        ("POST", "/wd/hub/session"),
        ("POST", "/wd/hub/session/prey/url"),
        ("GET", "/sessions/prey/live"),
        ("GET", "/sessions/prey/json/version"),
        ("GET", "/sessions/prey/cdp"),
        ("GET", "/sessions/prey/devtools/page/x"),
        ("GET", "/bidi/x"),
        ("POST", "/emergency_recovery"),
    } <= found


@pytest.mark.parametrize("headers", HOSTILE, ids=str)
def test_no_door_opens_to_a_page_or_a_rebound_name(shut: Service, headers: dict[str, str]) -> None:
    wanted = "forbidden_host" if "Host" in headers else "forbidden_origin"
    for door in doors(shut):
        status, _, content = door.knock(shut, headers)
        assert status == 403, (door, headers, content)
        assert door.code_of(content) == wanted, door
    prey(shut)


def test_no_door_but_the_open_ones_opens_without_the_token(guarded: Service) -> None:
    for door in doors(guarded):
        for headers in WRONG:
            for query in ("", "?token=wrong") if door.is_socket else ("", f"?token={TOKEN}"):
                status, told, content = door.knock(guarded, headers, query)
                if door.is_open:
                    assert status in {200, 400, 404}, door
                    continue
                assert status == 401, (door, headers, query, content)
                assert door.code_of(content) == "unauthorized"
                assert "Bearer" in told["WWW-Authenticate"]
    prey(guarded)


def test_a_page_does_not_come_in_with_the_token_either(guarded: Service) -> None:
    for door in doors(guarded):
        for headers in HOSTILE:
            status, _, _ = door.knock(guarded, {**BEARER, **headers})
            assert status == 403, (door, headers)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"]
)
def test_no_door_takes_a_body_that_is_no_json(shut: Service, content_type: str) -> None:
    for door in doors(shut):
        if door.method == "POST":
            status, _, content = door.knock(shut, {"Content-Type": content_type}, body=b"{}")
            assert status == 415, (door, content)
            assert door.code_of(content) == "unsupported_media_type"
    prey(shut)


@pytest.mark.filterwarnings("ignore:Embedding username and password:UserWarning")
def test_the_token_lets_a_selenium_program_in_by_its_address(guarded: Service, pages: Pages) -> None:
    client = Attached(f"http://me:{TOKEN}@localhost:{guarded.port}/wd/hub", "prey")
    client.get(pages.url("/form"))
    assert client.title == "Form"
    client.command_executor.close()  # type: ignore[union-attr]
    for address in ("me:wrong@localhost", "localhost"):
        # Selenium's own words for every 401.
        with pytest.raises(WebDriverException, match="Authorization Required"):
            WebDriver(f"http://{address}:{guarded.port}/wd/hub", options=chrome_options())
    prey(guarded)


def test_the_token_opens_sockets_in_a_header_and_in_the_address(guarded: Service) -> None:
    address = f"ws://localhost:{guarded.port}/sessions/prey/cdp"
    for url, headers in ((f"{address}?token={TOKEN}", {}), (address, BEARER)):
        with connect(url, additional_headers=headers, proxy=None) as opened:
            opened.send(json.dumps({"id": 1, "method": "Browser.getVersion"}))
            assert "Chrome" in opened.recv(timeout=20)


def test_the_token_lets_playwright_in_by_both_addresses(guarded: Service) -> None:
    http, socket_url = f"http://localhost:{guarded.port}/sessions/prey", prey(guarded)["cdp_url"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium
        for browser in (
            chromium.connect_over_cdp(http, headers=BEARER),
            chromium.connect_over_cdp(socket_url, headers=BEARER),
            chromium.connect_over_cdp(f"{socket_url}?token={TOKEN}"),
        ):
            assert browser.contexts[0].pages[0].evaluate("6 * 7") == 42
            browser.close()
        for address in (http, socket_url, f"{socket_url}?token=wrong"):
            with pytest.raises(Error, match="401"):
                chromium.connect_over_cdp(address)


def test_no_secret_is_told_to_anybody_else(guarded: Service) -> None:
    wish = {"capabilities": {"alwaysMatch": {"webSocketUrl": True}}}
    made = guarded.post("/wd/hub/session", json=wish, headers=BEARER).json()["value"]
    bidi = made["capabilities"]["webSocketUrl"].rsplit("/", 1)[1]
    assert len(bidi) >= 32
    lease = expect(guarded.post("/sessions/prey/lease", json={"ttl": 60}, headers=BEARER))["lease"]["token"]
    told = "".join(
        guarded.get(path, headers=BEARER).text
        for path in ("/sessions", "/sessions/prey", "/processes", "/openapi.json", "/metrics", "/health")
    )
    children = psutil.Process(guarded.process.pid).children(recursive=True)
    shown = told + "".join(guarded.logs()) + "".join(command_line(child) for child in children)
    shown += command_line(psutil.Process(guarded.process.pid))
    assert children
    for secret in (TOKEN, bidi, lease):
        assert secret not in shown
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            environment = child.environ()
            assert TOKEN not in str(environment)
            assert not [name for name in environment if name.startswith("DROVER_")]
    expect(guarded.delete("/sessions/prey/lease", headers={**BEARER, "Lease-Token": lease}))
    guarded.delete(f"/wd/hub/session/{made['sessionId']}", headers=BEARER)


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [
        ("/sessions", "localhost", 413),
        ("/wd/hub/session", "localhost", 413),
        ("/wd/hub/session/prey/url", "localhost", 413),
        ("/wd/hub/session/prey/url", "evil.example", 403),
        ("/wd/hub/status", "localhost", 405),
    ],
)
def test_a_body_without_an_end_is_cut_off_and_not_eaten(
    shut: Service, path: str, name: str, status: int
) -> None:
    most = 100 * MEGABYTE
    sent, answer = endless(shut, path, name, most)
    assert sent < most
    assert answer == b"" or answer.startswith(b"HTTP/1.1 %d" % status)
    prey(shut)


def endless(service: Service, path: str, name: str, most: int) -> tuple[int, bytes]:
    """Send a body in chunks until the service has enough of it; gives what it took, and its answer.

    The answer is lost where the end of the connection overtakes it.
    """
    with socket.create_connection(("127.0.0.1", service.port), 30) as client:
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: {name}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"%x\r\n" % MEGABYTE + b" " * MEGABYTE + b"\r\n"
        sent = 0
        answer = b""
        with contextlib.suppress(ConnectionError):
            while sent < most:
                client.sendall(chunk)
                sent += MEGABYTE
        with contextlib.suppress(ConnectionError):
            answer = client.recv(4096)
        return sent, answer


def test_a_header_without_an_end_is_refused_and_not_eaten(shut: Service) -> None:
    # The buffers of both sockets may take ten megabytes before anybody reads.
    most = 64 * MEGABYTE
    for path in ("/sessions", "/wd/hub/status", "/sessions/prey/cdp"):
        with socket.create_connection(("127.0.0.1", shut.port), 30) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Long: ".encode())
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < most:
                    client.sendall(b"x" * MEGABYTE)
                    sent += MEGABYTE
            assert sent < most
    prey(shut)


def test_callers_who_never_finish_hold_nobody_up(shut: Service) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(100):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", shut.port), 30))
            client.sendall(b"POST /sessions HTTP/1.1\r\nHost: localhost\r\n")
            if number % 2:
                client.sendall(b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        prey(shut)
        with attached(shut, "prey") as driver:
            assert driver.current_url


def test_what_we_start_listens_on_loopback_only(shut: Service) -> None:
    listening = [
        (pid, connection.laddr)
        for pid in pids_of(prey(shut))
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2
    assert {address.ip for _, address in listening} <= {"127.0.0.1", "::1"}


def test_chromedriver_and_the_debugging_port_take_no_foreign_origin(shut: Service) -> None:
    session = prey(shut)
    driver, debugger = session["driver"]["url"], session["browser"]["debugger_address"]
    with requests.Session() as client:
        client.trust_env = False
        for headers in ({"Origin": EVIL}, {"Origin": "null"}, {"Host": "evil.example"}):
            answer = client.get(f"{driver}/status", headers=headers, timeout=20)
            assert not answer.ok, headers
        assert client.get(f"{driver}/status", timeout=20).ok
        assert not client.get(
            f"http://{debugger}/json/version", headers={"Host": "evil.example"}, timeout=20
        ).ok
        socket_url = client.get(f"http://{debugger}/json/version", timeout=20).json()["webSocketDebuggerUrl"]
    for origin in (EVIL, "null", f"http://localhost:{shut.port}"):
        answer = requests.get(
            socket_url.replace("ws://", "http://"), headers={**UPGRADE, "Origin": origin}, timeout=20
        )
        assert answer.status_code == 403, origin


ATTACK: Final = """
const [service, finished] = [arguments[0], arguments[arguments.length - 1]];
const attempts = [];
const attempt = (name, path, options) => attempts.push(
    fetch(service + path, options).then((answer) => [name, answer.type], () => [name, 'failed']));
for (const mode of ['cors', 'no-cors', 'same-origin']) {
    attempt('read ' + mode, '/sessions', {mode});
    attempt('delete ' + mode, '/sessions/prey', {mode, method: 'DELETE'});
    attempt('open ' + mode, '/sessions', {mode, method: 'POST'});
    attempt('open json ' + mode, '/sessions',
        {mode, method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}});
    attempt('webdriver ' + mode, '/wd/hub/session',
        {mode, method: 'POST', body: '{"capabilities": {}}', headers: {'Content-Type': 'text/plain'}});
    attempt('script ' + mode, '/wd/hub/session/prey/execute/sync',
        {mode, method: 'POST', body: '{"script": "name = \\'taken\\'", "args": []}'});
    attempt('version ' + mode, '/sessions/prey/json/version', {mode});
    attempt('emergency ' + mode, '/emergency_recovery', {mode, method: 'POST'});
}
for (const path of ['/sessions/prey/screenshot', '/sessions/prey/live'])
    attempts.push(new Promise((resolve) => {
        const image = new Image();
        image.onload = () => resolve(['image', 'shown', image.naturalWidth]);
        image.onerror = () => resolve(['image', 'failed']);
        image.src = service + path;
    }));
for (const path of ['/sessions/prey/cdp', '/sessions/prey/devtools/page/x', '/bidi/x'])
    attempts.push(new Promise((resolve) => {
        const socket = new WebSocket(service.replace('http:', 'ws:') + path);
        socket.onopen = () => resolve(['socket', 'opened']);
        socket.onerror = () => resolve(['socket', 'failed']);
    }));
attempts.push(new Promise((resolve) => {
    const script = document.createElement('script');
    script.onload = () => resolve(['script', 'loaded']);
    script.onerror = () => resolve(['script', 'failed']);
    script.src = service + '/sessions';
    document.head.append(script);
}));
navigator.sendBeacon(service + '/wd/hub/session', '{"capabilities": {}}');
Promise.all(attempts).then(finished);
"""
FORM: Final = """
const form = document.createElement('form');
[form.method, form.action, form.enctype] = ['POST', arguments[0], arguments[1]];
const field = document.createElement('input');
[field.name, field.value] = ['{"capabilities": {}, "x": "', '"}'];
form.append(field);
document.body.append(form);
form.submit();
"""


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
def test_a_page_in_our_own_browser_reaches_nothing(shut: Service, pages: Pages, name: str) -> None:
    before = prey(shut)
    with attached(shut, "prey") as driver:
        driver.get(pages.url())
        told = driver.execute_async_script(ATTACK, f"http://{name}:{shut.port}")
        assert len(told) == 30
        # A request without CORS is sent, and what comes is kept from the page: here it is a refusal.
        assert {attempt[1] for attempt in told} <= {"failed", "opaque"}, told
        assert driver.execute_script("return name") == ""
        for target in ("/sessions", "/wd/hub/session", "/emergency_recovery", "/sessions/prey/lease"):
            for kind in ("text/plain", "application/x-www-form-urlencoded"):
                driver.get(pages.url())
                driver.execute_script(FORM, f"http://{name}:{shut.port}{target}", kind)
                page = wait_for_refusal(driver)
                assert "forbidden_origin" in page, page
    after = prey(shut)
    assert (after["browser"], after["driver"], after["lease"]) == (before["browser"], before["driver"], None)


def wait_for_refusal(driver: WebDriver) -> str:
    """Give the text of the page that a form has led to."""
    driver.implicitly_wait(20)
    return driver.find_element("xpath", "//body[contains(., 'success') or contains(., 'value')]").text


def test_a_page_of_a_rebound_name_reaches_nothing(shut: Service) -> None:
    rules = {"goog:chromeOptions": {"args": ["--host-resolver-rules=MAP evil.example 127.0.0.1"]}}
    session = shut.create(session_id="rebound", capabilities=rules)
    client = Driver(session)
    for path in ("/sessions", "/wd/hub/status", "/docs", "/sessions/prey/json/version"):
        client.open(f"http://evil.example:{shut.port}{path}")
        assert "forbidden_host" in client.run("return document.body.innerText"), path
    reached: Any = client.run(
        "return fetch('/sessions/prey', {method: 'DELETE'}).then((answer) => answer.status)"
    )
    assert reached == 403
    expect(shut.delete("/sessions/rebound"))
    prey(shut)
