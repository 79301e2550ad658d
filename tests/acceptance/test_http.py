"""HTTP behaviour: access, refusals and their wording."""

import base64
import shutil
import subprocess
from typing import Final

import psutil
import pytest
import requests

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.service import Service, expect, expect_error

CLEANUP: Final = "/cleanup_orphaned_processes?dry_run=true"
TOKEN: Final = "t0ken-of-the-tests"
ENDPOINTS: Final = [
    ("GET", "/health"),
    ("GET", "/sessions"),
    ("GET", "/processes"),
    ("POST", CLEANUP),
    ("GET", "/no"),
]


@pytest.mark.parametrize("path", ["/nothing", "/sessions/a/b/c", "/sessions/a/screenshot/b", "/wp-login.php"])
def test_an_unknown_path_is_not_found_in_json(service: Service, path: str) -> None:
    expect_error(service.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/cleanup_orphaned_processes"),
        ("GET", "/emergency_recovery"),
        ("PUT", "/sessions"),
        ("DELETE", "/sessions"),
        ("POST", "/sessions/a"),
        ("PATCH", "/sessions/a"),
        ("POST", "/health"),
        ("DELETE", "/processes"),
        ("POST", "/sessions/a/screenshot"),
    ],
)
def test_a_wrong_method_is_named(service: Service, method: str, path: str) -> None:
    response = service.request(method, path)
    expect_error(response, 405, "method_not_allowed")
    assert response.headers["Allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"not json",
        b"[]",
        b'"text"',
        b"null",
        b"17",
        b'{"key": NaN}',
        b'{"idle_timeout": NaN}',
        b'{"idle_timeout": 1e999}',
        b"\xff\xfe",
        b'{"key": "\xff"}',
        b'{"key": "\\ud800"}',
        b"[" * 50_000,
        b'{"key": {"a":' * 5_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_malformed_body_is_refused(service: Service, body: bytes) -> None:
    response = service.post("/sessions", data=body, headers={"Content-Type": "application/json"})
    expect_error(response, 400, "invalid_request")
    assert service.listed() == {}


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"]
)
@pytest.mark.parametrize("path", ["/sessions", CLEANUP])
def test_a_body_not_declared_as_json_is_refused_with_the_header_to_send(
    service: Service, content_type: str, path: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    sentence = expect_error(service.post(path, data=b"{}", headers=headers), 415, "unsupported_media_type")
    assert "curl" in sentence
    assert "application/json" in sentence


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"]
)
def test_json_is_accepted_with_and_without_a_charset(service: Service, content_type: str) -> None:
    response = service.post("/sessions", data=b'{"nonsense": 1}', headers={"Content-Type": content_type})
    expect_error(response, 400, "invalid_request")


def test_no_body_needs_no_type(service: Service) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "0"}
    expect(service.post(CLEANUP, headers=headers))
    expect(service.post(CLEANUP))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(service: Service, chunked: bool) -> None:
    body = b'{"key": "' + b"k" * 8_000_000 + b'"}'
    data = iter([body]) if chunked else body
    response = service.post("/sessions", data=data, headers={"Content-Type": "application/json"})
    expect_error(response, 413, "request_too_large")


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:5010", "127.0.0.1.evil.example", "10.0.0.1"])
def test_a_foreign_host_is_refused(service: Service, method: str, path: str, host: str) -> None:
    expect_error(service.request(method, path, headers={"Host": host}), 403, "forbidden_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
def test_our_own_host_names_are_accepted(service: Service, host: str) -> None:
    expect(service.get("/sessions", headers={"Host": f"{host}:{service.port}"}))


def test_an_allowed_host_name_is_accepted(start_service: StartService) -> None:
    service = start_service(allowed_hosts="drover.internal,other.internal")
    expect(service.get("/sessions", headers={"Host": f"drover.internal:{service.port}"}))
    expect_error(service.get("/sessions", headers={"Host": "evil.internal"}), 403, "forbidden_host")


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "chrome-extension://abcdefghijklmnop"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_a_foreign_origin_is_refused(
    service: Service, method: str, path: str, headers: dict[str, str]
) -> None:
    expect_error(service.request(method, path, headers=headers), 403, "forbidden_origin")


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_origins_are_accepted(service: Service, site: str) -> None:
    origin = f"http://127.0.0.1:{service.port}"
    expect(service.get("/sessions", headers={"Origin": origin, "Sec-Fetch-Site": site}))


def test_a_page_in_one_of_our_browsers_cannot_reach_us(service: Service) -> None:
    client = Driver(service.create(session_id="target"))
    script = (
        "return fetch(arguments[0], {method: 'DELETE', mode: 'no-cors'}).then(r => r.type, e => 'failed')"
    )
    client.run(script, f"{service.url}/sessions/target")
    client.run(
        "return fetch(arguments[0], {method: 'POST', mode: 'no-cors'}).then(r => r.type, e => 'failed')",
        f"{service.url}/sessions",
    )
    assert service.listed().keys() == {"target"}


def test_a_token_is_required_everywhere_except_health(start_service: StartService) -> None:
    service = start_service(api_token=TOKEN)
    wrong = base64.b64encode(b"me:wrong").decode()
    for method, path in [
        ("GET", "/sessions"),
        ("POST", "/sessions"),
        ("POST", CLEANUP),
        ("GET", "/processes"),
    ]:
        for headers in [
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {wrong}"},
            {"Authorization": "Bearer"},
            {"Authorization": "Basic %%%"},
            {"Authorization": TOKEN},
        ]:
            response = service.request(method, path, headers=headers)
            expect_error(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"]
    assert service.get(f"/sessions?token={TOKEN}").status_code == 401
    assert service.get("/health").status_code == 200


def test_a_token_works_as_bearer_and_as_password_and_stays_secret(start_service: StartService) -> None:
    service = start_service(api_token=TOKEN)
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    for credentials in (f"Bearer {TOKEN}", f"Basic {basic}", f"bearer {TOKEN}"):
        expect(service.get("/sessions", headers={"Authorization": credentials}))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    session = expect(service.post("/sessions", headers=headers), 201)["session"]
    for pid in (session["driver"]["pid"], session["browser"]["pid"]):
        process = psutil.Process(pid)
        assert TOKEN not in str(process.environ())
        assert TOKEN not in str(process.cmdline())
    assert TOKEN not in str(service.logs())
    assert service.get("/no", headers=headers).status_code == 404


def test_curl_needs_nothing_special(service: Service) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("this machine has no curl")
    command = [curl, "-s", "-X", "POST", f"http://localhost:{service.port}{CLEANUP}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert '"success"' in done.stdout


def test_no_answer_is_html_or_a_stack_trace(service: Service) -> None:
    for path in (
        "/sessions/%00",
        "/sessions/%ff",
        "/..%2f..%2fetc/passwd",
        "/sessions?x=%zz",
        "/processes?a[]=1",
    ):
        response = service.get(path)
        assert response.headers["Content-Type"].startswith("application/json")
        assert response.status_code < requests.codes.server_error
    assert not [line for line in service.logs() if "Traceback" in line]
