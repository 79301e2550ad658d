"""Every endpoint of the service's document refuses pages, rebound names and clients without the token."""

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
from urllib.parse import urlsplit

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
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    is_socket: bool
    is_open: bool

    def send(
        self, service: Service, headers: Mapping[str, str], query: str = "", body: bytes | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request; return status, headers and, if it was refused, the body."""
        sent_headers = {**(UPGRADE if self.is_socket else {}), **headers}
        if body is not None:
            sent_headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        try:
            connection.request(self.method, self.path + query, body, sent_headers)
            answer = connection.getresponse()
            refused = answer.status >= http.client.BAD_REQUEST
            return answer.status, answer.headers, answer.read() if refused else b""
        finally:
            connection.close()

    def code_of(self, content: bytes) -> str:
        """Return the `code` of a refusal, after checking the shape that its kind of endpoint uses."""
        body = json.loads(content)
        if self.path.startswith("/wd/hub"):
            value = body["value"]
            assert value["stacktrace"] == ""
            assert value["error"] in {"unknown error", "session not created", "invalid argument"}, value
            assert value["message"]
            return str(value["data"]["code"])
        assert body["success"] is False
        assert body["error"]
        return str(body["code"])


def endpoints(service: Service) -> list[Endpoint]:
    """Return every endpoint of the service's document, and the undocumented ones."""
    document = service.get("/openapi.json", headers=BEARER).json()
    filled = {
        "session_id": "target",
        "command": "url",
        "target_id": "x",
        "guid": "x",
        "secret": "x",
        "key": "x",
    }
    found = [
        Endpoint(
            method.upper(),
            re.sub(r"\{(\w+)\}", lambda name: filled[name[1]], path),
            "101" in route["responses"],
            path == "/health" or path.startswith(("/bidi/", "/cdp/")),
        )
        for path, routes in document["paths"].items()
        for method, route in routes.items()
    ]
    more = [
        Endpoint("GET", path, is_socket=False, is_open=False) for path in ("/no", "/wd/hub", "/wd/hub/no")
    ]
    return [*found, *more]


@pytest.fixture(scope="module")
def open_service() -> Iterator[Service]:
    """Run a service without a token, with one session."""
    with running(log_level="DEBUG") as service:
        service.create(session_id="target")
        yield service


@pytest.fixture(scope="module")
def token_service() -> Iterator[Service]:
    """Run a service with a token, with one session."""
    with running(api_token=TOKEN, log_level="DEBUG") as service:
        answer = service.post("/sessions", json={"session_id": "target"}, headers=BEARER)
        expect(answer, 201)
        yield service


def only_session(service: Service) -> Json:
    """Return the one session; assert that it still exists, and no other."""
    sessions = service.get("/sessions", headers=BEARER).json()["sessions"]
    assert [session["session_id"] for session in sessions] == ["target"]
    session: Json = sessions[0]
    return session


def test_the_document_names_all_kinds_of_endpoints(open_service: Service) -> None:
    found = {(endpoint.method, endpoint.path) for endpoint in endpoints(open_service)}
    assert {
        ("POST", "/sessions"),
        ("POST", "/wd/hub/session"),
        ("POST", "/wd/hub/session/target/url"),
        ("GET", "/sessions/target/live"),
        ("GET", "/sessions/target/json/version"),
        ("GET", "/sessions/target/cdp"),
        ("GET", "/sessions/target/devtools/page/x"),
        ("GET", "/bidi/x"),
        ("GET", "/cdp/x"),
        ("POST", "/emergency_recovery"),
    } <= found


@pytest.mark.parametrize("headers", HOSTILE, ids=str)
def test_every_endpoint_refuses_foreign_pages_and_rebound_names(
    open_service: Service, headers: dict[str, str]
) -> None:
    wanted = "forbidden_host" if "Host" in headers else "forbidden_origin"
    for endpoint in endpoints(open_service):
        status, _, content = endpoint.send(open_service, headers)
        assert status == 403, (endpoint, headers, content)
        assert endpoint.code_of(content) == wanted, endpoint
    only_session(open_service)


def test_only_open_endpoints_work_without_the_token(token_service: Service) -> None:
    for endpoint in endpoints(token_service):
        for headers in WRONG:
            for query in ("", "?token=wrong") if endpoint.is_socket else ("", f"?token={TOKEN}"):
                status, answer_headers, content = endpoint.send(token_service, headers, query)
                if endpoint.is_open:
                    assert status in {200, 400, 404}, endpoint
                    continue
                assert status == 401, (endpoint, headers, query, content)
                assert endpoint.code_of(content) == "unauthorized"
                assert "Bearer" in answer_headers["WWW-Authenticate"]
    only_session(token_service)


def test_a_foreign_page_is_refused_even_with_the_token(token_service: Service) -> None:
    for endpoint in endpoints(token_service):
        for headers in HOSTILE:
            status, _, _ = endpoint.send(token_service, {**BEARER, **headers})
            assert status == 403, (endpoint, headers)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"]
)
def test_every_endpoint_refuses_a_body_that_is_not_json(open_service: Service, content_type: str) -> None:
    for endpoint in endpoints(open_service):
        if endpoint.method == "POST":
            status, _, content = endpoint.send(open_service, {"Content-Type": content_type}, body=b"{}")
            assert status == 415, (endpoint, content)
            assert endpoint.code_of(content) == "unsupported_media_type"
    only_session(open_service)


@pytest.mark.filterwarnings("ignore:Embedding username and password:UserWarning")
def test_selenium_can_pass_the_token_in_its_url(token_service: Service, pages: Pages) -> None:
    client = Attached(f"http://me:{TOKEN}@localhost:{token_service.port}/wd/hub", "target")
    client.get(pages.url("/form"))
    assert client.title == "Form"
    client.command_executor.close()  # type: ignore[union-attr]
    for address in ("me:wrong@localhost", "localhost"):
        # Selenium's message for every 401.
        with pytest.raises(WebDriverException, match="Authorization Required"):
            WebDriver(f"http://{address}:{token_service.port}/wd/hub", options=chrome_options())
    only_session(token_service)


def test_sockets_accept_the_token_in_a_header_and_in_the_url(token_service: Service) -> None:
    address = f"ws://localhost:{token_service.port}/sessions/target/cdp"
    for url, headers in ((f"{address}?token={TOKEN}", {}), (address, BEARER)):
        with connect(url, additional_headers=headers, proxy=None) as opened:
            opened.send(json.dumps({"id": 1, "method": "Browser.getVersion"}))
            assert "Chrome" in opened.recv(timeout=20)


def test_playwright_can_pass_the_token_to_both_urls(token_service: Service) -> None:
    http, socket_url = (
        f"http://localhost:{token_service.port}/sessions/target",
        only_session(token_service)["cdp_url"],
    )
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


def test_no_answer_and_no_log_contains_a_secret(token_service: Service) -> None:
    request = {"capabilities": {"alwaysMatch": {"webSocketUrl": True}}}
    made = token_service.post("/wd/hub/session", json=request, headers=BEARER).json()["value"]
    bidi = made["capabilities"]["webSocketUrl"].rsplit("/", 1)[1]
    forwarded = made["capabilities"]["se:forwardCdp"].rsplit("/", 1)[1]
    assert min(len(bidi), len(forwarded)) >= 32
    lease = expect(token_service.post("/sessions/target/lease", json={"ttl": 60}, headers=BEARER))["lease"][
        "token"
    ]
    body = "".join(
        token_service.get(path, headers=BEARER).text
        for path in ("/sessions", "/sessions/target", "/processes", "/openapi.json", "/metrics", "/health")
    )
    children = psutil.Process(token_service.process.pid).children(recursive=True)
    shown = body + "".join(token_service.logs()) + "".join(command_line(child) for child in children)
    shown += command_line(psutil.Process(token_service.process.pid))
    assert children
    for secret in (TOKEN, bidi, forwarded, lease):
        assert secret not in shown
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            environment = child.environ()
            assert TOKEN not in str(environment)
            assert not [name for name in environment if name.startswith("DROVER_")]
    expect(token_service.delete("/sessions/target/lease", headers={**BEARER, "Lease-Token": lease}))
    token_service.delete(f"/wd/hub/session/{made['sessionId']}", headers=BEARER)


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [
        ("/sessions", "localhost", 413),
        ("/wd/hub/session", "localhost", 413),
        ("/wd/hub/session/target/url", "localhost", 413),
        ("/wd/hub/session/target/url", "evil.example", 403),
        ("/wd/hub/status", "localhost", 405),
    ],
)
def test_an_endless_body_is_cut_off_and_not_buffered(
    open_service: Service, path: str, name: str, status: int
) -> None:
    most = 100 * MEGABYTE
    sent, answer = endless(open_service, path, name, most)
    assert sent < most
    assert answer == b"" or answer.startswith(b"HTTP/1.1 %d" % status)
    only_session(open_service)


def endless(service: Service, path: str, name: str, most: int) -> tuple[int, bytes]:
    """Send a body in chunks until the service refuses it; return the bytes it accepted, and its answer.

    The answer is lost if the end of the connection overtakes it.
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


def test_an_endless_header_is_refused_and_not_buffered(open_service: Service) -> None:
    # The buffers of both sockets may hold ten megabytes before anything is read.
    most = 64 * MEGABYTE
    for path in ("/sessions", "/wd/hub/status", "/sessions/target/cdp"):
        with socket.create_connection(("127.0.0.1", open_service.port), 30) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Long: ".encode())
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < most:
                    client.sendall(b"x" * MEGABYTE)
                    sent += MEGABYTE
            assert sent < most
    only_session(open_service)


def test_clients_that_never_finish_do_not_block_others(open_service: Service) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(100):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", open_service.port), 30))
            client.sendall(b"POST /sessions HTTP/1.1\r\nHost: localhost\r\n")
            if number % 2:
                client.sendall(b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        only_session(open_service)
        with attached(open_service, "target") as driver:
            assert driver.current_url


def test_all_our_processes_listen_on_loopback_only(open_service: Service) -> None:
    listening = [
        (pid, connection.laddr)
        for pid in pids_of(only_session(open_service))
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2
    assert {address.ip for _, address in listening} <= {"127.0.0.1", "::1"}


def test_chromedriver_and_the_debugging_port_refuse_foreign_origins(open_service: Service) -> None:
    session = only_session(open_service)
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
    for origin in (EVIL, "null", f"http://localhost:{open_service.port}"):
        answer = requests.get(
            socket_url.replace("ws://", "http://"), headers={**UPGRADE, "Origin": origin}, timeout=20
        )
        assert answer.status_code == 403, origin


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
def test_a_form_that_leads_away_from_a_page_is_refused(
    open_service: Service, pages: Pages, name: str
) -> None:
    before = only_session(open_service)
    with attached(open_service, "target") as driver:
        for target in ("/sessions", "/wd/hub/session", "/emergency_recovery", "/sessions/target/lease"):
            for kind in ("text/plain", "application/x-www-form-urlencoded"):
                driver.get(pages.url())
                driver.execute_script(FORM, f"http://{name}:{open_service.port}{target}", kind)
                page = wait_for_refusal(driver)
                assert "forbidden_origin" in page, page
    after = only_session(open_service)
    assert (after["browser"], after["driver"], after["lease"]) == (before["browser"], before["driver"], None)


def wait_for_refusal(driver: WebDriver) -> str:
    """Return the text of the page that a form has led to."""
    driver.implicitly_wait(20)
    return driver.find_element("xpath", "//body[contains(., 'success') or contains(., 'value')]").text


def test_a_page_of_a_rebound_name_reaches_nothing(open_service: Service) -> None:
    rules = {"goog:chromeOptions": {"args": ["--host-resolver-rules=MAP evil.example 127.0.0.1"]}}
    session = open_service.create(session_id="rebound", capabilities=rules)
    client = Driver(session)
    for path in ("/sessions", "/wd/hub/status", "/docs", "/sessions/target/json/version"):
        client.open(f"http://evil.example:{open_service.port}{path}")
        assert "forbidden_host" in client.run("return document.body.innerText"), path
    reached: Any = client.run(
        "return fetch('/sessions/target', {method: 'DELETE'}).then((answer) => answer.status)"
    )
    assert reached == 403
    expect(open_service.delete("/sessions/rebound"))
    only_session(open_service)


def test_a_chromedriver_answers_below_its_secret_path_only(open_service: Service) -> None:
    driver = only_session(open_service)["driver"]["url"]
    address = urlsplit(driver)
    for path in ("/shutdown", "/status", "/session", f"{address.path}x/status"):
        answer = requests.get(f"http://127.0.0.1:{address.port}{path}", timeout=10)
        assert 400 <= answer.status_code < 500, path
    assert requests.get(f"{driver}/status", timeout=10).status_code == 200
    assert not any(address.path.strip("/") in line for line in open_service.logs())
