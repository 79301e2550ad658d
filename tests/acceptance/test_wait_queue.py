"""Where every place is taken: who waits, who is served first, who is turned away, and what is kept."""

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
"""Nobody who waits in these tests gives up, however long the browsers take to start."""
SHORT_S: Final = 2.0
MOMENT_S: Final = 0.5
"""Nobody outside sees the line: this long after a request was sent, it stands in it."""


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service with two places."""
    with running_on_fakes(max_sessions=PLACES, queue_timeout=LONG_S, watch_interval=0) as service:
        yield service


@pytest.fixture
def tokens(service: Service) -> dict[str, str]:
    """Take all places, each leased; give the leases' tokens by session id."""
    names = [f"taken{number}" for number in range(PLACES)]
    answers = run_concurrently([partial(take, service, name) for name in names])
    return {answer["session_id"]: answer["lease"]["token"] for answer in answers}


def take(service: Service, name: str) -> Json:
    """Make a session that nobody can be given instead."""
    return expect(service.post("/sessions", json={"session_id": name, "lease": {"ttl": 600}}), 201)


def let_go(service: Service, name: str, token: str) -> None:
    """Give a lease back, so that the session may be evicted."""
    expect(service.delete(f"/sessions/{name}/lease", headers={"Lease-Token": token}))


@contextmanager
def waiting(service: Service, *names: str) -> Iterator[list[Future[requests.Response]]]:
    """Ask for new sessions, leased, one after the other; give what will be answered."""
    with ThreadPoolExecutor(len(names)) as pool:
        answers = []
        for name in names:
            body = {"session_id": name, "lease": {"ttl": 600}}
            answers.append(pool.submit(partial(service.post, "/sessions", json=body)))
            time.sleep(MOMENT_S)
        yield answers


def test_who_came_first_is_served_first(service: Service, tokens: dict[str, str]) -> None:
    with waiting(service, "first", "second", "third") as answers:
        assert not any(answer.done() for answer in answers)
        assert service.listed().keys() == tokens.keys()
        for name, answer, later in zip(tokens, answers, answers[1:], strict=False):
            let_go(service, name, tokens[name])
            expect(answer.result(), 201)
            assert not later.done()
            assert len(service.listed()) <= PLACES
        expect(service.delete("/sessions/first"))
        expect(answers[-1].result(), 201)
    assert service.listed().keys() == {"second", "third"}


def test_a_late_comer_does_not_jump_the_line(service: Service, tokens: dict[str, str]) -> None:
    with waiting(service, "first", "late") as answers:
        expect(service.delete("/sessions/taken0"))
        expect(answers[0].result(), 201)
        assert not answers[1].done()
        let_go(service, "taken1", tokens["taken1"])
        expect(answers[1].result(), 201)


def test_who_waits_in_vain_is_told_in_time_and_when_to_ask_again(start_service: StartService) -> None:
    service = start_service(max_sessions=1, queue_timeout=SHORT_S, watch_interval=0)
    take(service, "taken")
    begun = time.monotonic()
    answer = service.post("/sessions", json={"session_id": "late"})
    expect_error(answer, 503, "at_capacity")
    assert SHORT_S <= time.monotonic() - begun <= SHORT_S + 10
    assert service.listed().keys() == {"taken"}


def test_who_hangs_up_leaves_the_line(service: Service, tokens: dict[str, str]) -> None:
    with pytest.raises(requests.exceptions.ReadTimeout):
        service.post("/sessions", json={"session_id": "impatient"}, timeout=MOMENT_S)
    with waiting(service, "session") as answers:
        let_go(service, "taken0", tokens["taken0"])
        expect(answers[0].result(), 201)
    assert service.listed().keys() == {"taken1", "session"}


def test_nobody_waits_for_what_is_there(service: Service, tokens: dict[str, str]) -> None:
    with waiting(service, "late") as answers:
        known = service.post(
            "/sessions", json={"session_id": "taken0"}, headers={"Lease-Token": tokens["taken0"]}
        )
        expect(known)
        expect(service.get("/sessions/taken1"))
        assert not answers[0].done()
        let_go(service, "taken0", tokens["taken0"])
        expect(answers[0].result(), 201)


def test_a_lease_that_ends_by_itself_lets_the_next_one_in(service: Service) -> None:
    take(service, "long")
    expect(service.post("/sessions", json={"session_id": "short", "lease": {"ttl": 2}}), 201)
    expect(service.post("/sessions", json={"session_id": "next", "lease": {"ttl": 600}}), 201)
    assert service.listed().keys() == {"long", "next"}


def test_who_waits_while_the_service_stops_is_told_so(service: Service, tokens: dict[str, str]) -> None:
    with waiting(service, "late") as answers:
        assert service.stop() == 0
        expect_error(answers[0].result(), 503, "shutting_down")
    assert tokens
    service.start()


def test_an_evicted_session_with_a_key_comes_back_with_all_it_had(
    start_service: StartService, pages: Pages
) -> None:
    service = start_service(max_sessions=PLACES, watch_interval=0)
    first = expect(service.post("/sessions", json={"key": "account-17"}), 201)["session"]
    create_saved_state(first, pages)
    run_concurrently([service.create] * PLACES)
    assert first["session_id"] not in service.listed()
    wait_until(lambda: len(service.session_folders()) <= PLACES, "its folder is gone")
    back = expect(service.post("/sessions", json={"key": "account-17"}), 201)["session"]
    assert back["browser"]["pid"] != first["browser"]["pid"]
    assert_saved_state(back, pages)


def test_a_deleted_session_with_a_key_leaves_nothing_to_the_next(
    start_service: StartService, pages: Pages
) -> None:
    service = start_service(watch_interval=0)
    first = expect(service.post("/sessions", json={"key": "account-18"}), 201)["session"]
    create_saved_state(first, pages)
    expect(service.delete(f"/sessions/{first['session_id']}"))
    back = expect(service.post("/sessions", json={"key": "account-18", "url": pages.url("/form")}), 201)
    with pytest.raises(AssertionError):
        assert_saved_state(back["session"], pages)
