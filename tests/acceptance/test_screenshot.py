"""Screenshots of a session."""

import struct
import sys
from functools import partial

import psutil
import pytest

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Service, expect, expect_error
from tests.machine import run_both

PNG = b"\x89PNG\r\n\x1a\n"


def screenshot(service: Service, session_id: str) -> bytes:
    """Take a screenshot and assert that it is a picture."""
    response = service.get(f"/sessions/{session_id}/screenshot")
    assert response.status_code == 200, response.text[:500]
    assert response.headers["Content-Type"] == "image/png"
    assert response.content.startswith(PNG)
    assert response.content.endswith(b"IEND\xaeB`\x82")
    return response.content


def test_it_shows_the_current_page(service: Service, pages: Pages) -> None:
    options = {"args": ["--window-size=640,480"]}
    session = service.create(
        session_id="seen", url=pages.url("/red"), capabilities={"goog:chromeOptions": options}
    )
    red = screenshot(service, "seen")
    width, _ = struct.unpack(">II", red[16:24])
    assert width == 640
    Driver(session).open(pages.url("/form"))
    assert screenshot(service, "seen") != red
    assert Driver(session).address() == pages.url("/form")


def test_it_does_not_count_as_use(service: Service) -> None:
    before = service.create(session_id="seen")
    screenshot(service, "seen")
    assert service.report("seen")["last_used"] == before["last_used"]


@pytest.mark.exhaustive
def test_a_dead_session_is_not_recovered_for_one_that_only_looks(start_service: StartService) -> None:
    service = start_service(watch_interval=0)
    session = service.create(session_id="dead")
    looking = "/sessions/dead/screenshot?recover=false"
    assert service.get(looking).content.startswith(PNG)
    kill(session["browser"]["pid"])
    expect_error(service.get(looking), 503, "browser_unavailable")
    assert service.report("dead")["recoveries"] == 0
    screenshot(service, "dead")
    assert service.report("dead")["recoveries"] == 1


def test_an_unknown_session_is_not_found(service: Service) -> None:
    expect_error(service.get("/sessions/unknown/screenshot"), 404, "session_not_found")


def test_a_loading_page_gets_an_answer(service: Service, slow_page: Gate) -> None:
    session = service.create(session_id="loading")

    def take_screenshot() -> int:
        with slow_page.while_it_loads():
            response = service.get("/sessions/loading/screenshot", timeout=40)
        return response.status_code

    _, status = run_both(partial(Driver(session).open, slow_page.url), take_screenshot)
    assert status in {200, 503}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_dead_session_gets_an_answer(service: Service) -> None:
    session = service.create(session_id="dead")
    psutil.Process(session["driver"]["pid"]).kill()
    psutil.Process(session["browser"]["pid"]).kill()
    response = service.get("/sessions/dead/screenshot", timeout=40)
    assert response.status_code in {200, 503}
    assert response.status_code == 200 or expect(response, 503)["error"]
