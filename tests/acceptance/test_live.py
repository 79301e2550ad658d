"""The live view of a session: what a viewer sees, and that viewing changes nothing."""

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
"""The tolerance of a colour after JPEG compression."""
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


class Viewer:
    """A viewer of a session."""

    def __init__(self, service: Service, session_id: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=LOOK_S)
        self.connection.request("GET", f"/sessions/{session_id}/live")
        self.answer = self.connection.getresponse()

    def frame(self) -> bytes:
        """Wait for the next frame and check the shape of its part; empty if the stream has ended."""
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
def viewing(service: Service, session_id: str) -> Iterator[Viewer]:
    view = Viewer(service, session_id)
    try:
        yield view
    finally:
        view.connection.close()
        view.answer.close()


@pytest.fixture(scope="module")
def decoder(shared_service: Service) -> Driver:
    """Return a page of another session that can decode a picture."""
    return Driver(shared_service.create(session_id="decoder"))


@pytest.fixture(scope="module")
def job(shared_service: Service) -> Driver:
    """Return the session that is viewed."""
    return Driver(shared_service.create(session_id="job"))


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Yield the module's service; its sessions stay for the whole module."""
    return shared_service


def shows(decoder: Driver, picture: bytes, colour: tuple[int, int, int]) -> bool:
    """Return whether a real picture has this colour in its middle."""
    width, height, *pixel = decoder.run(DECODE, base64.b64encode(picture).decode())
    assert width > 100
    assert height > 100
    return all(abs(one - other) < NEARLY for one, other in zip(pixel, colour, strict=False))


def wait_for_colour(view: Viewer, decoder: Driver, colour: tuple[int, int, int]) -> None:
    for _ in range(MOST_FRAMES):
        picture = view.frame()
        assert picture, "the stream has ended"
        if shows(decoder, picture, colour):
            return
    message = f"{colour} was not shown in {MOST_FRAMES} frames"
    raise AssertionError(message)


def devtools_connections(service: Service, session_id: str = "job") -> int:
    """Count the connections of the service to the browser of a session."""
    port = int(service.listed()[session_id]["browser"]["debugger_address"].rpartition(":")[2])
    held = psutil.Process(service.process.pid).net_connections(kind="tcp")
    return len([one for one in held if one.raddr[1:] == (port,) and one.status == psutil.CONN_ESTABLISHED])


def test_frames_are_real_and_follow_the_page_and_the_current_window(
    service: Service, job: Driver, decoder: Driver, pages: Pages
) -> None:
    job.open(pages.url("/form"))
    with viewing(service, "job") as view:
        assert view.answer.status == 200
        assert view.answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
        wait_for_colour(view, decoder, WHITE)
        job.open(pages.url("/red"))
        wait_for_colour(view, decoder, RED)
        first = job.windows()[0]
        job.switch_to(job.new_window())
        job.open(pages.url("/form"))
        wait_for_colour(view, decoder, WHITE)
        job.close_window()
        job.switch_to(first)
        wait_for_colour(view, decoder, RED)


def test_viewing_does_not_count_as_use_and_leaves_no_connection(service: Service, job: Driver) -> None:
    before = service.report("job")
    held = devtools_connections(service)
    with viewing(service, "job") as one, viewing(service, "job") as other:
        assert one.frame()
        assert other.frame()
        during = service.report("job")
        assert devtools_connections(service) == held + 1
    assert (during["in_use"], during["last_used"]) == (False, before["last_used"])
    wait_until(lambda: devtools_connections(service) == held, "the DevTools connection is closed", LOOK_S)
    after = service.report("job")
    assert (after["in_use"], after["last_used"]) == (False, before["last_used"])


def test_viewing_does_not_disturb_commands(
    service: Service, job: Driver, decoder: Driver, pages: Pages, slow_page: Gate
) -> None:
    job.open(pages.url("/red"))

    def view() -> None:
        with slow_page.while_it_loads(), viewing(service, "job") as watcher:
            assert shows(decoder, watcher.frame(), RED)

    run_both(partial(job.open, slow_page.url), view)
    assert job.address() == slow_page.url


def test_an_image_element_shows_the_live_view(
    service: Service, job: Driver, decoder: Driver, pages: Pages
) -> None:
    job.open(pages.url("/red"))
    decoder.open(f"http://localhost:{service.port}/docs")
    decoder.run(SHOW, "/sessions/job/live")
    size = "const image = document.getElementById('live'); return [image.naturalWidth, image.naturalHeight]"
    wait_until(lambda: min(decoder.run(size)) > 100, "the image shows the session", LOOK_S)
    decoder.open("about:blank")


@pytest.mark.exhaustive
def test_the_stream_ends_with_its_session(service: Service, decoder: Driver) -> None:
    service.create(session_id="brief")
    with viewing(service, "brief") as view:
        assert view.frame()
        expect(service.delete("/sessions/brief"))
        read: Any = list(iter(view.frame, b""))
        assert len(read) < MOST_FRAMES
    assert "brief" not in service.listed()


def test_the_live_view_of_an_unknown_session_is_not_found(service: Service) -> None:
    expect_error(service.get("/sessions/unknown/live"), 404, "session_not_found")
