"""A drain with real browsers: sessions go on, new ones are refused, and the service stops by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.service import APP, Service, assert_nothing_left, expect, expect_error, variables
from tests.machine import PATIENCE, wait_until

EXIT_S = 30.0 * PATIENCE


def expect_no_new_session(service: Service) -> None:
    """Check that new sessions are refused, and that readiness says so while the service is healthy."""
    expect_error(service.post("/sessions", json={}), 503, "shutting_down")
    refused = service.post("/wd/hub/session", json={"capabilities": {}})
    assert (refused.status_code, refused.json()["value"]["error"]) == (500, "session not created")
    readiness = expect(service.get("/ready"), 503)
    assert (readiness["status"], readiness["code"]) == ("draining", "shutting_down")
    assert service.get("/wd/hub/status").json()["value"]["ready"] is False
    expect(service.get("/health"))


def test_a_session_goes_on_in_a_drain_and_its_end_stops_the_service(start_service: StartService) -> None:
    service = start_service(drain_timeout=600)
    session = service.create(session_id="busy")
    assert expect(service.get("/ready"))["status"] == "ready"
    begun = expect(service.post("/drain"))
    assert (begun["status"], begun["active_sessions"]) == ("draining", 1)
    assert 0 < begun["remaining_s"] <= 600
    expect_no_new_session(service)
    kill(session["driver"]["pid"])
    assert expect(service.post("/sessions", json={"session_id": "busy"}))["recovered"] is True
    assert expect(service.post("/drain"))["remaining_s"] <= begun["remaining_s"]
    expect(service.delete("/sessions/busy"))
    assert service.wait_for_exit(EXIT_S) == 0
    assert_nothing_left(service)


@pytest.mark.exhaustive
def test_a_drain_ends_with_its_time(start_service: StartService) -> None:
    service = start_service(drain_timeout=6)
    driver = Driver(service.create())
    expect(service.post("/drain"))
    driver.open("about:blank")
    assert service.wait_for_exit(EXIT_S) == 0
    assert_nothing_left(service)
    service.expect_log(
        [r"INFO: Draining: no new sessions.*", r"INFO: Drained, 1 sessions left", r"INFO: Stopped"]
    )


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_sigterm_drains_if_the_timeout_is_set_and_the_next_one_stops(start_service: StartService) -> None:
    service = start_service(drain_timeout=600)
    service.create(session_id="busy")
    service.send(signal.SIGTERM)
    service.wait_for_log("Draining: no new sessions")
    expect_no_new_session(service)
    expect(service.get("/sessions/busy"))
    service.send(signal.SIGTERM)
    assert service.wait_for_exit(EXIT_S) == 0
    assert_nothing_left(service)
    assert any("Stopping (SIGTERM)" in line for line in service.logs())


@pytest.mark.exhaustive
def test_the_command_waits_until_the_service_has_stopped(start_service: StartService, tmp_path: Path) -> None:
    service = start_service(drain_timeout=600)
    service.create(session_id="busy")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DROVER_")}
    with subprocess.Popen(
        [sys.executable, str(APP), "drain"],
        cwd=tmp_path,
        env=clean | variables(**service.settings),
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        wait_until(lambda: service.get("/ready").status_code == 503, "the command has begun the drain")
        assert command.poll() is None
        expect(service.delete("/sessions/busy"))
        told, _ = command.communicate(timeout=EXIT_S)
    assert command.returncode == 0
    assert "1 sessions go on" in told
    assert told.endswith("The service has stopped.\n")
    assert service.wait_for_exit() == 0
