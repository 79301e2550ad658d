"""A page is opened in a background tab at an interval, so that a login does not expire."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest

from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import wait_until_saved
from tests.acceptance.service import Json, Service, expect, expect_error, running
from tests.machine import wait_until

EVERY_S: Final = 1
VISIT_MS: Final = 15_000
"""Less than a visit of a page that does not load takes, which is 20 s."""
WITH_AND_WITHOUT_BIDI: Final = pytest.mark.parametrize(
    "capabilities", [{}, {"webSocketUrl": True}], ids=["hidden", "bidi"]
)
"""With BiDi the tab of a visit is not hidden."""


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service without health monitoring."""
    with running(watch_interval=0) as service:
        yield service


def visits(pages: Pages, path: str) -> int:
    """Return how often a page was requested."""
    return pages.visits.count(path)


def create_with_keep_alive(service: Service, pages: Pages, path: str, **fields: object) -> Json:
    """Create a session with a keep-alive page."""
    keep_alive = {"url": pages.url(path), "interval": EVERY_S}
    return service.create(session_id="kept", keep_alive=keep_alive, **fields)


def test_the_page_is_opened_at_an_interval_while_the_session_is_idle(service: Service, pages: Pages) -> None:
    session = create_with_keep_alive(service, pages, "/?often")
    assert session["keep_alive"] == {"url": pages.url("/?often"), "interval": EVERY_S}
    begun = time.monotonic()
    wait_until(lambda: visits(pages, "/?often") >= 3, "three visits", 20)
    assert time.monotonic() - begun >= 2 * EVERY_S
    assert service.listed()["kept"]["last_used"] == session["last_used"]
    assert service.listed()["kept"]["in_use"] is False


@pytest.mark.exhaustive
def test_the_current_page_is_never_changed(service: Service, pages: Pages) -> None:
    client = Driver(create_with_keep_alive(service, pages, "/?behind"))
    client.open(pages.url("/form"))
    client.run("window.left = 42; addEventListener('visibilitychange', () => window.hidden = true)")
    client.run("document.getElementById('name').focus()")
    windows = client.windows()
    seen = visits(pages, "/?behind")
    wait_until(lambda: visits(pages, "/?behind") >= seen + 2, "two visits", 20)
    assert client.address() == pages.url("/form")
    found = client.run("return [left, window.hidden ?? null, document.visibilityState, document.hasFocus()]")
    assert found == [42, None, "visible", True]
    wait_until(lambda: client.windows() == windows, "the background tab is closed again")
    assert expect(service.get("/sessions/kept"))["session"]["current_url"] == pages.url("/form")


@WITH_AND_WITHOUT_BIDI
def test_the_page_in_front_stays_the_sessions_page_during_a_visit(
    service: Service, pages: Pages, capabilities: Json
) -> None:
    gate, form = pages.slow(), pages.url("/form")
    keep_alive = {"url": gate.url, "interval": EVERY_S}
    session = service.create(session_id="kept", url=form, keep_alive=keep_alive, capabilities=capabilities)
    with gate.while_it_loads():
        assert expect(service.get("/sessions/kept"))["session"]["current_url"] == form
        wait_until_saved()
        kill(session["browser"]["pid"])
        found = expect(service.get("/sessions/kept"))
    assert (found["recovery"]["method"], found["session"]["current_url"]) == ("restored", form)


@pytest.mark.exhaustive
@WITH_AND_WITHOUT_BIDI
def test_a_re_attach_does_not_wait_for_a_visit(service: Service, pages: Pages, capabilities: Json) -> None:
    gate = pages.slow()
    keep_alive = {"url": gate.url, "interval": EVERY_S}
    session = service.create(session_id="kept", keep_alive=keep_alive, capabilities=capabilities)
    with gate.while_it_loads():
        kill(session["driver"]["pid"])
        found = expect(service.get("/sessions/kept"))["recovery"]
    assert (found["method"], found["lost"]) == ("reattached", [])
    assert found["duration_ms"] < VISIT_MS


@pytest.mark.exhaustive
@WITH_AND_WITHOUT_BIDI
def test_popups_of_the_page_leave_nothing(service: Service, pages: Pages, capabilities: Json) -> None:
    client = Driver(create_with_keep_alive(service, pages, "/opening", capabilities=capabilities))
    windows = client.windows()
    wait_until(lambda: visits(pages, "/opening") >= 3, "three visits", 20)
    wait_until(lambda: client.windows() == windows, "the tab is closed")
    assert client.run("return document.visibilityState") == "visible"


@pytest.mark.exhaustive
@WITH_AND_WITHOUT_BIDI
def test_a_page_that_leads_elsewhere_leaves_nothing(
    service: Service, pages: Pages, capabilities: Json
) -> None:
    session = create_with_keep_alive(service, pages, "/leading", capabilities=capabilities)
    client = Driver(session)
    wait_until(lambda: visits(pages, "/red") >= 5, "five visits", 30)
    wait_until(lambda: len(client.windows()) == 1, "the background tabs are closed again")


@pytest.mark.exhaustive
def test_a_leased_session_is_left_alone(service: Service, pages: Pages) -> None:
    create_with_keep_alive(service, pages, "/?leased")
    kept_alive_token = expect(service.post("/sessions/kept/lease", json={"ttl": 600}))["lease"]["token"]
    service.create(session_id="other", keep_alive={"url": pages.url("/?other"), "interval": EVERY_S})
    seen = visits(pages, "/?leased")
    wait_until(lambda: visits(pages, "/?other") >= 2, "another session is kept alive", 20)
    assert visits(pages, "/?leased") - seen <= 1  # one that was running
    expect(service.delete("/sessions/kept/lease", headers={"Lease-Token": kept_alive_token}))
    seen = visits(pages, "/?leased")
    wait_until(lambda: visits(pages, "/?leased") > seen, "it is kept alive again", 20)


def test_keep_alive_does_not_count_as_use_or_extend_the_idle_timeout(service: Service, pages: Pages) -> None:
    create_with_keep_alive(service, pages, "/?idle", idle_timeout=3)
    wait_until(lambda: visits(pages, "/?idle"), "a visit", 20)
    wait_until(lambda: "kept" not in service.listed(), "the session ends")


@pytest.mark.exhaustive
def test_an_unreachable_page_has_no_effect(service: Service, pages: Pages) -> None:
    session = service.create(session_id="kept", keep_alive={"url": "http://127.0.0.1:1/", "interval": 1})
    client = Driver(session)
    client.open(pages.url("/form"))
    service.wait_for_log("http://127.0.0.1:1/", timeout=20)
    assert expect(service.get("/sessions/kept"))["recovered"] is False
    assert client.address() == pages.url("/form")
    wait_until(lambda: len(client.windows()) == 1, "the background tab is closed again")


def test_a_page_that_never_finishes_loading_does_not_block_clients(service: Service, pages: Pages) -> None:
    gate = pages.slow()
    try:
        session = service.create(session_id="kept", keep_alive={"url": gate.url, "interval": 1})
        gate.wait_until_requested()
        client = Driver(session)
        client.open(pages.url("/form"))
        assert client.run("return 6 * 7") == 42
        expect(service.delete("/sessions/kept", timeout=20))
    finally:
        gate.release()


def test_an_invalid_keep_alive_is_refused_by_name(service: Service) -> None:
    create = partial(service.post, "/sessions")
    for keep_alive in (
        {},
        {"url": "http://localhost/"},
        {"url": "file:///etc", "interval": 5},
        {"interval": 5},
        7,
    ):
        answer = create(json={"keep_alive": keep_alive})
        expect_error(answer, 400, "invalid_request")
        assert any(name.startswith("keep_alive") for name in answer.json()["details"])
    answer = create(json={"keep_alive": {"url": "http://localhost/", "interval": -1}})
    expect_error(answer, 400, "invalid_request")
    assert service.listed() == {}
