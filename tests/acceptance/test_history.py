"""The history of a session, as an operator reads it."""

from __future__ import annotations

import sys

import pytest

from tests.acceptance.conftest import StartService
from tests.acceptance.faults import kill
from tests.acceptance.service import Json, Service, expect
from tests.machine import wait_until


def history(service: Service, session_id: str) -> list[Json]:
    """Return the entries of a history."""
    entries: list[Json] = expect(service.get(f"/sessions/{session_id}/history"))["history"]
    return entries


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")
def test_a_history_tells_what_happened_and_outlives_the_session_and_a_restart(
    start_service: StartService,
) -> None:
    service = start_service(watch_interval=0, max_sessions=1)
    session = service.create(session_id="a")
    kill(session["driver"]["pid"])
    expect(service.get("/sessions/a"))
    service.create(session_id="b")
    wait_until(lambda: history(service, "a")[-1]["event"] == "evicted", "a is evicted")
    service.stop()
    service.start()
    answer = expect(service.get("/sessions/a/history"))
    assert answer["state"] == "ended"
    entries = answer["history"]
    assert [one["event"] for one in entries] == ["created", "found_dead", "recovered", "evicted"]
    created, _, recovered, evicted = entries
    assert created["client"].startswith("127.0.0.1:")
    assert created["duration_ms"] > 0
    assert (recovered["cause"], recovered["method"]) == ("driver_gone", "reattached")
    assert evicted["reason"] == "evicted"
    assert history(service, "b")[-1]["reason"] == "stopping"


def test_a_history_names_the_client_that_closed_a_session(service: Service) -> None:
    service.create(session_id="c")
    assert expect(service.get("/sessions/c/history"))["state"] == "ready"
    expect(service.delete("/sessions/c", headers={"X-Request-ID": "by-hand"}))
    closed = history(service, "c")[-1]
    assert (closed["event"], closed["reason"], closed["request_id"]) == ("closed", "deleted", "by-hand")
    assert closed["client"].startswith("127.0.0.1:")


def test_nothing_is_known_of_a_session_that_never_existed(service: Service) -> None:
    assert expect(service.get("/sessions/never/history"), 404)["code"] == "session_not_found"
