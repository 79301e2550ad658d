"""What a web page writes to the disk is limited: downloads that never end, and storage that grows."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from drover.storage.profile_contents import disk_usage
from tests.acceptance.clients import new_session
from tests.acceptance.pages import Pages
from tests.acceptance.service import Service, running
from tests.machine import wait_until

DOWNLOADS_MB: Final = 20
PROFILE_MB: Final = 60
MIB: Final = 1024 * 1024
CHUNK: Final = b"x" * 64 * 1024
FILL: Final = """
const [pages, done] = arguments;
caches.open('big')
    .then(async (cache) => {
        for (let page = 0; page < pages; page++)
            await cache.put('/' + page, new Response(new Uint8Array(10 * 1024 * 1024)));
    })
    .then(() => done('filled'), (error) => done(String(error)));
"""


class EndlessFile:
    """A server whose only file never ends; it is sent until the browser cancels the download."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        file = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Disposition", "attachment; filename=endless.bin")
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(CHUNK)
                except OSError:
                    file.cancelled.set()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
                """Write no log."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> EndlessFile:  # noqa: PYI034 - `Self` needs Python 3.11
        """Start to listen."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endless_file() -> Iterator[EndlessFile]:
    with EndlessFile() as file:
        yield file


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    with running(max_downloads_mb=DOWNLOADS_MB, max_profile_mb=PROFILE_MB) as service:
        yield service


@pytest.fixture
def driver(service: Service) -> Iterator[WebDriver]:
    with new_session(service) as driver:
        yield driver


def reason_of(service: Service, driver: WebDriver) -> str:
    """Return the reason that the session's health gives, or an empty text."""
    health = service.listed()[str(driver.session_id)]["health"]
    assert health["status"] != "dead"
    return health["reason"] or ""


@pytest.mark.parametrize("own_folder", [False, True], ids=["its folder", "a folder of the client"])
def test_downloads_over_the_limit_are_cancelled_and_the_session_says_so(
    service: Service, driver: WebDriver, endless_file: EndlessFile, folder: Path, own_folder: bool
) -> None:
    if own_folder:
        behavior = {"behavior": "allow", "downloadPath": str(folder)}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
    driver.execute_script("window.location = arguments[0]", endless_file.url)
    wait_until(endless_file.cancelled.is_set, "the download is cancelled", 60)
    wait_until(lambda: f"exceed {DOWNLOADS_MB} MB" in reason_of(service, driver), "the session says so")
    wait_until(lambda: not list(folder.rglob("*.crdownload")), "nothing of the download is left")
    assert driver.execute_script("return 1") == 1


def test_a_download_below_the_limit_is_left_alone(service: Service, driver: WebDriver, pages: Pages) -> None:
    driver.get(pages.url())
    driver.execute_script(
        "const link = document.createElement('a'); link.download = 'small.txt';"
        "link.href = URL.createObjectURL(new Blob(['small'])); link.click()"
    )
    files = f"/wd/hub/session/{driver.session_id}/se/files"
    wait_until(lambda: service.get(files).json()["value"]["names"] == ["small.txt"], "it is complete", 20)
    assert reason_of(service, driver) == ""


@pytest.mark.exhaustive
def test_a_profile_over_the_limit_loses_its_caches_and_storage_but_no_login(
    service: Service, driver: WebDriver, pages: Pages
) -> None:
    driver.get(pages.url("/form"))
    driver.add_cookie({"name": "login", "value": "kept", "expiry": 2_000_000_000})
    driver.execute_script("localStorage.login = 'kept'; window.unsaved = 'kept'")
    driver.set_script_timeout(60)
    driver.execute_async_script(FILL, 2 * PROFILE_MB // 10)
    wait_until(lambda: f"over {PROFILE_MB} MB" in reason_of(service, driver), "the session says so", 60)
    assert pages.url().rstrip("/") in reason_of(service, driver)
    session_folder = next(iter(service.session_folders()))
    wait_until(lambda: disk_usage(session_folder) < PROFILE_MB * MIB, "the profile is small", 20)
    assert driver.get_cookie("login") is not None
    assert driver.execute_script("return [localStorage.login, window.unsaved]") == ["kept", "kept"]
