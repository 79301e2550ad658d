"""The programs around the service on Windows: run.py, the scheduled task, consoles, and Python itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil
import pytest

from drover.net.loopback import connect
from tests.acceptance.driver_commands import Driver
from tests.acceptance.service import APP, START_S, STOP_S, Service, assert_nothing_left
from tests.machine import (
    IS_WINE,
    PATIENCE,
    close_console,
    free_port,
    is_living,
    press_ctrl_break,
    wait_gone,
    wait_until,
)
from tests.windows.programs import run_app

pytestmark = pytest.mark.skipif(os.name != "nt", reason="run them with tests/windows/world test")

ROOT: Final = APP.parent
TASK: Final = ROOT / "deploy" / "windows_task.py"
# What run.py does when everything is set up; the world's Python can make no virtual environment.
RUN: Final = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import run
sys.exit(run.become([sys.executable, {str(APP)!r}]))
"""
NEEDS_WINDOWS: Final = pytest.mark.skipif(IS_WINE, reason="Wine raises no event but Ctrl-C")


def end_and_adopt(service: Service) -> None:
    """End the program above the service: the service ends with it, and the next start adopts the browser."""
    before = service.create(session_id="session")
    Driver(before).run("window.left = 42")
    below = {process.pid for process in psutil.Process(service.process.pid).children()}
    service.kill()
    wait_gone(below, STOP_S)
    assert is_living(before["browser"]["pid"])
    service.start()
    after = service.listed()["session"]
    assert after["browser"] == before["browser"]
    assert Driver(after).run("return window.left") == 42


def test_the_end_of_run_py_ends_the_service_and_ctrl_c_stops_both_in_order(folder: Path) -> None:
    service = Service(folder)
    service.command = [sys.executable, "-c", RUN]
    try:
        service.start()
        end_and_adopt(service)
        service.finish()
    finally:
        service.reap()


def test_the_scheduled_task_has_a_log_and_a_stop_and_its_end_costs_no_browser(folder: Path) -> None:
    log = folder / "drover.log"
    service = Service(folder)
    service.command = [str(Path(sys.executable).with_name("pythonw.exe")), str(TASK), str(log)]
    try:
        service.start()
        end_and_adopt(service)
        stopped = subprocess.run(
            [sys.executable, str(TASK), "stop"], stdin=subprocess.DEVNULL, timeout=START_S, check=False
        )
        assert stopped.returncode == 0
        assert service.wait_for_exit() == 0
        assert_nothing_left(service)
        text = log.read_text(encoding="utf-8")
        assert "SIGINT" in text, text
        assert "Traceback" not in text, text
    finally:
        service.reap()


@NEEDS_WINDOWS
def test_ctrl_break_stops_in_order(folder: Path) -> None:
    service = Service(folder)
    try:
        service.start().create()
        press_ctrl_break(service.process.pid)
        assert service.wait_for_exit() == 0
        assert_nothing_left(service)
    finally:
        service.reap()


@NEEDS_WINDOWS
def test_a_closed_console_ends_every_browser_and_the_next_start_restores(folder: Path) -> None:
    service = Service(folder)
    try:
        service.start().create(session_id="session")
        close_console(service.process.pid)
        service.wait_for_exit()
        wait_until(lambda: not service.processes(), "the browsers are gone", STOP_S)
        service.start()
        assert "session" in service.listed()
        service.finish()
    finally:
        service.reap()


def test_a_refused_connection_is_reported_before_a_probe_gives_up() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        connect("127.0.0.1", port, 1.9 * PATIENCE)


def test_a_home_folder_of_an_unknown_user_is_refused(folder: Path) -> None:
    done = run_app(folder, data_dir="~nobody/d")
    assert done.returncode == 2, done
    assert "~nobody" in done.stderr


@pytest.mark.skipif(not IS_WINE, reason="needs a Python that can be copied")
def test_the_doctor_warns_of_a_python_from_the_microsoft_store(folder: Path) -> None:
    python = folder / "WindowsApps" / "Python"
    shutil.copytree(sys.base_prefix, python, ignore=shutil.ignore_patterns("site"))
    paths = next(python.glob("python*._pth"))
    paths.write_text("\n".join([f"{paths.stem}.zip", ".", *sys.path[1:], "import site"]), encoding="utf-8")
    done = run_app(folder, "doctor", python=python / "python.exe")
    assert "Microsoft Store" in done.stdout, done
