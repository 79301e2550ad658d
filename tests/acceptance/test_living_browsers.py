"""A recovery step fails while the browser lives, or its profile is intact: both are left as they are."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import requests

from drover.browser.binaries import THIS_MACHINE, find_chromedriver
from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import drivers, kill
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import wait_until_saved
from tests.acceptance.service import Json, Service, assert_no_trace, expect, expect_error, folder_of, pids_of
from tests.cases import first_or_all
from tests.machine import is_living, living, marked, wait_gone, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")

FULL_MB: Final = 320
FAILING: Final = "#!/bin/sh\nexit 1\n"
STAYING: Final = "#!/bin/sh\n'{driver}' \"$@\"\nexit $?\n"
STORE: Final = """
const done = arguments[arguments.length - 1];
const opening = indexedDB.open('desk', 1);
opening.onupgradeneeded = () => opening.result.createObjectStore('notes');
opening.onsuccess = () => {
  const change = opening.result.transaction('notes', 'readwrite');
  change.objectStore('notes').put('kept', 'note');
  change.oncomplete = () => done(true);
};
"""
READ: Final = """
const done = arguments[arguments.length - 1];
const opening = indexedDB.open('desk', 1);
opening.onupgradeneeded = () => opening.result.createObjectStore('notes');
opening.onsuccess = () => {
  const read = opening.result.transaction('notes').objectStore('notes').get('note');
  read.onsuccess = () => done(read.result || null);
};
"""


@pytest.fixture
def chromedriver(folder: Path) -> Path:
    """Return a ChromeDriver of the test's own, which it may remove and replace."""
    found = find_chromedriver(None, THIS_MACHINE)
    assert found is not None
    return Path(shutil.copy(found, folder / "chromedriver"))


def replace(path: Path, text: str) -> None:
    """Put a script in the place of a program."""
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def open_form(service: Service, pages: Pages, **fields: object) -> Json:
    """Create a session with a half-filled form."""
    session = service.create(session_id="session", **fields)
    client = Driver(session)
    client.open(pages.url("/form"))
    client.run("window.left = 42; document.getElementById('name').value = 'half a form'")
    return session


def assert_reattached(before: Json, answer: Json) -> None:
    """Assert that a recovery lost nothing."""
    assert answer["recovery"]["method"] == "reattached"
    assert answer["recovery"]["lost"] == []
    assert_form_is_kept(before, answer["session"])


def assert_form_is_kept(before: Json, after: Json) -> None:
    """Assert that a session has its browser and its page."""
    assert after["browser"] == before["browser"]
    client = Driver(after)
    assert client.run("return window.left") == 42
    assert client.run("return document.getElementById('name').value") == "half a form"


def size(folder: Path) -> int:
    """Return the bytes in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.exhaustive
@pytest.mark.parametrize("replacement", [None, FAILING, "not a program"])
def test_a_browser_is_left_alone_while_chromedriver_is_missing(
    start_service: StartService, pages: Pages, chromedriver: Path, replacement: str | None
) -> None:
    service = start_service(chromedriver=chromedriver, watch_interval=1)
    before = open_form(service, pages)
    away = chromedriver.rename(chromedriver.with_suffix(".away"))
    if replacement is not None:
        replace(chromedriver, replacement)
    kill(before["driver"]["pid"])
    # More failures in a row than crashes until recovery is paused: the browser has not crashed.
    for _ in range(7):
        message = expect_error(service.get("/sessions/session"), 503, "recovery_failed")
        assert "The browser lives and was left as it is" in message
    assert is_living(before["browser"]["pid"])
    away.replace(chromedriver)
    assert_reattached(before, expect(service.get("/sessions/session")))
    assert_no_trace(service)


@pytest.mark.exhaustive
def test_a_profile_is_kept_while_no_browser_can_be_started(
    start_service: StartService, pages: Pages, chromedriver: Path
) -> None:
    service = start_service(chromedriver=chromedriver, watch_interval=0)
    before = open_form(service, pages)
    assert Driver(before).run_async(STORE) is True
    profile, pids = folder_of(before) / "p", pids_of(before)
    away = chromedriver.rename(chromedriver.with_suffix(".away"))
    replace(chromedriver, FAILING)
    kill(before["driver"]["pid"], before["browser"]["pid"])
    wait_gone(pids)
    held = size(profile)
    expect_error(service.get("/sessions/session"), 503, "recovery_failed")
    assert size(profile) >= held
    away.replace(chromedriver)
    answer = expect(service.get("/sessions/session"))
    assert (answer["recovery"]["method"], answer["recovery"]["lost"]) == ("restored", [])
    client = Driver(answer["session"])
    client.open(pages.url("/form"))
    assert client.run_async(READ) == "kept"


@pytest.mark.exhaustive
def test_a_chrome_that_always_dies_is_not_taken_for_a_damaged_profile(
    start_service: StartService, pages: Pages, folder: Path
) -> None:
    chrome = folder / "chrome"
    real = "exec /usr/lib/chromium/chromium"
    replace(chrome, f'#!/bin/sh\n{real} "$@"\n')
    service = start_service(chrome_binary=chrome, watch_interval=0)
    before = open_form(service, pages)
    assert Driver(before).run_async(STORE) is True
    session_folder = folder_of(before)
    kill(before["driver"]["pid"], before["browser"]["pid"])
    replace(chrome, FAILING)
    expect_error(service.get("/sessions/session"), 503, "recovery_failed")
    assert [path.name for path in session_folder.glob("p*")] == ["p"]
    replace(chrome, f'#!/bin/sh\n{real} "$@"\n')
    answer = expect(service.get("/sessions/session"))
    assert (answer["recovery"]["method"], answer["recovery"]["lost"]) == ("restored", [])
    client = Driver(answer["session"])
    client.open(pages.url("/form"))
    assert client.run_async(READ) == "kept"


@pytest.mark.parametrize("killed", first_or_all(["both", "script", "driver"]))
def test_a_script_that_starts_chromedriver_and_stays_leaves_none_behind(
    start_service: StartService, pages: Pages, chromedriver: Path, folder: Path, killed: str
) -> None:
    script = folder / "start-driver"
    replace(script, STAYING.format(driver=chromedriver))
    service = start_service(chromedriver=script, watch_interval=0)
    before = open_form(service, pages)
    started = {pid for pid in pids_of(before) if pid != before["browser"]["pid"]}
    real = next(iter(drivers(service) - {before["driver"]["pid"]}))
    targets = {"script": [before["driver"]["pid"]], "driver": [real]}
    kill(*targets.get(killed, [before["driver"]["pid"], real]))
    assert started
    answer = expect(service.get("/sessions/session"))
    if killed == "script":
        # ChromeDriver itself answered until the recovery.
        assert answer["recovery"]["cause"] == "driver_gone"
    assert_reattached(before, answer)
    assert living({real, before["driver"]["pid"]}) == set()
    assert len(drivers(service)) == 1
    after = pids_of(answer["session"])
    expect(service.delete("/sessions/session"))
    wait_gone(after)
    assert marked(service.data_dir) == []


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """Return a folder on a small disk of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={FULL_MB}m,mode=700", "drover-test", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this container may not mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(path: Path) -> None:
    """Append to a file until the disk is full."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"0" * 4096):
            pass


@pytest.mark.exhaustive
def test_a_browser_is_left_alone_while_the_disk_is_full(
    small_disk: Path, start_service: StartService, pages: Pages
) -> None:
    service = start_service(data_dir=small_disk / "d", watch_interval=0)
    before = open_form(service, pages)
    filler = small_disk / "filler"
    fill(filler)
    for _ in range(3):
        # Chrome frees some space from time to time.
        fill(filler)
        kill(*drivers(service))
        answer = service.get("/sessions/session")
        # ChromeDriver writes at its start; whether it can depends on the space that is left.
        is_attached = answer.status_code == requests.codes.ok
        assert is_attached or expect_error(answer, 503, "recovery_failed")
        assert len(drivers(service)) == is_attached
        assert is_living(before["browser"]["pid"])
    filler.unlink()
    kill(*drivers(service))
    after = expect(service.get("/sessions/session"))["session"]
    assert after["last_recovery"]["method"] == "reattached"
    assert_form_is_kept(before, after)


@pytest.mark.exhaustive
def test_a_browser_whose_last_window_was_closed_gets_a_new_one(
    start_service: StartService, pages: Pages
) -> None:
    service = start_service(watch_interval=0)
    before = service.create(session_id="session")
    client = Driver(before)
    client.open(pages.url("/form"))
    client.add_cookie("memory", "only in the browser")
    wait_until_saved()
    # ChromeDriver ends the browser with its last window; a close over DevTools does not.
    requests.get(
        f"http://{before['browser']['debugger_address']}/json/close/{client.windows()[0]}", timeout=5
    )
    wait_until(lambda: service.report("session")["health"]["status"] == "dead", "the close is noticed")
    answer = expect(service.get("/sessions/session"))
    assert answer["recovery"]["cause"] == "window_gone"
    assert answer["recovery"]["method"] == "reattached"
    assert answer["session"]["browser"] == before["browser"]
    client = Driver(answer["session"])
    assert client.address() == pages.url("/form")
    assert client.cookies() == {"memory": "only in the browser"}
