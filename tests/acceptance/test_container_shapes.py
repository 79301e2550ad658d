"""ChromeDrivers in containers: a living program's is never ended, and an orphan with everything it drives."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest
import requests

from tests.acceptance.cleanups import verdicts
from tests.acceptance.container_shapes import (
    ENDED,
    FIRSTS,
    SPARED,
    STARTERS,
    Shape,
    driver_command,
    in_shell,
    outcome,
    parent_shell,
    run_starter,
    wait_for_driver,
)
from tests.acceptance.containers import NAMESPACE, can_have_containers, container
from tests.acceptance.foreign_programs import START_S, copied
from tests.acceptance.service import APP, Service, expect
from tests.machine import is_listening, living, marked, short_folder, wait_gone, wait_until

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not can_have_containers(), reason="needs Linux, root, unshare and nsenter"),
]

TOOLS: Final = {"tini": "tini", "python": sys.executable, "bash": "bash", "supervisord": "supervisord"}
"""First processes that are tried here; bench/container_shapes.py tries all."""


def needs(first: str) -> None:
    """Skip the test if a first process is not installed."""
    if shutil.which(TOOLS[first]) is None:
        pytest.skip(f"{first} is not installed")


@pytest.mark.parametrize("first", [name for name in FIRSTS if name in TOOLS])
@pytest.mark.parametrize("way", ["in the foreground", "`&`"])
@pytest.mark.parametrize("lives", [True, False], ids=["program lives", "program has ended"])
def test_a_driver_is_ended_only_if_an_init_has_adopted_it_from_a_dead_program(
    folder: Path, first: str, way: str, *, lives: bool
) -> None:
    needs(first)
    shape = Shape(first, way, lives)
    assert shape.run(folder)[0] == (ENDED if first == "tini" and not lives else SPARED)


@pytest.mark.parametrize("name", [name for name in STARTERS if "os.system" in name])
def test_the_driver_of_a_living_script_is_spared(folder: Path, name: str) -> None:
    needs("tini")
    found, reason = run_starter(name, folder)
    assert (found, "may still run" in reason) == (SPARED, True)


PROVEN: Final = "ChromeDriver without a session; the program that started it has ended"
START_BOTH: Final = """
import subprocess, sys
subprocess.Popen(sys.argv[2:])
subprocess.run([sys.executable, sys.argv[1]])
"""
"""A program that uses a ChromeDriver of its own, and starts Drover."""


@contextlib.contextmanager
def service_of_a_program(driver_name: str = "chromedriver") -> Iterator[tuple[Service, psutil.Process]]:
    """Run a container whose first process is a Python program with a ChromeDriver, and with Drover."""
    service = Service(short_folder(), cleanup_scope="system", watch_interval=0)
    (service.folder / "program").mkdir()
    driver = driver_command(service.folder, copied("chromedriver", service.folder / "program" / driver_name))
    service.command = [*NAMESPACE, sys.executable, "-c", START_BOTH, str(APP), *driver]
    try:
        yield service.start(), wait_for_driver(service.folder)
    finally:
        service.reap()


def test_a_first_process_that_starts_drover_keeps_its_own_driver() -> None:
    with service_of_a_program() as (service, driver):
        session = service.create(session_id="session")
        own = wait_until(lambda: _drivers_of(service), "the session's ChromeDriver")
        for process in own:
            process.kill()
        recovery = expect(service.get("/sessions/session"))["recovery"]
        assert (session["session_id"], recovery["orphans_killed"]) == ("session", 0)
        assert living([driver.pid]) == {driver.pid}


def _drivers_of(service: Service) -> list[psutil.Process]:
    return [one for one in marked(service.data_dir) if one.name() == "chromedriver"]


@pytest.mark.parametrize("name", ["chromedriver-156.0.8078.79", "chromedriver-linux64", "msedgedriver"])
def test_an_emergency_ends_a_driver_under_each_name_that_images_give_it(name: str) -> None:
    with service_of_a_program(name) as (service, driver):
        rows = [row for row in verdicts(service).values() if row["name"] == name]
        assert [(row["role"], row["verdict"]) for row in rows] == [("driver", "orphan")]
        answer = expect(service.post("/emergency_recovery"))
        assert answer["killed_count"] >= 1
        assert living([driver.pid]) == set()


def headless_shell() -> str:
    """Return Debian's headless shell, or skip the test."""
    found = Path("/usr/lib/chromium/chromium-headless-shell")
    if not found.exists():
        pytest.skip("chromium-headless-shell is not installed")
    return str(found)


def brave(folder: Path) -> str:
    """Return Chromium under the name of another browser of its family."""
    chromium = Path("/usr/lib/chromium/chromium")
    if not chromium.exists():
        pytest.skip("Debian's Chromium is not installed")
    (folder / "brave").mkdir()
    for part in chromium.parent.iterdir():
        if part != chromium:
            (folder / "brave" / part.name).symlink_to(part)
    return copied(str(chromium), folder / "brave" / "brave")


@pytest.mark.parametrize("name", ["chromium-headless-shell", "brave"])
def test_the_browser_of_an_orphaned_driver_ends_with_it_under_any_name(folder: Path, name: str) -> None:
    needs("tini")
    binary = headless_shell() if name == "chromium-headless-shell" else brave(folder)
    command = driver_command(folder)
    port = next(word for word in command if word.startswith("--port=")).removeprefix("--port=")
    with container(folder, FIRSTS["tini"](folder)) as box:
        program = box.start(in_shell("`&`", command))
        driver = wait_for_driver(folder)
        wait_until(lambda: is_listening(int(port)), "the ChromeDriver listens")
        options = {"binary": binary, "args": ["--headless", "--no-sandbox"]}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
        url = f"http://127.0.0.1:{port}/session"
        requests.post(url, json={"capabilities": wanted}, timeout=START_S).raise_for_status()
        pids = {driver.pid, *(child.pid for child in driver.children(recursive=True))}
        assert name in {psutil.Process(pid).name() for pid in pids}
        shell = parent_shell(box, driver)
        shell.kill()
        wait_gone([shell.pid])
        assert outcome(box, driver) == (ENDED, PROVEN)
        wait_gone(pids)
        program.wait(START_S)
