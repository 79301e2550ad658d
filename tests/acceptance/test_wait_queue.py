"""All places are taken: who waits, who is served first, who is refused, and which state is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final

import pytest
import requests

from tests.acceptance.conftest import StartService
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import assert_saved_state, create_saved_state
from tests.acceptance.service import Json, Service, expect, expect_error, running_on_fakes
from tests.machine import run_concurrently, wait_until

PLACES: Final = 2
LONG_S: Final = 50.0
"""Longer than any browser start: no client in these tests gives up."""
SHORT_S: Final = 2.0
MOMENT_S: Final = 0.5
"""The queue is not visible from outside: this long after a request was sent, it is in the queue."""


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service with two places."""
    with running_on_fakes(max_sessions=PLACES, queue_timeout=LONG_S, watch_interval=0) as service:
        yield service


@pytest.fixture
def tokens(service: Service) -> dict[str, str]:
    """Take all places, each with a lease; return the lease tokens by session id."""
    names = [f"taken{number}" for number in range(PLACES)]
    answers = run_concurrently([partial(create_leased, service, name) for name in names])
    return {answer["session_id"]: answer["lease"]["token"] for answer in answers}


def create_leased(service: Service, name: str) -> Json:
    """Create a session with a lease."""
    return expect(service.post("/sessions", json={"session_id": name, "lease": {"ttl": 600}}), 201)


def release(service: Service, name: str, token: str) -> None:
    """Release a lease, so that the session may be evicted."""
    expect(service.delete(f"/sessions/{name}/lease", headers={"Lease-Token": token}))


@contextmanager
def waiting(service: Service, *names: str) -> Iterator[list[Future[requests.Response]]]:
    """Request new leased sessions, one after the other; return the pending answers."""
    with ThreadPoolExecutor(len(names)) as pool:
        answers = []
        for name in names:
            body = {"session_id": name, "lease": {"ttl": 600}}
            answers.append(pool.submit(partial(service.post, "/sessions", json=body)))
            time.sleep(MOMENT_S)
        yield answers


def test_waiting_clients_are_served_in_order(service: Service, tokens: dict[str, str]) -> None:
    with waiting(service, "first", "second", "third") as answers:
        assert not any(answer.done() for answer in answers)
        assert service.listed().keys() == tokens.keys()
        for name, answer, later in zip(tokens, answers, answers[1:], strict=False):
            release(service, name, tokens[name])
            expect(answer.result(), 201)
            assert not later.done()
            assert len(service.listed()) <= PLACES
        expect(service.delete("/sessions/first"))
        expect(answers[-1].result(), 201)
    assert service.listed().keys() == {"second", "third"}


def test_a_later_request_does_not_overtake_the_queue(service: Service, tokens: dict[str, str]) -> None:
    with waiting(service, "first", "late") as answers:
        expect(service.delete("/sessions/taken0"))
        expect(answers[0].result(), 201)
        assert not answers[1].done()
        release(service, "taken1", tokens["taken1"])
        expect(answers[1].result(), 201)


@pytest.mark.exhaustive
def test_a_queue_timeout_is_reported_in_time_with_a_retry_time(start_service: StartService) -> None:
    service = start_service(max_sessions=1, queue_timeout=SHORT_S, watch_interval=0)
    create_leased(service, "taken")
    begun = time.monotonic()
    answer = service.post("/sessions", json={"session_id": "late"})
    expect_error(answer, 503, "at_capacity")
    assert SHORT_S <= time.monotonic() - begun <= SHORT_S + 10
    assert service.listed().keys() == {"taken"}


def test_a_client_that_disconnects_leaves_the_queue(service: Service, tokens: dict[str, str]) -> None:
    with pytest.raises(requests.exceptions.ReadTimeout):
        service.post("/sessions", json={"session_id": "impatient"}, timeout=MOMENT_S)
    with waiting(service, "session") as answers:
        release(service, "taken0", tokens["taken0"])
        expect(answers[0].result(), 201)
    assert service.listed().keys() == {"taken1", "session"}


def test_an_existing_session_is_returned_without_waiting(service: Service, tokens: dict[str, str]) -> None:
    with waiting(service, "late") as answers:
        known = service.post(
            "/sessions", json={"session_id": "taken0"}, headers={"Lease-Token": tokens["taken0"]}
        )
        expect(known)
        expect(service.get("/sessions/taken1"))
        assert not answers[0].done()
        release(service, "taken0", tokens["taken0"])
        expect(answers[0].result(), 201)


def test_an_expired_lease_admits_the_next_client(service: Service) -> None:
    create_leased(service, "long")
    expect(service.post("/sessions", json={"session_id": "short", "lease": {"ttl": 2}}), 201)
    expect(service.post("/sessions", json={"session_id": "next", "lease": {"ttl": 600}}), 201)
    assert service.listed().keys() == {"long", "next"}


def test_waiting_clients_get_an_error_when_the_service_stops(
    service: Service, tokens: dict[str, str]
) -> None:
    with waiting(service, "late") as answers:
        assert service.stop() == 0
        expect_error(answers[0].result(), 503, "shutting_down")
    assert tokens
    service.start()


@pytest.mark.exhaustive
def test_an_evicted_session_with_a_key_gets_its_state_restored(
    start_service: StartService, pages: Pages
) -> None:
    service = start_service(max_sessions=PLACES, watch_interval=0)
    first = expect(service.post("/sessions", json={"key": "account-17"}), 201)["session"]
    create_saved_state(first, pages)
    run_concurrently([service.create] * PLACES)
    assert first["session_id"] not in service.listed()
    wait_until(lambda: len(service.session_folders()) <= PLACES, "its folder is removed")
    back = expect(service.post("/sessions", json={"key": "account-17"}), 201)["session"]
    assert back["browser"]["pid"] != first["browser"]["pid"]
    assert_saved_state(back, pages)


@pytest.mark.exhaustive
def test_a_deleted_session_with_a_key_leaves_no_state(start_service: StartService, pages: Pages) -> None:
    service = start_service(watch_interval=0)
    first = expect(service.post("/sessions", json={"key": "account-18"}), 201)["session"]
    create_saved_state(first, pages)
    expect(service.delete(f"/sessions/{first['session_id']}"))
    back = expect(service.post("/sessions", json={"key": "account-18", "url": pages.url("/form")}), 201)
    with pytest.raises(AssertionError):
        assert_saved_state(back["session"], pages)
