"""Machines with limits: a full disk, a small /dev/shm, a container without an init."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psutil
import pytest

from tests.acceptance.driver_commands import Driver
from tests.acceptance.service import Service, expect, expect_error, pids_of
from tests.machine import living, short_folder, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="only root on Linux can mount file systems and create namespaces",
)
SMALL_MB = 6


@contextmanager
def small_disk() -> Iterator[Service]:
    """Run a service whose data folder is on a disk of some megabytes."""
    service = Service(short_folder())
    service.data_dir.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m", "tmpfs", service.data_dir],
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip("this machine allows no mounts")
        try:
            yield service.start()
            service.finish()
        finally:
            subprocess.run(["umount", "--lazy", service.data_dir], check=True)
    finally:
        service.reap()


def test_a_full_disk_affects_only_new_sessions_until_space_is_free() -> None:
    with small_disk() as service:
        old = service.create()
        ballast = service.data_dir / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        error = expect_error(service.post("/sessions"), 503, "browser_unavailable")
        assert "free some" in error.lower() or "make room" in error
        assert service.listed().keys() == {old["session_id"]}
        assert expect(service.get(f"/sessions/{old['session_id']}"))["recovered"] is False
        assert {process.pid for process in service.processes()} <= pids_of(old)
        assert len(service.session_folders()) == 1
        ballast.unlink()
        new = service.create()
        for session in (old, new):
            expect(service.delete(f"/sessions/{session['session_id']}"))
        assert not any("Traceback" in line for line in service.logs())


def within(command: list[str], service: Service) -> Service:
    """Start a service inside its own namespaces."""
    service.command = [*command, *service.command]
    return service.start()


def test_a_dev_shm_as_small_as_in_a_container_crashes_no_page() -> None:
    service = Service(short_folder())
    script = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
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
