"""The picture of a session."""

import struct
import sys
from functools import partial

import psutil
import pytest

from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Service, expect, expect_error
from tests.machine import run_both

PNG = b"\x89PNG\r\n\x1a\n"


def picture(service: Service, session_id: str) -> bytes:
    """Take a picture and hold it to being one."""
    response = service.get(f"/sessions/{session_id}/screenshot")
    assert response.status_code == 200, response.text[:500]
    assert response.headers["Content-Type"] == "image/png"
    assert response.content.startswith(PNG)
    assert response.content.endswith(b"IEND\xaeB`\x82")
    return response.content


def test_it_shows_the_page_as_it_is(service: Service, pages: Pages) -> None:
    options = {"args": ["--window-size=640,480"]}
    session = service.create(
        session_id="seen", url=pages.url("/red"), capabilities={"goog:chromeOptions": options}
    )
    red = picture(service, "seen")
    width, _ = struct.unpack(">II", red[16:24])
    assert width == 640
    Driver(session).open(pages.url("/form"))
    assert picture(service, "seen") != red
    assert Driver(session).address() == pages.url("/form")


def test_it_is_no_use(service: Service) -> None:
    before = service.create(session_id="seen")
    picture(service, "seen")
    assert service.report("seen")["last_used"] == before["last_used"]


def test_of_a_session_that_does_not_exist_there_is_none(service: Service) -> None:
    expect_error(service.get("/sessions/nobody/screenshot"), 404, "session_not_found")


def test_of_a_loading_page_there_is_an_answer(service: Service, slow_page: Gate) -> None:
    session = service.create(session_id="loading")

    def look() -> int:
        with slow_page.while_it_loads():
            response = service.get("/sessions/loading/screenshot", timeout=40)
        return response.status_code

    _, status = run_both(partial(Driver(session).open, slow_page.url), look)
    assert status in {200, 503}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_of_a_dead_session_there_is_an_answer(service: Service) -> None:
    session = service.create(session_id="dead")
    psutil.Process(session["driver"]["pid"]).kill()
    psutil.Process(session["browser"]["pid"]).kill()
    response = service.get("/sessions/dead/screenshot", timeout=40)
    assert response.status_code in {200, 503}
    assert response.status_code == 200 or expect(response, 503)["error"]
