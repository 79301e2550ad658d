"""Leases: granted, renewed, released and expired; without the token a session cannot be acquired."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Final

import pytest
import requests

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.service import Json, Service, expect, expect_error, running_on_fakes
from tests.machine import run_concurrently, wait_until

LONG_S: Final = 600
TOKEN: Final = "Lease-Token"


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service with a short idle timeout."""
    with running_on_fakes(watch_interval=0) as service:
        yield service


def acquire(service: Service, token: str | None = None, **fields: object) -> requests.Response:
    """Request a session, with a lease token if there is one."""
    return service.post("/sessions", json=fields, headers={TOKEN: token} if token else {})


def lease(service: Service, session_id: str, ttl: float = LONG_S, token: str | None = None) -> Json:
    """Lease a session; return the lease."""
    answer = service.post(
        f"/sessions/{session_id}/lease",
        json={"ttl": ttl, "holder": "the tests"},
        headers={TOKEN: token} if token else {},
    )
    granted: Json = expect(answer)["lease"]
    return granted


def release(service: Service, session_id: str, token: str | None) -> requests.Response:
    """Release a lease."""
    return service.delete(f"/sessions/{session_id}/lease", headers={TOKEN: token} if token else {})


def seconds_left(granted: Json) -> float:
    """Return the remaining seconds of a lease."""
    expires_at = datetime.fromisoformat(granted["expires_at"].replace("Z", "+00:00"))
    return (expires_at - datetime.now(timezone.utc)).total_seconds()


def test_a_session_can_be_created_with_a_lease(service: Service) -> None:
    answer = expect(acquire(service, session_id="mine", lease={"ttl": LONG_S, "holder": "robot 7"}), 201)
    assert answer["lease"].keys() == {"holder", "token", "expires_at"}
    assert answer["lease"]["holder"] == "robot 7"
    assert LONG_S - 30 < seconds_left(answer["lease"]) <= LONG_S
    assert answer["session"]["in_use"] is True
    assert answer["session"]["lease"].keys() == {"holder", "expires_at"}


def test_the_token_appears_in_no_other_answer_and_in_no_log(service: Service) -> None:
    token = expect(acquire(service, session_id="mine", lease={"ttl": LONG_S}), 201)["lease"]["token"]
    later = [
        acquire(service, token, session_id="mine"),
        acquire(service, session_id="mine"),
        service.get("/sessions/mine"),
        service.get("/sessions/mine?recover=false"),
        service.get("/sessions"),
        service.get("/processes"),
        service.get("/health"),
    ]
    assert not [answer.url for answer in later if token in answer.text]
    assert not [line for line in service.logs() if token in line]


def test_a_missing_or_wrong_token_is_refused(service: Service) -> None:
    token = expect(acquire(service, session_id="mine", key="k", lease={"ttl": LONG_S}), 201)["lease"]["token"]
    for wrong in (None, "guessed", token[:-1], token.swapcase()):
        expect_error(acquire(service, wrong, session_id="mine"), 409, "session_in_use")
        expect_error(acquire(service, wrong, key="k"), 409, "session_in_use")
        refused = service.post(
            "/sessions/mine/lease", json={"ttl": 5}, headers={TOKEN: wrong} if wrong else {}
        )
        expect_error(refused, 409, "session_in_use")
        assert not release(service, "mine", wrong).ok
    assert service.report("mine")["in_use"] is True
    assert expect(acquire(service, token, session_id="mine"))["session_id"] == "mine"
    assert expect(acquire(service, token, key="k"))["session_id"] == "mine"


@pytest.mark.exhaustive
def test_reading_driving_recovery_and_deletion_need_no_token(start_service: StartService) -> None:
    service = start_service(watch_interval=0)
    session = expect(acquire(service, session_id="mine", lease={"ttl": LONG_S}), 201)["session"]
    assert expect(service.get("/sessions/mine"))["recovered"] is False
    assert service.get("/sessions/mine/screenshot").ok
    assert Driver(session).run("return 6 * 7") == 42
    kill(session["driver"]["pid"])
    recovered = expect(service.get("/sessions/mine"))
    assert recovered["recovered"] is True
    assert recovered["session"]["in_use"] is True
    expect(service.delete("/sessions/mine"))
    assert service.listed() == {}


def test_a_session_is_leased_renewed_and_released(service: Service) -> None:
    service.create(session_id="mine")
    assert service.report("mine")["in_use"] is False
    first = lease(service, "mine", ttl=30)
    assert service.report("mine")["in_use"] is True
    renewed = lease(service, "mine", ttl=LONG_S, token=first["token"])
    assert renewed["token"] == first["token"]
    assert seconds_left(renewed) > 30
    assert expect(release(service, "mine", first["token"]))
    assert (service.report("mine")["in_use"], service.report("mine")["lease"]) == (False, None)
    expect(acquire(service, session_id="mine"))
    assert lease(service, "mine")["token"] != first["token"]


def test_acquiring_with_the_token_renews_the_lease(service: Service) -> None:
    token = expect(acquire(service, session_id="mine", lease={"ttl": 30}), 201)["lease"]["token"]
    renewed = expect(acquire(service, token, session_id="mine", lease={"ttl": LONG_S}))["lease"]
    assert renewed["token"] == token
    assert seconds_left(renewed) > 30


def test_a_lease_expires(service: Service) -> None:
    token = expect(acquire(service, session_id="mine", lease={"ttl": 1}), 201)["lease"]["token"]
    wait_until(lambda: not service.listed()["mine"]["in_use"], "the lease ends")
    assert service.listed()["mine"]["lease"] is None
    expect(acquire(service, session_id="mine"))
    other = lease(service, "mine")
    assert other["token"] != token
    expect_error(acquire(service, token, session_id="mine"), 409, "session_in_use")


def test_one_of_many_concurrent_lease_requests_succeeds(service: Service) -> None:
    service.create(session_id="mine")
    answers = run_concurrently([lambda: acquire(service, session_id="mine", lease={"ttl": LONG_S})] * 10)
    assert [answer.status_code for answer in answers].count(200) == 1
    for answer in answers:
        if not answer.ok:
            expect_error(answer, 409, "session_in_use")


def test_leases_of_unknown_sessions_and_invalid_leases_are_refused(service: Service) -> None:
    expect_error(service.post("/sessions/unknown/lease", json={"ttl": 5}), 404, "session_not_found")
    service.create(session_id="mine")
    for body in ({}, {"ttl": 0}, {"ttl": -1}, {"ttl": "long"}, {"ttl": 5, "holdr": "x"}):
        expect_error(service.post("/sessions/mine/lease", json=body), 400, "invalid_request")
    expect_error(acquire(service, session_id="mine", lease={"holder": "x"}), 400, "invalid_request")
    assert service.report("mine")["in_use"] is False


@pytest.mark.exhaustive
def test_the_idle_timeout_starts_when_the_lease_is_released(service: Service) -> None:
    before = expect(acquire(service, session_id="mine", idle_timeout=1, lease={"ttl": LONG_S}), 201)
    service.create(session_id="idle", idle_timeout=1)
    wait_until(lambda: "idle" not in service.listed(), "the other session is closed")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert service.listed()["mine"]["browser"] == before["session"]["browser"]
        time.sleep(0.1)
    expect(release(service, "mine", before["lease"]["token"]))
    wait_until(lambda: "mine" not in service.listed(), "the session is closed")


@pytest.mark.exhaustive
def test_a_leased_session_is_not_evicted(start_service: StartService) -> None:
    service = start_service(max_sessions=2, queue_timeout=1)
    leased = expect(acquire(service, session_id="leased", lease={"ttl": LONG_S}), 201)["session"]
    service.create(session_id="later")
    service.create(session_id="latest")
    assert service.listed().keys() == {"leased", "latest"}
    assert service.report("leased")["browser"] == leased["browser"]


def test_a_lease_counts_as_use_and_reading_does_not(service: Service) -> None:
    before = service.create(session_id="mine")["last_used"]
    service.get("/sessions/mine")
    assert service.report("mine")["last_used"] == before
    lease(service, "mine")
    assert service.report("mine")["last_used"] > before
