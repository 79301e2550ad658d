"""Health monitoring: unused sessions are probed by the service, and recovered before the next use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import pytest

from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill, renderers, stop
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Json, Service, expect, running
from tests.machine import run_both, run_concurrently, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills and stops with POSIX signals")

EVERY_S: Final = 0.5
RECOVERED_S: Final = 30.0


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that probes often, and tolerates slow answers for long."""
    with running(watch_interval=EVERY_S, health_timeout=2) as service:
        yield service


def wait_until_recovered(service: Service, session_id: str) -> Json:
    """Wait until a session was recovered, using only the list."""

    def read_list() -> Json:
        session = service.listed()[session_id]
        return session if session["state"] == "ready" and session["last_recovery"] else {}

    return wait_until(read_list, f"{session_id} is recovered", RECOVERED_S)


def test_dead_processes_are_replaced_before_the_next_request(service: Service, pages: Pages) -> None:
    bereft, dead, snapped = run_concurrently([service.create] * 3)
    Driver(bereft).run("window.left = 42")
    Driver(snapped).open(pages.url("/form"))
    kill(bereft["driver"]["pid"])
    kill(dead["browser"]["pid"])
    kill(*renderers(snapped))
    after = wait_until_recovered(service, bereft["session_id"])
    assert after["last_recovery"]["method"] == "reattached"
    assert after["browser"] == bereft["browser"]
    assert Driver(after).run("return window.left") == 42
    after = wait_until_recovered(service, dead["session_id"])
    assert after["last_recovery"]["cause"] == "browser_gone"
    after = wait_until_recovered(service, snapped["session_id"])
    assert (after["last_recovery"]["cause"], after["browser"]) == ("tab_crashed", snapped["browser"])
    assert Driver(after).address() == pages.url("/form")
    for session in (bereft, dead, snapped):
        found = expect(service.get(f"/sessions/{session['session_id']}"))
        assert found["recovered"] is False
        assert found["session"]["last_used"] == session["last_used"]


@pytest.mark.exhaustive
def test_stopped_sessions_do_not_delay_others(service: Service) -> None:
    *stuck, dead = run_concurrently([service.create] * 6)
    for session in stuck:
        stop(session["browser"]["pid"], session["driver"]["pid"])
    kill(dead["driver"]["pid"])
    assert wait_until_recovered(service, dead["session_id"])["last_recovery"]["cause"] == "driver_gone"
    for session in stuck:
        after = wait_until_recovered(service, session["session_id"])
        assert after["last_recovery"]["cause"] in {"browser_hung", "driver_hung"}
        assert Driver(after).run("return 6 * 7") == 42


def test_memory_is_measured_and_shown(service: Service) -> None:
    session_id = service.create()["session_id"]
    held = wait_until(lambda: service.listed()[session_id]["memory_mb"], "its memory is measured")
    assert 30 < held < 4000


def test_probing_a_healthy_session_changes_nothing(service: Service) -> None:
    before = service.create(session_id="well")
    first = service.listed()["well"]["health"]["checked_at"]
    wait_until(
        lambda: service.listed()["well"]["health"]["checked_at"] != first, "a health probe", RECOVERED_S
    )
    after = service.listed()["well"]
    assert after["health"]["status"] == "healthy"
    assert (after["driver"], after["browser"]) == (before["driver"], before["browser"])
    assert after["last_used"] == before["last_used"]
    assert after["recoveries"] == 0


def test_a_slowly_loading_page_is_not_treated_as_dead(service: Service, slow_page: Gate) -> None:
    before = service.create(session_id="busy")

    def wait_for_probes() -> None:
        with slow_page.while_it_loads():
            for _ in range(3):
                seen = service.listed()["busy"]["health"]["checked_at"]
                wait_until(
                    lambda seen=seen: service.listed()["busy"]["health"]["checked_at"] != seen,  # type: ignore[misc]
                    "a health probe",
                    RECOVERED_S,
                )

    run_both(lambda: Driver(before).open(slow_page.url), wait_for_probes)
    assert service.listed()["busy"]["recoveries"] == 0
    assert Driver(before).address() == slow_page.url


@pytest.mark.exhaustive
def test_a_monitored_session_ends_when_it_is_idle(service: Service) -> None:
    service.create(session_id="idle", idle_timeout=2)
    wait_until(lambda: "idle" not in service.listed(), "it ends despite the health monitoring")
