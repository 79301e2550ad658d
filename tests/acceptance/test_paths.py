"""Every part of the service reads the path of a request in the same way."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final

import pytest

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Pages
from tests.acceptance.service import Service

CLOSE: Final = {"cmd": "Browser.close", "params": {}}
VERSION: Final = {"cmd": "Browser.getVersion", "params": {}}
HUB: Final = "/wd/hub/session"


def send(service: Service, method: str, target: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Send a request with exactly this target; return the status and the JSON of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, target, content, {"Content-Type": "application/json"} | headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (f"{HUB}/target/goog%2fcdp/execute", "unknown command"),
        (f"{HUB}/target/goog%2Fcdp%2Fexecute", "unknown command"),
        (f"{HUB}/target%2fgoog/cdp/execute", "invalid session id"),
        (f"{HUB}/target%2Fx/goog/cdp/execute", "invalid session id"),
        (f"{HUB}%2Ftarget/goog/cdp/execute", "unknown command"),
        (f"{HUB}/target//goog/cdp/execute", "unknown command"),
        (f"{HUB}//target/goog/cdp/execute", "unknown command"),
        (f"{HUB}/target/./goog/cdp/execute", "unknown command"),
        (f"{HUB}/other/../target/goog/cdp/execute", "unknown command"),
        (f"{HUB}/other/%2e%2E/target/goog/cdp/execute", "unknown command"),
        (f"{HUB}/target/goog/cdp/execute?x=1", "unknown command"),
        (f"{HUB}/target/goog\\cdp/execute", "unknown command"),
        (f"{HUB}/target/goog%5Ccdp/execute", "unknown command"),
        (f"{HUB}/target/goog/cdp/execute%00", "unknown command"),
    ],
)
def test_what_is_no_command_closes_no_browser(service: Service, target: str, error: str) -> None:
    before = service.create(session_id="target")["browser"]
    status, body = send(service, "POST", target, CLOSE)
    assert (status, body["value"]["error"]) == (404, error), body
    assert service.listed()["target"]["browser"] == before


@pytest.mark.parametrize("target", [f"{HUB}/target/%zz", f"{HUB}/target/url%", f"{HUB}/%ff/url"])
def test_a_path_that_is_not_escaped_properly_is_an_invalid_argument(service: Service, target: str) -> None:
    status, body = send(service, "GET", target)
    assert (status, body["value"]["error"]) == (400, "invalid argument")


def test_other_spellings_of_a_command_are_the_command(service: Service) -> None:
    service.create(session_id="target")
    status, body = send(service, "POST", f"{HUB}/%74arget/%67oog/cdp/execute/", VERSION)
    assert (status, "Chrome" in body["value"]["product"]) == (200, True)
    status, body = send(service, "POST", f"{HUB}/target/%67oog/cdp/execute", CLOSE)
    assert (status, body) == (200, {"value": {}})
    assert service.listed() == {}


def test_names_with_escaped_characters_reach_chromedriver(service: Service, pages: Pages) -> None:
    client = Driver(service.create(session_id="target"))
    client.open(pages.url("/form"))
    client.run("document.cookie = 'a+b=1'; document.cookie = 'a b/c=2'; window.name = ''")
    for name, value in (("a%2Bb", "1"), ("a%2bb", "1"), ("a%20b%2Fc", "2"), ("%61%20b%2Fc", "2")):
        status, body = send(service, "GET", f"{HUB}/target/cookie/{name}")
        assert (status, body["value"].get("value")) == (200, value), (name, body)


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "//sessions", 404, "not_found"),
        ("GET", "/sessions//", 404, "not_found"),
        ("DELETE", "/sessions/other/../target", 404, "not_found"),
        ("DELETE", "/sessions/other/%2e%2e/target", 404, "not_found"),
        ("DELETE", "/sessions%2Ftarget", 404, "not_found"),
        ("DELETE", "/sessions/target%2flease", 404, "session_not_found"),
        ("GET", "/sessions/target\\lease", 404, "not_found"),
        ("GET", "/sessions/%zz", 400, "invalid_request"),
        ("GET", "/sessions/%ff", 400, "invalid_request"),
        ("OPTIONS", "*", 400, "invalid_request"),
        ("GET", "/static/..%2f..%2f..%2fapp.py", 404, "not_found"),
        ("GET", "/static/%2e%2e/%2e%2e/app.py", 404, "not_found"),
    ],
)
def test_what_is_no_route_changes_nothing(
    service: Service, method: str, target: str, status: int, code: str
) -> None:
    service.create(session_id="target")
    answered, body = send(service, method, target)
    assert (answered, body["code"], bool(body["error"])) == (status, code, True)
    assert "target" in service.listed()


def test_other_spellings_of_a_route_are_the_route(service: Service) -> None:
    service.create(session_id="target")
    assert send(service, "GET", "/%73essions/%74arget/")[1]["session_id"] == "target"
    assert send(service, "DELETE", "/sessions/targe%74")[0] == 200
    assert service.listed() == {}


def test_a_target_in_absolute_form_is_read_as_its_path_and_its_host(service: Service) -> None:
    address = f"http://localhost:{service.port}"
    assert send(service, "GET", f"{address}/health")[1]["status"] == "healthy"
    assert send(service, "GET", f"{address}/wd/hub/status")[1]["value"]["ready"] is True
    status, body = send(service, "GET", f"{address}/sessions", Host="evil.example")
    assert (status, body["success"]) == (200, True)
    status, body = send(service, "GET", "http://evil.example/sessions")
    assert (status, body["code"]) == (403, "forbidden_host")


def test_no_spelling_of_a_path_needs_no_token(start_service: StartService) -> None:
    service = start_service(api_token="t0ken-of-the-tests")
    for target in ("/health", "/%68ealth", "/health/", f"http://localhost:{service.port}/health"):
        assert send(service, "GET", target)[0] == 200, target
    for target in (
        "/health%2F",
        "/health/../sessions",
        "/health%2f..%2fsessions",
        "//health",
        "/sessions%3f/health",
        "/health%00",
        "/health;/sessions",
        "/wd/hub/../../health",
        "/%zz",
    ):
        assert send(service, "GET", target)[0] == 401, target
