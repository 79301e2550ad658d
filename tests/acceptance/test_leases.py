"""A lease keeps a session for its holder: granted, renewed, given back, expired, and nothing else stopped."""

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
    """Run a service whose sessions end soon when nobody uses them."""
    with running_on_fakes(watch_interval=0) as service:
        yield service


def ask(service: Service, token: str | None = None, **fields: object) -> requests.Response:
    """Ask for a session, showing a token where there is one."""
    return service.post("/sessions", json=fields, headers={TOKEN: token} if token else {})


def lease(service: Service, session_id: str, ttl: float = LONG_S, token: str | None = None) -> Json:
    """Lease a session; give what was granted."""
    answer = service.post(
        f"/sessions/{session_id}/lease",
        json={"ttl": ttl, "holder": "the tests"},
        headers={TOKEN: token} if token else {},
    )
    granted: Json = expect(answer)["lease"]
    return granted


def give_back(service: Service, session_id: str, token: str | None) -> requests.Response:
    """Give a lease back."""
    return service.delete(f"/sessions/{session_id}/lease", headers={TOKEN: token} if token else {})


def seconds_left(granted: Json) -> float:
    """Give how long a lease still holds."""
    expires_at = datetime.fromisoformat(granted["expires_at"].replace("Z", "+00:00"))
    return (expires_at - datetime.now(timezone.utc)).total_seconds()


def test_a_session_can_be_handed_over_already_leased(service: Service) -> None:
    answer = expect(ask(service, session_id="mine", lease={"ttl": LONG_S, "holder": "robot 7"}), 201)
    assert answer["lease"].keys() == {"holder", "token", "expires_at"}
    assert answer["lease"]["holder"] == "robot 7"
    assert LONG_S - 30 < seconds_left(answer["lease"]) <= LONG_S
    assert answer["session"]["in_use"] is True
    assert answer["session"]["lease"].keys() == {"holder", "expires_at"}


def test_the_token_appears_in_no_other_answer_and_in_no_log(service: Service) -> None:
    token = expect(ask(service, session_id="mine", lease={"ttl": LONG_S}), 201)["lease"]["token"]
    later = [
        ask(service, token, session_id="mine"),
        ask(service, session_id="mine"),
        service.get("/sessions/mine"),
        service.get("/sessions/mine?recover=false"),
        service.get("/sessions"),
        service.get("/processes"),
        service.get("/health"),
    ]
    assert not [answer.url for answer in later if token in answer.text]
    assert not [line for line in service.logs() if token in line]


def test_who_shows_no_token_or_a_wrong_one_is_refused(service: Service) -> None:
    token = expect(ask(service, session_id="mine", key="k", lease={"ttl": LONG_S}), 201)["lease"]["token"]
    for wrong in (None, "guessed", token[:-1], token.swapcase()):
        expect_error(ask(service, wrong, session_id="mine"), 409, "session_in_use")
        expect_error(ask(service, wrong, key="k"), 409, "session_in_use")
        refused = service.post(
            "/sessions/mine/lease", json={"ttl": 5}, headers={TOKEN: wrong} if wrong else {}
        )
        expect_error(refused, 409, "session_in_use")
        assert not give_back(service, "mine", wrong).ok
    assert service.report("mine")["in_use"] is True
    assert expect(ask(service, token, session_id="mine"))["session_id"] == "mine"
    assert expect(ask(service, token, key="k"))["session_id"] == "mine"


def test_reading_driving_healing_and_deleting_pass(start_service: StartService) -> None:
    service = start_service(watch_interval=0)
    session = expect(ask(service, session_id="mine", lease={"ttl": LONG_S}), 201)["session"]
    assert expect(service.get("/sessions/mine"))["recovered"] is False
    assert service.get("/sessions/mine/screenshot").ok
    assert Driver(session).run("return 6 * 7") == 42
    kill(session["driver"]["pid"])
    healed = expect(service.get("/sessions/mine"))
    assert healed["recovered"] is True
    assert healed["session"]["in_use"] is True
    expect(service.delete("/sessions/mine"))
    assert service.listed() == {}


def test_a_session_is_leased_renewed_and_given_back_later(service: Service) -> None:
    service.create(session_id="mine")
    assert service.report("mine")["in_use"] is False
    first = lease(service, "mine", ttl=30)
    assert service.report("mine")["in_use"] is True
    renewed = lease(service, "mine", ttl=LONG_S, token=first["token"])
    assert renewed["token"] == first["token"]
    assert seconds_left(renewed) > 30
    assert expect(give_back(service, "mine", first["token"]))
    assert (service.report("mine")["in_use"], service.report("mine")["lease"]) == (False, None)
    expect(ask(service, session_id="mine"))
    assert lease(service, "mine")["token"] != first["token"]


def test_asking_with_the_token_renews_the_lease(service: Service) -> None:
    token = expect(ask(service, session_id="mine", lease={"ttl": 30}), 201)["lease"]["token"]
    renewed = expect(ask(service, token, session_id="mine", lease={"ttl": LONG_S}))["lease"]
    assert renewed["token"] == token
    assert seconds_left(renewed) > 30


def test_a_lease_ends_by_itself(service: Service) -> None:
    token = expect(ask(service, session_id="mine", lease={"ttl": 1}), 201)["lease"]["token"]
    wait_until(lambda: not service.listed()["mine"]["in_use"], "the lease ends")
    assert service.listed()["mine"]["lease"] is None
    expect(ask(service, session_id="mine"))
    other = lease(service, "mine")
    assert other["token"] != token
    expect_error(ask(service, token, session_id="mine"), 409, "session_in_use")


def test_of_many_who_want_a_lease_one_gets_it(service: Service) -> None:
    service.create(session_id="mine")
    answers = run_concurrently([lambda: ask(service, session_id="mine", lease={"ttl": LONG_S})] * 10)
    assert [answer.status_code for answer in answers].count(200) == 1
    for answer in answers:
        if not answer.ok:
            expect_error(answer, 409, "session_in_use")


def test_a_lease_of_nothing_and_bad_leases_are_refused(service: Service) -> None:
    expect_error(service.post("/sessions/nobody/lease", json={"ttl": 5}), 404, "session_not_found")
    service.create(session_id="mine")
    for body in ({}, {"ttl": 0}, {"ttl": -1}, {"ttl": "long"}, {"ttl": 5, "holdr": "x"}):
        expect_error(service.post("/sessions/mine/lease", json=body), 400, "invalid_request")
    expect_error(ask(service, session_id="mine", lease={"holder": "x"}), 400, "invalid_request")
    assert service.report("mine")["in_use"] is False


def test_a_leased_session_is_not_idled_out_and_ends_when_it_was_given_back(service: Service) -> None:
    before = expect(ask(service, session_id="mine", idle_timeout=1, lease={"ttl": LONG_S}), 201)
    service.create(session_id="idle", idle_timeout=1)
    wait_until(lambda: "idle" not in service.listed(), "the other one ends")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert service.listed()["mine"]["browser"] == before["session"]["browser"]
        time.sleep(0.1)
    expect(give_back(service, "mine", before["lease"]["token"]))
    wait_until(lambda: "mine" not in service.listed(), "it ends now")


def test_a_leased_session_is_not_evicted(start_service: StartService) -> None:
    service = start_service(max_sessions=2, queue_timeout=1)
    leased = expect(ask(service, session_id="leased", lease={"ttl": LONG_S}), 201)["session"]
    service.create(session_id="later")
    service.create(session_id="latest")
    assert service.listed().keys() == {"leased", "latest"}
    assert service.report("leased")["browser"] == leased["browser"]


def test_a_lease_is_a_use_and_reading_is_none(service: Service) -> None:
    before = service.create(session_id="mine")["last_used"]
    service.get("/sessions/mine")
    assert service.report("mine")["last_used"] == before
    lease(service, "mine")
    assert service.report("mine")["last_used"] > before
