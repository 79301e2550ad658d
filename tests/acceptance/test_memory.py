"""Memory: no browser starts while it is short; unused sessions with an old or large browser get a new one."""

from __future__ import annotations

from typing import Final

import pytest

from tests.acceptance.conftest import StartService
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import assert_saved_state, create_saved_state
from tests.acceptance.service import Json, Service, expect
from tests.machine import PATIENCE, is_living, wait_until

MORE_THAN_ANY_MACHINE_MB: Final = 1_000_000_000
RECYCLED_S: Final = 60.0 * PATIENCE


def metric(service: Service, name: str) -> float:
    """Return the value of a metric with its labels."""
    lines = service.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def recycled(service: Service, session_id: str) -> Json:
    """Wait until a session was recycled; return its session object."""
    wait_until(
        lambda: service.listed()[session_id]["recoveries"] > 0, f"{session_id} is recycled", RECYCLED_S
    )
    found = service.listed()[session_id]
    assert found["last_recovery"]["cause"] == "recycled"
    assert found["last_recovery"]["method"] == "restored"
    return found


def test_no_browser_starts_while_memory_is_short(start_service: StartService) -> None:
    service = start_service(queue_timeout=1)
    before = service.create(session_id="before")
    service.stop()
    service.settings |= {"min_free_memory_mb": MORE_THAN_ANY_MACHINE_MB}
    service.launch()
    wait_until(lambda: "DROVER_MIN_FREE_MEMORY_MB" in health(service).get("reason", ""), "/health says why")
    failed = expect(service.post("/sessions", json={}), 503)
    assert failed["code"] == "at_capacity"
    assert "DROVER_MIN_FREE_MEMORY_MB" in failed["error"]
    assert service.listed() == {}
    assert before["session_id"] not in service.listed()
    assert metric(service, "drover_memory_short") == 1
    assert metric(service, "drover_memory_available_bytes") > 0
    service.wait_for_log("No browser starts: only")


def health(service: Service) -> Json:
    """Return the answer of `GET /health`; empty while nothing listens."""
    try:
        found: Json = service.get("/health").json()
    except OSError:
        return {}
    return found


@pytest.mark.exhaustive
def test_an_old_browser_is_recycled_unless_its_session_is_in_use(
    start_service: StartService, pages: Pages
) -> None:
    service = start_service(recycle_after=5, watch_interval=0)
    used = service.create(session_id="used", lease={"ttl": 600})
    fields = {"session_id": "unused", "key": "account-17", "lease": {"ttl": 600}}
    created = expect(service.post("/sessions", json=fields), 201)
    unused = created["session"]
    create_saved_state(unused, pages)
    token = {"Lease-Token": created["lease"]["token"]}
    expect(service.delete("/sessions/unused/lease", headers=token))
    recycled(service, "unused")
    expect(service.post("/sessions/unused/lease", json={"ttl": 600}))
    after = expect(service.get("/sessions/unused"))["session"]
    assert after["browser"]["pid"] != unused["browser"]["pid"]
    assert not is_living(unused["browser"]["pid"])
    assert after["key"] == "account-17"
    assert_saved_state(after, pages)
    assert is_living(used["browser"]["pid"])
    assert service.listed()["used"]["recoveries"] == 0
    assert metric(service, 'drover_recoveries_total{cause="recycled",method="restored"}') >= 1
    service.wait_for_log("Session unused is recycled: its browser has run for")


@pytest.mark.exhaustive
def test_a_large_session_is_recycled_once(start_service: StartService) -> None:
    service = start_service(recycle_memory_mb=1)
    service.create(session_id="large")
    recycled(service, "large")
    wait_until(lambda: service.listed()["large"]["memory_mb"] is not None, "it is measured", RECYCLED_S)
    assert service.listed()["large"]["recoveries"] == 1
    service.wait_for_log("Session large is recycled: it holds")
