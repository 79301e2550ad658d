"""Live pictures of a session: what somebody sees who looks, and that looking changes nothing."""

from __future__ import annotations

import base64
import contextlib
import http.client
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import psutil
import pytest

from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Service, expect, expect_error
from tests.machine import run_both, wait_until

LOOK_S: Final = 30.0
MOST_FRAMES: Final = 200
RED: Final = (255, 0, 0)
WHITE: Final = (255, 255, 255)
NEARLY: Final = 12
"""How far a colour may be off after it was a JPEG."""
DECODE: Final = """
const image = new Image();
image.src = 'data:image/jpeg;base64,' + arguments[0];
return image.decode().then(() => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const pixel = context.getImageData(image.naturalWidth >> 1, image.naturalHeight >> 1, 1, 1).data;
    return [canvas.width, canvas.height, ...pixel];
});
"""
SHOW: Final = """
const image = new Image();
image.id = 'live';
image.src = arguments[0];
document.body.replaceChildren(image);
"""


class Look:
    """Somebody who looks at a session."""

    def __init__(self, service: Service, session_id: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=LOOK_S)
        self.connection.request("GET", f"/sessions/{session_id}/live")
        self.answer = self.connection.getresponse()

    def frame(self) -> bytes:
        """Wait for the next frame, and hold it to the shape of a part; empty where the stream has ended."""
        length = None
        while (line := self.answer.readline()) != b"":
            name, _, value = line.strip().partition(b":")
            if name.lower() == b"content-type":
                assert value.strip() == b"image/jpeg"
            elif name.lower() == b"content-length":
                length = int(value)
            elif line.strip() == b"" and length is not None:
                picture = self.answer.read(length)
                assert picture.startswith(b"\xff\xd8\xff")
                assert picture.endswith(b"\xff\xd9")
                return picture
        return b""


@contextlib.contextmanager
def looking(service: Service, session_id: str) -> Iterator[Look]:
    look = Look(service, session_id)
    try:
        yield look
    finally:
        look.connection.close()
        look.answer.close()


@pytest.fixture(scope="module")
def decoder(shared_service: Service) -> Driver:
    """Give a page of another session that can tell what is on a picture."""
    return Driver(shared_service.create(session_id="decoder"))


@pytest.fixture(scope="module")
def job(shared_service: Service) -> Driver:
    """Give the session that is looked at."""
    return Driver(shared_service.create(session_id="job"))


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Give the module's service; its sessions stay for the whole module."""
    return shared_service


def shows(decoder: Driver, picture: bytes, colour: tuple[int, int, int]) -> bool:
    """Tell whether a real picture has this colour in its middle."""
    width, height, *pixel = decoder.run(DECODE, base64.b64encode(picture).decode())
    assert width > 100
    assert height > 100
    return all(abs(one - other) < NEARLY for one, other in zip(pixel, colour, strict=False))


def wait_for_colour(look: Look, decoder: Driver, colour: tuple[int, int, int]) -> None:
    for _ in range(MOST_FRAMES):
        picture = look.frame()
        assert picture, "the stream has ended"
        if shows(decoder, picture, colour):
            return
    message = f"{colour} was not shown in {MOST_FRAMES} frames"
    raise AssertionError(message)


def devtools_connections(service: Service, session_id: str = "job") -> int:
    """Count the connections that the service holds to the browser of a session."""
    port = int(service.listed()[session_id]["browser"]["debugger_address"].rpartition(":")[2])
    held = psutil.Process(service.process.pid).net_connections(kind="tcp")
    return len([one for one in held if one.raddr[1:] == (port,) and one.status == psutil.CONN_ESTABLISHED])


def test_pictures_are_real_and_follow_the_page_and_the_window_in_front(
    service: Service, job: Driver, decoder: Driver, pages: Pages
) -> None:
    job.open(pages.url("/form"))
    with looking(service, "job") as look:
        assert look.answer.status == 200
        assert look.answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
        wait_for_colour(look, decoder, WHITE)
        job.open(pages.url("/red"))
        wait_for_colour(look, decoder, RED)
        first = job.windows()[0]
        job.switch_to(job.new_window())
        job.open(pages.url("/form"))
        wait_for_colour(look, decoder, WHITE)
        job.close_window()
        job.switch_to(first)
        wait_for_colour(look, decoder, RED)


def test_a_look_is_no_use_and_leaves_no_connection(service: Service, job: Driver) -> None:
    before = service.report("job")
    held = devtools_connections(service)
    with looking(service, "job") as one, looking(service, "job") as other:
        assert one.frame()
        assert other.frame()
        during = service.report("job")
        assert devtools_connections(service) == held + 1
    assert (during["in_use"], during["last_used"]) == (False, before["last_used"])
    wait_until(lambda: devtools_connections(service) == held, "the DevTools connection is closed", LOOK_S)
    after = service.report("job")
    assert (after["in_use"], after["last_used"]) == (False, before["last_used"])


def test_a_look_disturbs_no_command(
    service: Service, job: Driver, decoder: Driver, pages: Pages, slow_page: Gate
) -> None:
    job.open(pages.url("/red"))

    def look() -> None:
        with slow_page.while_it_loads(), looking(service, "job") as watcher:
            assert shows(decoder, watcher.frame(), RED)

    run_both(partial(job.open, slow_page.url), look)
    assert job.address() == slow_page.url


def test_an_image_shows_it(service: Service, job: Driver, decoder: Driver, pages: Pages) -> None:
    job.open(pages.url("/red"))
    decoder.open(f"http://localhost:{service.port}/docs")
    decoder.run(SHOW, "/sessions/job/live")
    size = "const image = document.getElementById('live'); return [image.naturalWidth, image.naturalHeight]"
    wait_until(lambda: min(decoder.run(size)) > 100, "the image shows the session", LOOK_S)
    decoder.open("about:blank")


def test_the_stream_ends_with_its_session(service: Service, decoder: Driver) -> None:
    service.create(session_id="brief")
    with looking(service, "brief") as look:
        assert look.frame()
        expect(service.delete("/sessions/brief"))
        read: Any = list(iter(look.frame, b""))
        assert len(read) < MOST_FRAMES
    assert set(service.listed()) == {"job", "decoder"}


def test_there_is_nothing_to_see_of_a_session_that_does_not_exist(service: Service) -> None:
    expect_error(service.get("/sessions/nobody/live"), 404, "session_not_found")
