"""Machines with limits: a full disk, a small /dev/shm, a container without an init."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Final

import psutil
import pytest

from tests.acceptance.disks import MEGABYTE, Disk
from tests.acceptance.driver_commands import Driver
from tests.acceptance.service import Service, expect, expect_error, pids_of
from tests.acceptance.test_selenium_files import archive
from tests.machine import living, short_folder, wait_until

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None,
        reason="only root on Linux can mount file systems and create namespaces",
    ),
]


@pytest.fixture
def disk() -> Iterator[tuple[Service, Disk]]:
    """Run a service whose data folder is a disk of its own."""
    service = Service(short_folder(), watch_interval=0)
    service.data_dir.mkdir()
    disk = Disk(service.data_dir)
    try:
        if not disk.mount():
            pytest.skip("this machine allows no mounts")
        try:
            yield service.start(), disk
            service.finish()
        finally:
            disk.unmount()
    finally:
        service.reap()


def health(service: Service) -> int:
    return service.get("/health").status_code


@pytest.mark.parametrize(
    ("fill", "found"),
    [
        (lambda disk: disk.leave(190), r"only \d+ MB \(\d+\.\d %\) free"),
        (lambda disk: disk.leave(1), r"only \d+ MB \(\d+\.\d %\) free"),
        (lambda disk: disk.leave_files(0), r"only 0 inodes left"),
    ],
    ids=["little space", "no space", "no inode"],
)
def test_a_full_disk_affects_only_new_sessions_until_there_is_room(
    disk: tuple[Service, Disk], fill: Callable[[Disk], None], found: str
) -> None:
    service, volume = disk
    old = service.create(session_id="old")
    fill(volume)
    wait_until(lambda: health(service) == 503, "the service is unhealthy")
    assert re.search(found, service.get("/health").json()["reason"])
    for request in ({}, {"session_id": "new"}, {"key": "new"}):
        assert re.search(
            found, expect_error(service.post("/sessions", json=request), 503, "storage_unavailable")
        )
    assert re.search(found, service.post("/wd/hub/session", json={"capabilities": {}}).text)
    assert expect(service.get("/sessions/old"))["recovered"] is False
    assert Driver(old).run("return 6 * 7") == 42
    assert {process.pid for process in service.processes()} <= pids_of(old)
    assert len(service.session_folders()) == 1
    volume.leave(900)
    volume.leave_files(10_000)
    wait_until(lambda: health(service) == 200, "the service is healthy")
    new = service.create()
    for session in (old, new):
        expect(service.delete(f"/sessions/{session['session_id']}"))
    assert not any("Traceback" in line for line in service.logs())


def test_an_upload_that_the_disk_has_no_room_for_says_so(disk: tuple[Service, Disk]) -> None:
    service, volume = disk
    service.create(session_id="old")
    upload = {"file": archive(("own.bin", os.urandom(8 * MEGABYTE)))}
    volume.leave(1)
    answer = service.post("/wd/hub/session/old/se/file", json=upload)
    value = answer.json()["value"]
    assert (answer.status_code, value["data"]["code"]) == (503, "storage_unavailable")
    assert "No space left on device" in value["message"]
    volume.leave(100)
    assert service.post("/wd/hub/session/old/se/file", json=upload).status_code == 200


def within(command: list[str], service: Service) -> Service:
    """Start a service inside its own namespaces."""
    service.command = [*command, *service.command]
    return service.start()


def test_a_dev_shm_as_small_as_in_a_container_crashes_no_page() -> None:
    service = Service(short_folder())
    # A container has 64 MB. Chrome 150 takes more than 1 MB of it in spite of the switch, a bare one as well.
    script = 'mount -t tmpfs -o size=4m tmpfs /dev/shm && exec "$@"'
    try:
        within(["unshare", "--mount", "sh", "-c", script, "sh"], service)
        session = service.create()
        assert "--disable-dev-shm-usage" in psutil.Process(session["browser"]["pid"]).cmdline()
        driver = Driver(session)
        drawn = "const c = document.createElement('canvas'); c.width = c.height = 3000; "
        assert driver.run(drawn + "document.body.append(c); return c.toDataURL().length") > 0
        assert Driver(service.listed().popitem()[1]).run("return 6 * 7") == 42
        service.finish()
    finally:
        service.reap()


# How the scripts that start Google Chrome, Edge, Brave and Vivaldi end.
WRAPPER: Final = """#!/bin/bash
HERE=/usr/lib/chromium
exec < /dev/null
exec > >(exec cat)
exec 2> >(exec cat >&2)
exec "$HERE/chromium" "$@"
"""


def zombies(pid: int) -> set[int]:
    """Return the defunct children of a process."""
    children = psutil.Process(pid).children()
    return {child.pid for child in children if child.status() == psutil.STATUS_ZOMBIE}


def test_as_the_first_process_of_a_container_it_reaps_everything_that_it_inherits() -> None:
    service = Service(short_folder())
    wrapper = service.folder / "chrome"
    wrapper.write_text(WRAPPER)
    wrapper.chmod(0o755)
    service.settings["chrome_binary"] = wrapper
    try:
        within(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"], service)
        (app,) = psutil.Process(service.process.pid).children()
        inside = ["nsenter", f"--target={app.pid}", "--pid", "--mount"]
        for leave in ("sleep 0.1 & exec setsid sleep 0.1", "setsid --fork sleep 0.1"):
            subprocess.run([*inside, "sh", "-c", leave], check=True)
        for _ in range(2):
            session = service.create()
            expect(service.delete(f"/sessions/{session['session_id']}"))
        wait_until(lambda: zombies(app.pid) == set(), "no defunct process is left", 15)
        app.send_signal(signal.SIGTERM)
        assert service.wait_for_exit() == 0
        assert not living([app.pid])
    finally:
        service.reap()


def test_a_user_without_a_home_folder_and_a_name_can_run_it() -> None:
    service = Service(short_folder(), chrome_args="--no-sandbox")
    service.folder.chmod(0o777)
    service.folder.parent.chmod(0o711)
    own_user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    if subprocess.run([*own_user, sys.executable, "-c", ""], check=False).returncode != 0:
        pytest.skip("another user cannot run this Python")
    try:
        within(["env", "--unset=HOME", *own_user], service)
        assert Driver(service.create()).run("return 6 * 7") == 42
        service.finish()
    finally:
        service.reap()
