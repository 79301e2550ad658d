"""A start succeeds on both loopback addresses, or reports in one line why it failed."""

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
import requests

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.service import APP, STAMP, Service, expect, expect_error, pids_of, refused_start
from tests.integration.fake_chromedriver import START_ERROR, Fault, install
from tests.machine import has_ipv6_loopback, living, wait_until

SETTINGS = [
    "HOST",
    "PORT",
    "DATA_DIR",
    "MAX_SESSIONS",
    "QUEUE_TIMEOUT",
    "IDLE_TIMEOUT",
    "HEALTH_TIMEOUT",
    "ADOPT_GRACE",
    "CLEANUP_SCOPE",
    "CLEANUP_INTERVAL",
    "HEADLESS",
    "CHROME_BINARY",
    "CHROMEDRIVER",
    "CHROME_ARGS",
    "API_TOKEN",
    "ALLOWED_HOSTS",
    "ALLOW_UNSAFE_CAPABILITIES",
    "LOG_FORMAT",
    "LOG_LEVEL",
]


WRONG_SETTING, IN_THE_WAY = 2, 75


def config_error(folder: Path, **settings: object) -> str:
    """Start a service whose settings prevent the start; return the one line of output."""
    return refusal(folder, WRONG_SETTING, settings)


def temporary_error(folder: Path, **settings: object) -> str:
    """Start a service that temporarily cannot start; return the one line of output."""
    return refusal(folder, IN_THE_WAY, settings)


def refusal(folder: Path, expected: int, settings: Mapping[str, object]) -> str:
    """Return the one line of output of a start that ends with this exit code."""
    code, lines = refused_start(folder, **settings)
    assert code == expected
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_it_answers_on_both_loopback_addresses(service: Service, host: str) -> None:
    if host == "[::1]" and not has_ipv6_loopback():
        pytest.skip("this machine has no ::1")
    with requests.Session() as client:
        client.trust_env = False
        expect(client.get(f"http://{host}:{service.port}/sessions", timeout=5))


def test_it_listens_on_loopback_only(service: Service) -> None:
    own = [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    for address in [address for address in own if not str(address).startswith("127.")]:
        with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
            socket.create_connection((str(address), service.port), timeout=2)


def test_a_second_instance_on_the_same_folder_is_refused(service: Service, folder: Path) -> None:
    session = service.create()
    line = temporary_error(folder, data_dir=service.data_dir)
    assert str(service.data_dir) in line
    assert service.listed().keys() == {session["session_id"]}
    assert living([session["driver"]["pid"], session["browser"]["pid"]])


def test_a_taken_port_is_named(service: Service, folder: Path) -> None:
    assert str(service.port) in temporary_error(folder, port=service.port)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("port", "70000", "65535"),
        *(
            pytest.param(*more, marks=pytest.mark.exhaustive)
            for more in (
                ("port", "http", "integer"),
                ("max_sessions", "0", "1"),
                ("max_sessions", "many", "integer"),
                ("idle_timeout", "-5", "0"),
                ("health_timeout", "0", "0"),
                ("queue_timeout", "soon", "number"),
                ("cleanup_scope", "galaxy", "owned"),
                ("headless", "perhaps", "bool"),
                ("log_format", "xml", "json"),
                ("log_level", "shouting", "warning"),
            )
        ),
    ],
)
def test_an_invalid_setting_is_named_with_its_value_and_allowed_values(
    folder: Path, name: str, value: str, allowed: str
) -> None:
    line = config_error(folder, **{name: value})
    assert f"DROVER_{name.upper()}" in line
    assert value in line
    assert allowed in line


def test_a_public_address_requires_a_token(folder: Path) -> None:
    assert "DROVER_API_TOKEN" in config_error(folder, host="0.0.0.0")  # noqa: S104
    assert "DROVER_API_TOKEN" in config_error(folder, host="::")


def test_a_public_address_with_a_token_is_served(start_service: StartService) -> None:
    service = start_service(host="0.0.0.0", api_token="s3cret-token")  # noqa: S104
    expect(service.get("/sessions", headers={"Authorization": "Bearer s3cret-token"}))


def test_a_missing_address_is_a_temporary_failure(folder: Path) -> None:
    line = temporary_error(folder, host="192.0.2.1", api_token="s3cret-token")
    assert "DROVER_HOST is 192.0.2.1" in line


def test_a_folder_path_too_long_for_sockets_is_refused(folder: Path) -> None:
    line = config_error(folder, data_dir=folder / ("x" * 80))
    assert "DROVER_DATA_DIR" in line


def test_a_data_folder_that_is_a_file_is_refused(folder: Path) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    assert "DROVER_DATA_DIR" in config_error(folder, data_dir=folder / "file")


def test_a_missing_program_is_reported(folder: Path) -> None:
    assert "DROVER_CHROMEDRIVER" in config_error(folder, chromedriver=folder / "nothing")


def test_settings_can_be_read_from_a_file(start_service: StartService) -> None:
    service = start_service()
    assert service.stop() == 0
    (service.folder / ".env").write_text("DROVER_MAX_SESSIONS=3\n", encoding="utf-8")
    service.start()
    assert service.get("/health").json()["max_sessions"] == 3


def test_help_lists_every_setting() -> None:
    done = subprocess.run(
        [sys.executable, str(APP), "--help"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0
    assert [name for name in SETTINGS if f"DROVER_{name}" not in done.stdout] == []


def is_accounted_for(service: Service) -> bool:
    """Return whether every process and folder belongs to a listed session."""
    listed = service.listed().values()
    with contextlib.suppress(psutil.NoSuchProcess):
        owned = {pid for session in listed for pid in pids_of(session)}
        return {p.pid for p in service.processes()} <= owned and len(service.session_folders()) == len(listed)
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("stuck", [False, True], ids=["living", "stopped"])
def test_leftovers_of_a_killed_service_get_an_owner_or_end(start_service: StartService, stuck: bool) -> None:
    service = start_service()
    sessions = [service.create(key="old"), service.create()]
    left = {process.pid for process in service.processes()}
    if stuck:
        psutil.Process(sessions[0]["browser"]["pid"]).suspend()
    service.kill()
    assert {session["browser"]["pid"] for session in sessions} <= living(left)
    service.start()
    for session_id in service.listed():
        expect(service.get(f"/sessions/{session_id}"))
    wait_until(lambda: is_accounted_for(service), "everything left has an owner or is gone")
    answer = service.post("/sessions", json={"key": "old"})
    assert Driver(expect(answer, answer.status_code)["session"]).run("return 6 * 7") == 42


def test_health_reports_the_state_of_the_service(service: Service) -> None:
    service.create(key="k")
    answer = service.get("/health").json()
    assert (answer["status"], answer["max_sessions"]) == ("healthy", 10)
    assert (answer["active_sessions"], answer["session_capacity"]) == (1, "1/10")
    assert answer["persistent_sessions"] == 1
    assert answer["uptime_s"] > 0
    assert STAMP.fullmatch(answer["timestamp"])
    assert answer["service"]
    assert answer["version"]


def test_health_reports_when_and_why_no_browser_can_start(start_service: StartService, folder: Path) -> None:
    service = start_service(chromedriver=install(folder))
    (folder / "control").write_text(Fault.REFUSES_TO_START.value, encoding="utf-8")
    expect_error(service.post("/sessions"), 503, "browser_unavailable")
    answer = service.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert START_ERROR in answer.json()["reason"]
    (folder / "control").unlink()
    expect(service.post("/sessions"), 201)
    assert service.get("/health").json()["status"] == "healthy"


def program(path: Path, script: str) -> Path:
    """Create a program from a script."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="the programs are scripts")
def test_mismatched_programs_are_reported_at_the_start_with_advice(
    start_service: StartService, folder: Path
) -> None:
    service = start_service(chromedriver=program(folder / "chromedriver", "echo ChromeDriver 120.0.6099.109"))
    service.wait_for_log(
        "ChromeDriver 120.0.6099.109, but their major versions must be equal. On Debian run "
    )


@pytest.mark.skipif(sys.platform == "win32", reason="the programs are scripts")
def test_a_program_without_a_version_makes_the_service_unhealthy(folder: Path) -> None:
    service = Service(folder, chromedriver=program(folder / "chromedriver", "exit 127"))
    try:
        service.launch()
        service.wait_for_log("is ready at")
        answer = service.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        assert f"`{folder / 'chromedriver'} --version` failed" in answer.json()["reason"]
        assert service.stop() == 0
    finally:
        service.reap()


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform != "linux", reason="snaps are Linux's")
def test_a_chromium_that_is_a_snap_is_refused(folder: Path) -> None:
    chromium = program(folder / "chromium", 'exec /snap/bin/chromium "$@"')
    line = config_error(folder, chrome_binary=chromium)
    for word in ("DROVER_CHROME_BINARY", str(chromium), "snap", "Google Chrome", "Selenium Manager"):
        assert word in line


def test_every_line_of_the_log_has_a_time_and_a_level(start_service: StartService) -> None:
    service = start_service()
    service.create()
    service.post("/cleanup_orphaned_processes")
    assert service.stop() == 0
    levels = ("DEBUG: ", "INFO: ", "WARNING: ", "ERROR: ")
    for line, message in zip(service.logs(), service.messages(), strict=True):
        assert STAMP.match(line), line
        assert message.startswith(levels), line


@pytest.mark.exhaustive
def test_at_level_debug_the_log_has_every_request_and_the_steps_of_starts_and_recoveries(
    start_service: StartService,
) -> None:
    service = start_service(log_level="debug", max_sessions=1)
    first = service.create(session_id="first")
    kill(first["driver"]["pid"])
    expect(service.get("/sessions/first", headers={"X-Request-ID": "look-1"}))
    service.wait_for_log("Session first: the browser lives after driver_gone")
    since = service.mark()
    answer = service.post("/sessions", json={"session_id": "second"}, headers={"X-Request-ID": "second-1"})
    assert answer.headers["X-Request-ID"] == "second-1"
    for text in (
        "Session first closed (evicted)",
        "Session second: ChromeDriver started (PID ",
        "Session second: Chrome started (PID ",
        "Session second created in ",
        "DEBUG: POST /sessions 201 in ",
    ):
        line = service.wait_for_log(text, since)
        assert re.search(r" \(request second-1 from 127\.0\.0\.1:\d+\)$", line), line
    assert service.get("/wd/hub/status").status_code == requests.codes.ok
    service.wait_for_log("DEBUG: GET /wd/hub/status 200 in ")
    missing = service.get("/nothing")
    assert f"(request {missing.headers['X-Request-ID']} from" in service.wait_for_log("GET /nothing 404 in ")
    expect(service.delete("/sessions/second", headers={"X-Request-ID": "end-1"}))
    assert "(request end-1 from" in service.wait_for_log("Session second closed (deleted)")


@pytest.mark.exhaustive
def test_the_log_can_be_json(start_service: StartService) -> None:
    service = start_service(log_format="json")
    session = service.create()
    service.post("/cleanup_orphaned_processes")
    assert service.stop() == 0
    entries = [json.loads(line) for line in service.logs()]
    assert all(STAMP.fullmatch(entry["time"]) for entry in entries)
    assert {entry["level"] for entry in entries} <= {"DEBUG", "INFO", "WARNING", "ERROR"}
    assert "🔧 Orphaned process cleanup triggered" in {entry["message"] for entry in entries}
    assert session["session_id"] in {entry.get("session_id") for entry in entries}
