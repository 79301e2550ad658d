"""Files of a session through Selenium's own client: uploads to pages, and downloads."""

from __future__ import annotations

import base64
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.file_detector import LocalFileDetector
from selenium.webdriver.remote.webdriver import WebDriver

from tests.acceptance.clients import chrome_options, new_session
from tests.acceptance.pages import Pages
from tests.acceptance.service import Service, folder_of
from tests.machine import wait_until

SAVE: Final = """
const link = document.createElement('a');
link.href = URL.createObjectURL(new Blob([arguments[1]]));
link.download = arguments[0];
link.textContent = 'save';
document.body.replaceChildren(link);
"""
READ: Final = "return document.querySelector('input').files[0].text().then(text => [text, %s])"
NAME_OF_FILE: Final = "document.querySelector('input').files[0].name"
BAD_NAMES: Final = [
    "../up.txt",
    "..",
    ".",
    "/etc/passwd",
    "a/b.txt",
    "..\\up.txt",
    "C:\\up.txt",
    "line\nfeed",
]
TOO_LARGE: Final = 200 * 1024 * 1024
TOO_LARGE_BODY: Final = 180 * 1024 * 1024


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Yield the module's service; its session stays for the whole module."""
    return shared_service


@pytest.fixture(scope="module")
def driver(shared_service: Service) -> Iterator[WebDriver]:
    options = chrome_options(session_id="files")
    options.enable_downloads = True
    with new_session(shared_service, options) as driver:
        driver.file_detector = LocalFileDetector()
        yield driver
        driver.quit()


def save(driver: WebDriver, name: str, content: str) -> None:
    """Let the page offer a file, click on it as a person does, and wait until it is downloaded."""
    driver.execute_script(SAVE, name, content)
    driver.find_element(By.TAG_NAME, "a").click()
    wait_until(lambda: name in driver.get_downloadable_files(), f"{name} is there")


def archive(*entries: tuple[str, bytes]) -> str:
    """Return a zip archive in base64."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in entries:
            target.writestr(name, content)
    return base64.b64encode(packed.getvalue()).decode()


def send_command(service: Service, path: str, **body: object) -> tuple[int, Any]:
    """Send one command about the files of the session; return the status and `value`."""
    answer = service.post(f"/wd/hub/session/files{path}", json=body)
    return answer.status_code, answer.json()["value"]


def everything_below(service: Service) -> set[Path]:
    """Return every file of the session except Chrome's and ChromeDriver's own."""
    home = folder_of(service.listed()["files"])
    own = (home / "p", home / "t")
    return {
        path
        for path in home.rglob("*")
        if path.is_file() and not any(path.is_relative_to(one) for one in own) and path.suffix != ".log"
    }


def test_a_file_of_the_clients_machine_reaches_the_page(
    driver: WebDriver, pages: Pages, tmp_path: Path
) -> None:
    own = tmp_path / "grüße aus köln.txt"
    own.write_text("hello, page", encoding="utf-8")
    driver.get(pages.url())
    driver.execute_script("document.body.innerHTML = '<input type=file>'")
    driver.find_element(By.TAG_NAME, "input").send_keys(str(own))
    assert driver.execute_script(READ % NAME_OF_FILE) == ["hello, page", own.name]


def test_downloads_are_listed_fetched_and_deleted(driver: WebDriver, pages: Pages, tmp_path: Path) -> None:
    driver.get(pages.url())
    assert driver.get_downloadable_files() == []
    content = "line\n" * 10_000
    for name in ("report.txt", "zweiter bericht.txt"):
        save(driver, name, content)
    assert sorted(driver.get_downloadable_files()) == ["report.txt", "zweiter bericht.txt"]
    driver.download_file("report.txt", str(tmp_path))
    assert (tmp_path / "report.txt").read_text(encoding="utf-8") == content
    with pytest.raises(WebDriverException, match=r"nothing\.txt"):
        driver.download_file("nothing.txt", str(tmp_path))
    driver.delete_downloadable_files()
    assert driver.get_downloadable_files() == []


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_file_name_escapes_the_folder(service: Service, driver: WebDriver, name: str) -> None:
    before = everything_below(service)
    status, refused = send_command(service, "/se/file", file=archive((name, b"evil")))
    assert (status, refused["error"]) == (400, "invalid argument")
    status, refused = send_command(service, "/se/files", name=name)
    assert (status, refused["error"]) == (400, "invalid argument")
    assert everything_below(service) == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no base64 at all!",
        base64.b64encode(b"no archive").decode(),
        archive(),
        archive(("one", b"1"), ("two", b"2")),
        archive(("folder/", b"")),
        17,
        None,
        ["a"],
    ],
    ids=lambda content: str(content)[:12],
)
def test_only_an_archive_of_one_file_is_accepted(
    service: Service, driver: WebDriver, content: object
) -> None:
    before = everything_below(service)
    status, refused = send_command(service, "/se/file", file=content)
    assert (status, refused["error"]) == (400, "invalid argument")
    assert everything_below(service) == before


def test_a_zip_bomb_is_refused_without_being_unpacked(service: Service, driver: WebDriver) -> None:
    bomb = archive(("bomb", bytes(TOO_LARGE)))
    assert len(bomb) < TOO_LARGE / 100
    process = psutil.Process(service.process.pid)
    before, files = process.memory_info().rss, everything_below(service)
    for _ in range(3):
        status, refused = send_command(service, "/se/file", file=bomb)
        assert (status, refused["error"]) == (413, "invalid argument")
    assert everything_below(service) == files
    assert process.memory_info().rss - before < TOO_LARGE


@pytest.mark.exhaustive
def test_a_file_of_fifty_megabytes_that_cannot_be_compressed_is_stored(
    service: Service, driver: WebDriver, tmp_path: Path
) -> None:
    assert driver.title is not None
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(50 * 1024 * 1024))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.write(large, large.name)
    status, path = send_command(service, "/se/file", file=base64.b64encode(content.getvalue()).decode())
    assert status == 200
    assert Path(str(path)).stat().st_size == large.stat().st_size


def test_a_body_larger_than_the_limit_is_refused(service: Service, driver: WebDriver) -> None:
    status, refused = send_command(service, "/se/file", file="A" * TOO_LARGE_BODY)
    assert (status, refused["error"]) == (413, "invalid argument")
    assert driver.title is not None


def test_a_link_among_the_downloads_is_not_followed(service: Service, driver: WebDriver) -> None:
    driver.get("about:blank")
    save(driver, "real.txt", "real")
    (real,) = [path for path in everything_below(service) if path.name == "real.txt"]
    (real.parent / "link.txt").symlink_to("/etc/passwd")
    assert driver.get_downloadable_files() == ["real.txt"]
    assert send_command(service, "/se/files", name="link.txt")[0] == 400


def test_closing_a_session_removes_its_files(service: Service, pages: Pages, tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("mine", encoding="utf-8")
    with new_session(service, session_id="brief") as driver:
        home = folder_of(service.listed()["brief"])
        driver.file_detector = LocalFileDetector()
        driver.get(pages.url())
        driver.execute_script("document.body.innerHTML = '<input type=file>'")
        driver.find_element(By.TAG_NAME, "input").send_keys(str(own))
        save(driver, "saved.txt", "saved")
        names = {path.name for path in home.rglob("*")}
        assert {"mine.txt", "saved.txt"} <= names
        driver.quit()
    assert not home.exists()
    assert own.exists()
