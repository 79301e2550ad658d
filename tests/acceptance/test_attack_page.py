"""A hostile page in one of our browsers attacks Drover, the ChromeDrivers and the DevTools ports."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import requests

from tests.acceptance.clients import attached
from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service, running

PAGE_S: Final = 240
ATTEMPTS: Final = 800
FOREIGN: Final = "evil.example"
SESSION: Final = "/sessions/victim"
COMMAND: Final = "/wd/hub/session/victim"
READS: Final = (
    "/",
    "/docs",
    "/events",
    "/health",
    "/metrics",
    "/openapi.json",
    "/processes",
    "/sessions",
    SESSION,
    f"{SESSION}/screenshot",
    f"{SESSION}/live",
    f"{SESSION}/cdp",
    f"{SESSION}/json/version",
    f"{SESSION}/json/list",
    f"{SESSION}/json/close/TARGET",
    f"{SESSION}/devtools/page/TARGET",
    "/devtools/browser/GUID",
    "/devtools/page/TARGET",
    "/bidi/x",
    "/cdp/x",
    "/ready",
    "/wd/hub/status",
    "/wd/hub/sessions",
    f"{COMMAND}/url",
    f"{COMMAND}/cookie",
)
CHANGES: Final[tuple[tuple[str, str, object], ...]] = (
    ("POST", "/sessions", {}),
    ("POST", f"{SESSION}/lease", {"ttl": 600}),
    ("DELETE", SESSION, None),
    ("PUT", f"{SESSION}/json/new?about:blank", None),
    ("POST", f"{SESSION}/json/close/TARGET", None),
    ("POST", "/cleanup_orphaned_processes", {}),
    ("POST", "/drain", {}),
    ("POST", "/wd/hub/session", {"capabilities": {}}),
    ("POST", f"{COMMAND}/execute/sync", {"script": "name = 'taken'", "args": []}),
    ("POST", f"{COMMAND}/url", {"url": "about:blank"}),
    ("POST", f"{COMMAND}/goog/cdp/execute", {"cmd": "Browser.close", "params": {}}),
    ("DELETE", COMMAND, None),
)
CHROMEDRIVER: Final = ("/shutdown", "/status", "/sessions", "/session", "/session/ID/url", "/session/ID")
DEVTOOLS: Final = (
    "/json/version",
    "/json/list",
    "/json/protocol",
    "/json/new?about:blank",
    "/devtools/browser/GUID",
    "/devtools/page/TARGET",
)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Run a service without a token: then nothing but its own checks stands between a page and it."""
    with running() as service:
        yield service


def answer_of(address: str, path: str) -> Any:  # noqa: ANN401
    """Return Chrome's answer to a local program."""
    with requests.Session() as client:
        client.trust_env = False
        return client.get(f"http://{address}{path}", timeout=30).json()


def state(service: Service) -> dict[str, Json]:
    """Return everything of the sessions that an attack could change."""
    found = {}
    for name, session in service.listed().items():
        targets = answer_of(session["browser"]["debugger_address"], "/json/list")
        found[name] = {
            "browser": session["browser"],
            "driver": session["driver"],
            "lease": session["lease"],
            "pages": sorted((one["id"], one["url"]) for one in targets if one["type"] == "page"),
            "name": Driver(session).run("return name"),
        }
    return found


def requests_to(service: Service, host: str, program: Path) -> list[Json]:
    """Return the requests of the page: to Drover, and to ChromeDriver and Chrome of all sessions."""
    sessions = service.listed()
    debugger = sessions["victim"]["browser"]["debugger_address"]
    guid = answer_of(debugger, "/json/version")["webSocketDebuggerUrl"].rsplit("/", 1)[1]
    target = next(one["id"] for one in answer_of(debugger, "/json/list") if one["type"] == "page")

    def request(method: str, base: str, path: str, body: object = None) -> Json:
        url = base + path.replace("TARGET", target).replace("GUID", guid)
        return {"method": method, "url": url} | ({} if body is None else {"body": json.dumps(body)})

    drover = f"http://{host}:{service.port}"
    found = [request("GET", drover, path) for path in READS]
    found += [request(method, drover, path, body) for method, path, body in CHANGES]
    runs_program = {"alwaysMatch": {"goog:chromeOptions": {"binary": str(program)}}}
    for session in sessions.values():
        driver = f"http://{host}:{urlsplit(session['driver']['url']).port}"
        chromedriver_id = session["driver"]["session_id"]
        found += [request("GET", driver, path.replace("ID", chromedriver_id)) for path in CHROMEDRIVER]
        found.append(request("POST", driver, "/session", {"capabilities": runs_program}))
        found.append(request("DELETE", driver, f"/session/{chromedriver_id}"))
        chrome = f"http://{host}:{session['browser']['debugger_address'].rsplit(':', 1)[1]}"
        found += [request("GET", chrome, path) for path in DEVTOOLS]
        found.append(request("PUT", chrome, "/json/new?about:blank"))
    return found


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a program that leaves a file `ran` beside it."""
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def attacked(service: Service, pages: Pages, program: Path, host: str, origin: str) -> list[list[Any]]:
    """Let a page of `origin` attack all ports at `host`; return what it has learned.

    What a page may not read may still show that there is something: Chrome does not hide that of its port.
    """
    service.close_all()
    foreign = {"goog:chromeOptions": {"args": [f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"]}}
    service.create(session_id="attacker", capabilities=foreign)
    service.create(session_id="victim", url=pages.url("/red"))
    with attached(service, "attacker") as driver:
        driver.set_script_timeout(PAGE_S)
        driver.get(pages.url("/attack").replace("127.0.0.1", origin))
        before = state(service)
        script = "attack(arguments[0]).then(arguments[1])"
        attempts = driver.execute_async_script(script, requests_to(service, host, program))
    assert len(attempts) > ATTEMPTS
    assert state(service) == before
    assert not (program.parent / "ran").exists()
    assert service.get("/health").json()["status"] == "healthy"
    assert not [line for line in service.logs() if "Traceback" in line]
    chromes = tuple(f":{one['browser']['debugger_address'].rsplit(':', 1)[1]}/" for one in before.values())
    return [
        [way, urlsplit(url).path, learned]
        for way, _, url, learned in attempts
        if learned and not (learned == "loaded" and any(port in url for port in chromes))
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_hostile_page_learns_nothing_and_changes_nothing(
    service: Service, pages: Pages, program: Path, host: str
) -> None:
    assert attacked(service, pages, program, host, FOREIGN) == []


@pytest.mark.exhaustive
def test_a_page_of_a_local_server_reaches_only_the_socket_of_chromedriver(
    service: Service, pages: Pages, program: Path
) -> None:
    # ChromeDriver takes every origin on this machine for its own, and has no switch against that:
    # docs/security.md says so.
    socket = ["socket", "/session", "opened"]
    assert attacked(service, pages, program, "127.0.0.1", "127.0.0.1") == [socket, socket]
