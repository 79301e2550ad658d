"""Recovery of a browser that crashes repeatedly pauses, and is then retried.

The tests build on one another: the pause of one session is used by the following tests.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.service import Json, Service, assert_no_trace, expect, expect_error, running
from tests.machine import run_concurrently, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")

IN_A_ROW: Final = 5
REST_S: Final = 60.0


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service in which only a client's access recovers a session."""
    with running(watch_interval=0) as service:
        yield service


@pytest.fixture(scope="module")
def crash_five_times(shared_service: Service) -> Json:
    """Return a session that was recovered five times in a row, and is dead again."""
    session = shared_service.create(session_id="crashing")
    for times in range(1, IN_A_ROW + 1):
        kill(session["browser"]["pid"])
        answer = expect(shared_service.get("/sessions/crashing"))
        assert answer["recovered"] is True
        session = answer["session"]
        assert session["recoveries"] == times
    kill(session["browser"]["pid"])
    return session


def test_after_five_crashes_the_error_names_cause_and_retry_time(
    shared_service: Service, crash_five_times: Json
) -> None:
    refused = shared_service.get("/sessions/crashing")
    sentence = expect_error(refused, 503, "recovery_failed")
    assert "browser_gone" in sentence
    assert "crashing" in sentence
    assert int(refused.headers["Retry-After"]) <= REST_S
    refused = shared_service.post("/sessions", json={"session_id": "crashing"})
    expect_error(refused, 503, "recovery_failed")
    assert shared_service.listed()["crashing"]["browser"]["pid"] == crash_five_times["browser"]["pid"]


def test_during_the_pause_requests_are_answered_at_once_and_nothing_starts(
    shared_service: Service, crash_five_times: Json
) -> None:
    before = shared_service.processes()
    begun = time.monotonic()
    for refused in run_concurrently([lambda: shared_service.get("/sessions/crashing")] * 20):
        expect_error(refused, 503, "recovery_failed")
    assert time.monotonic() - begun < 10
    assert {process.pid for process in shared_service.processes()} <= {process.pid for process in before}
    assert shared_service.listed()["crashing"]["recoveries"] == crash_five_times["recoveries"]


def test_another_session_is_not_affected(shared_service: Service, crash_five_times: Json) -> None:
    assert crash_five_times["session_id"] in shared_service.listed()
    other = shared_service.create(session_id="other")
    kill(other["browser"]["pid"])
    assert expect(shared_service.get("/sessions/other"))["recovered"] is True
    expect(shared_service.delete("/sessions/other"))


@pytest.mark.exhaustive
def test_a_session_that_works_in_between_is_always_recovered(
    shared_service: Service, crash_five_times: Json
) -> None:
    assert crash_five_times["session_id"] in shared_service.listed()
    session = shared_service.create(session_id="unlucky")
    for _ in range(IN_A_ROW + 2):
        kill(session["driver"]["pid"])
        answer = expect(shared_service.get("/sessions/unlucky"))
        assert answer["recovered"] is True
        session = expect(shared_service.get("/sessions/unlucky"))["session"]
        assert session["health"]["status"] == "healthy"
    expect(shared_service.delete("/sessions/unlucky"))


@pytest.mark.exhaustive
def test_a_request_after_the_pause_recovers_the_session(
    shared_service: Service, crash_five_times: Json
) -> None:
    wait_until(lambda: shared_service.get("/sessions/crashing").ok, "a later request succeeds", REST_S)
    after = shared_service.report("crashing")
    assert after["browser"]["pid"] != crash_five_times["browser"]["pid"]
    assert after["recoveries"] == IN_A_ROW + 1
    assert Driver(after).run("return 6 * 7") == 42


def test_no_crash_leaves_a_stack_trace(shared_service: Service, crash_five_times: Json) -> None:
    expect(shared_service.delete(f"/sessions/{crash_five_times['session_id']}"))
    assert_no_trace(shared_service)
