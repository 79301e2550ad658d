"""Sessions that nobody uses are looked at by the service itself, and healed before their next user comes."""

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
HEALED_S: Final = 30.0


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that looks often, and is patient with what does not answer."""
    with running(watch_interval=EVERY_S, health_timeout=2) as service:
        yield service


def healed(service: Service, session_id: str) -> Json:
    """Wait until a session was healed, asking for nothing but the list."""

    def look() -> Json:
        session = service.listed()[session_id]
        return session if session["state"] == "ready" and session["last_recovery"] else {}

    return wait_until(look, f"{session_id} is healed", HEALED_S)


def test_dead_parts_are_replaced_before_anybody_asks(service: Service, pages: Pages) -> None:
    bereft, dead, snapped = run_concurrently([service.create] * 3)
    Driver(bereft).run("window.left = 42")
    Driver(snapped).open(pages.url("/form"))
    kill(bereft["driver"]["pid"])
    kill(dead["browser"]["pid"])
    kill(*renderers(snapped))
    after = healed(service, bereft["session_id"])
    assert after["last_recovery"]["method"] == "reattached"
    assert after["browser"] == bereft["browser"]
    assert Driver(after).run("return window.left") == 42
    after = healed(service, dead["session_id"])
    assert after["last_recovery"]["cause"] == "browser_gone"
    after = healed(service, snapped["session_id"])
    assert (after["last_recovery"]["cause"], after["browser"]) == ("tab_crashed", snapped["browser"])
    assert Driver(after).address() == pages.url("/form")
    for session in (bereft, dead, snapped):
        found = expect(service.get(f"/sessions/{session['session_id']}"))
        assert found["recovered"] is False
        assert found["session"]["last_used"] == session["last_used"]


def test_what_is_stopped_delays_the_others_by_nothing(service: Service) -> None:
    *stuck, dead = run_concurrently([service.create] * 6)
    for session in stuck:
        stop(session["browser"]["pid"], session["driver"]["pid"])
    kill(dead["driver"]["pid"])
    assert healed(service, dead["session_id"])["last_recovery"]["cause"] == "driver_gone"
    for session in stuck:
        after = healed(service, session["session_id"])
        assert after["last_recovery"]["cause"] in {"browser_hung", "driver_hung"}
        assert Driver(after).run("return 6 * 7") == 42


def test_memory_is_measured_and_shown(service: Service) -> None:
    session_id = service.create()["session_id"]
    held = wait_until(lambda: service.listed()[session_id]["memory_mb"], "its memory is measured")
    assert 30 < held < 4000


def test_a_healthy_session_is_looked_at_and_left_as_it_is(service: Service) -> None:
    before = service.create(session_id="well")
    first = service.listed()["well"]["health"]["checked_at"]
    wait_until(lambda: service.listed()["well"]["health"]["checked_at"] != first, "a look", HEALED_S)
    after = service.listed()["well"]
    assert after["health"]["status"] == "healthy"
    assert (after["driver"], after["browser"]) == (before["driver"], before["browser"])
    assert after["last_used"] == before["last_used"]
    assert after["recoveries"] == 0


def test_a_page_that_loads_for_long_is_not_taken_for_dead(service: Service, slow_page: Gate) -> None:
    before = service.create(session_id="busy")

    def let_it_be_watched() -> None:
        with slow_page.while_it_loads():
            for _ in range(3):
                seen = service.listed()["busy"]["health"]["checked_at"]
                wait_until(
                    lambda seen=seen: service.listed()["busy"]["health"]["checked_at"] != seen,  # type: ignore[misc]
                    "a look",
                    HEALED_S,
                )

    run_both(lambda: Driver(before).open(slow_page.url), let_it_be_watched)
    assert service.listed()["busy"]["recoveries"] == 0
    assert Driver(before).address() == slow_page.url


def test_a_watched_session_ends_when_it_is_idle(service: Service) -> None:
    service.create(session_id="idle", idle_timeout=2)
    wait_until(lambda: "idle" not in service.listed(), "it ends, however often it is looked at")
