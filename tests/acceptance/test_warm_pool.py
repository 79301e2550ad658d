"""Warm browsers: handed out in milliseconds, replenished, and never beyond the limit."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest

from drover.browser.capabilities.standard import DEFAULTS
from tests.acceptance.clients import new_session
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import browsers, drivers, kill, stop
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json, Service, expect, running
from tests.machine import run_concurrently, wait_gone, wait_until

WARM: Final = 2
PLACES: Final = 4
READY_S: Final = 30.0
SPECIAL: Final = {"goog:chromeOptions": {"args": ["--window-size=801,602"]}}


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that keeps two warm browsers."""
    with running(warm_sessions=WARM, max_sessions=PLACES, queue_timeout=5, health_timeout=1) as service:
        yield service


@pytest.fixture(autouse=True)
def _filled(service: Service) -> None:
    """Start with all warm browsers ready."""
    wait_until_warm(service)


def wait_until_warm(service: Service, number: int = WARM) -> None:
    """Wait until this many warm browsers are ready."""
    wait_until(lambda: warm_count(service) == number, f"{number} warm browsers", READY_S)


def warm_count(service: Service) -> int:
    """Return how many warm browsers are ready."""
    return int(service.get("/health").json()["warm"])


def timed(service: Service, **fields: object) -> tuple[float, Json]:
    """Create a session; return the seconds it took, and the session."""
    begun = time.monotonic()
    session = service.create(**fields)
    return time.monotonic() - begun, session


def test_warm_browsers_are_counted_but_not_listed_as_sessions(service: Service) -> None:
    answer = expect(service.get("/sessions"))
    assert (answer["active_sessions"], answer["sessions"]) == (0, [])
    health = service.get("/health").json()
    assert (health["active_sessions"], health["warm"]) == (0, WARM)
    assert len(drivers(service)) == WARM


def test_warm_browsers_are_protected(service: Service) -> None:
    pids = {process.pid for process in service.processes()}
    verdicts = {one["pid"]: one["verdict"] for one in expect(service.get("/processes"))["processes"]}
    assert {verdicts[pid] for pid in drivers(service) | browsers(service)} == {"protected"}
    expect(service.post("/cleanup_orphaned_processes"))
    assert pids <= {process.pid for process in service.processes()}


def test_a_warm_browser_is_handed_out_fast_and_replaced(service: Service, pages: Pages) -> None:
    stood_ready = browsers(service)
    quick, session = timed(service, session_id="quick")
    assert session["browser"]["pid"] in stood_ready
    assert (session["state"], session["session_id"]) == ("ready", "quick")
    client = Driver(session)
    client.open(pages.url("/form"))
    assert client.run("return document.title") == "Form"
    wait_until_warm(service)
    slow, special = timed(service, capabilities=SPECIAL)
    assert special["browser"]["pid"] not in stood_ready
    assert quick < slow / 3
    assert service.listed().keys() == {"quick", special["session_id"]}


def test_selenium_gets_a_warm_browser_for_its_default_options(service: Service) -> None:
    stood_ready = browsers(service)
    with new_session(service) as driver:
        assert service.report(str(driver.session_id))["browser"]["pid"] in stood_ready
        granted = {name: driver.capabilities.get(name, False) for name in DEFAULTS}
    assert granted == DEFAULTS


def test_a_handed_out_warm_browser_is_a_regular_session(service: Service) -> None:
    answer = expect(service.post("/sessions", json={"key": "account-17", "idle_timeout": 600}), 201)
    session = answer["session"]
    assert (answer["created"], session["key"], session["idle_timeout"]) == (True, "account-17", 600)
    assert (
        expect(service.post("/sessions", json={"key": "account-17"}))["session"]["browser"]
        == (session["browser"])
    )
    kill(session["driver"]["pid"])
    recovered = expect(service.get(f"/sessions/{session['session_id']}"))
    assert recovered["recovery"]["method"] == "reattached"
    expect(service.delete(f"/sessions/{session['session_id']}"))
    wait_gone([session["browser"]["pid"]])


def test_special_capabilities_get_a_new_browser(service: Service, pages: Pages) -> None:
    session = service.create(capabilities=SPECIAL, url=pages.url("/red"))
    assert Driver(session).run("return outerWidth") == 801
    assert Driver(session).address() == pages.url("/red")


@pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")
@pytest.mark.exhaustive
def test_a_killed_warm_browser_is_not_handed_out_dead(service: Service) -> None:
    kill(*browsers(service))
    for session in run_concurrently([service.create] * WARM):
        assert Driver(session).run("return 6 * 7") == 42
    wait_until_warm(service)


@pytest.mark.skipif(sys.platform == "win32", reason="stops with POSIX signals")
def test_a_stopped_warm_browser_is_not_handed_out_stopped(service: Service) -> None:
    stop(*drivers(service))
    session = service.create()
    assert Driver(session).run("return 6 * 7") == 42


@pytest.mark.exhaustive
def test_sessions_and_warm_browsers_never_exceed_the_limit(service: Service) -> None:
    def one(number: int) -> Json:
        session = service.create(session_id=f"c{number}", lease={"ttl": 600})
        assert len(drivers(service)) <= PLACES
        return session

    sessions = run_concurrently([partial(one, number) for number in range(PLACES)])
    assert len({session["browser"]["pid"] for session in sessions}) == PLACES
    assert service.listed().keys() == {f"c{number}" for number in range(PLACES)}
    assert warm_count(service) == 0
    expect(service.delete("/sessions/c0"))
    wait_until_warm(service, 1)
    assert len(drivers(service)) == PLACES
    # No client has to wait: a warm browser gives up its place, or is handed out.
    service.create(capabilities=SPECIAL)
    assert len(drivers(service)) <= PLACES


@pytest.mark.exhaustive
def test_a_killed_service_leaves_no_warm_browser_behind(service: Service) -> None:
    left = {process.pid for process in service.processes()}
    service.kill()
    service.start()
    wait_until_warm(service)
    assert service.listed() == {}
    assert len(drivers(service)) == len(service.session_folders()) == WARM
    assert not left & {process.pid for process in service.processes()}


@pytest.mark.exhaustive
def test_no_warm_browser_survives_a_clean_stop(service: Service) -> None:
    assert service.stop() == 0
    assert service.processes() == []
    service.start()
