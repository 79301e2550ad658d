"""Cost of a session compared to a bare ChromeDriver, as ratios within one run.

    python bench/sessions.py [rounds]

Starts the service in a new data folder, and by turns a bare ChromeDriver with the same switches for Chrome.
Every row names its bound; the exit code is 1 if one is exceeded. Linux, on a quiet machine.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import requests

from bench.rows import Row, report
from drover.browser.binaries import resolve
from tests.acceptance.service import Json, Service, running

ROUNDS = 21
TEN = 10
REST_S = 30.0
PORT = re.compile(r"successfully on port (\d+)")


class BareDriver:
    """A ChromeDriver that is driven without the service."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / "out"
        self._binaries = resolve(None, None)
        self._folder = folder

    @contextmanager
    def started(self) -> Iterator[str]:
        """Start it, yield its URL, and end it."""
        with self._output.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - as the service does
                [str(self._binaries.chromedriver), "--port=0"],
                stdout=output,
                stderr=output,
                env={**os.environ, "TMPDIR": str(self._folder)},
            )
        try:
            while not (found := PORT.search(self._output.read_text())):
                time.sleep(0.002)
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()
            process.wait()

    def capabilities(self, profile: Path) -> Json:
        """Return the capabilities that the service also requests from Chrome."""
        options = {
            "binary": str(self._binaries.chrome),
            "args": ["--headless=new", "--no-sandbox", f"--user-data-dir={profile}"],
            "prefs": {"session.restore_on_startup": 4, "session.startup_urls": ["data:,"]},
        }
        return {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}


def timed(action: Callable[[], object]) -> float:
    """Return how many seconds an action takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def bare_session(bare: BareDriver, number: int, folder: Path) -> tuple[float, float]:
    """Return the seconds of a bare new session, and of a start and attach of a second ChromeDriver to it."""
    with bare.started() as url:
        body = bare.capabilities(folder / f"p{number}")
        answer: Json = {}
        new = timed(lambda: answer.update(requests.post(f"{url}/session", json=body, timeout=60).json()))
        value = answer["value"]
        address = value["capabilities"]["goog:chromeOptions"]["debuggerAddress"]
        attach = timed(lambda: attach_once(bare, address))
        requests.delete(f"{url}/session/{value['sessionId']}", timeout=60)
    return new, attach


def attach_once(bare: BareDriver, address: str) -> None:
    """Start a ChromeDriver, attach it to a browser, and end it."""
    body = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"debuggerAddress": address}}}}
    with bare.started() as url:
        requests.post(f"{url}/session", json=body, timeout=60).raise_for_status()


def kill(service: Service, session_id: str, part: str) -> None:
    """Kill one part of a session with SIGKILL."""
    os.kill(service.listed()[session_id][part]["pid"], signal.SIGKILL)


def against_bare(rounds: int) -> Iterator[Row]:
    """Compare session starts and recoveries to a bare ChromeDriver, by turns."""
    new_ratios, attach_extra, restore_ratios = [], [], []
    with tempfile.TemporaryDirectory(dir="/tmp") as name, running(WATCH_INTERVAL=0) as service:
        bare = BareDriver(Path(name))
        for number in range(rounds):
            new, attach = bare_session(bare, number, Path(name))
            ours = timed(lambda: service.create(session_id="s"))
            kill(service, "s", "driver")
            attach_extra.append(timed(lambda: service.get("/sessions/s")) - attach)
            # A successful check resets the crash count, and with it the pause before the next recovery.
            service.get("/sessions/s")
            kill(service, "s", "browser")
            restore_ratios.append(timed(lambda: service.get("/sessions/s")) / new)
            new_ratios.append(ours / new)
            service.delete("/sessions/s")
    yield Row("New session, ratio to a bare POST /session", statistics.median(new_ratios), 1.05, "x")
    yield Row(
        "Re-attach, more than a bare start and attach", 1000 * statistics.median(attach_extra), 150, "ms"
    )
    yield Row("Restore, ratio to a bare new session", statistics.median(restore_ratios), 1.5, "x")


def warm(rounds: int) -> Iterator[Row]:
    """Compare acquiring a warm session to a bare new one."""
    ratios = []
    with tempfile.TemporaryDirectory(dir="/tmp") as name, running(WARM_SESSIONS=1) as service:
        bare = BareDriver(Path(name))
        for number in range(rounds):
            new, _ = bare_session(bare, number, Path(name))
            while service.get("/health").json()["warm"] < 1:
                time.sleep(0.1)
            ratios.append(timed(lambda: service.create(session_id="w")) / new)
            service.delete("/sessions/w")
    yield Row("Warm session, ratio to a bare new session", statistics.median(ratios), 1 / 20, "x")


def ten_sessions() -> Iterator[Row]:
    """Measure the cost of ten sessions: idle, in the list, and at a start that adopts them."""
    with running(IDLE_TIMEOUT=0) as service:
        empty = restart(service)
        for number in range(TEN):
            service.create(session_id=f"s{number}")
        yield Row("GET /sessions with ten sessions, median", list_ms(service), 5, "ms")
        process = psutil.Process(service.process.pid)
        settle(service)
        before = sum(process.cpu_times()[:2])
        time.sleep(REST_S)
        share = 100 * (sum(process.cpu_times()[:2]) - before) / REST_S
        yield Row("The service at rest with ten sessions, of one core", share, 0.3, "%")
        yield Row("Its memory then", process.memory_info().rss / 2**20, 95, "MiB")
        os.kill(service.listed()["s0"]["driver"]["pid"], signal.SIGSTOP)
        yield Row("GET /sessions while one of them hangs, median", list_ms(service), 5, "ms")
        service.get("/sessions/s0")
        yield Row("Start with ten sessions to adopt, more than with none", restart(service) - empty, 2, "s")


def settle(service: Service) -> None:
    """Wait until the memory of all sessions was measured, which happens once in some minutes."""
    while any(session["memory_mb"] is None for session in service.listed().values()):
        time.sleep(0.5)


def list_ms(service: Service) -> float:
    """Return the median of GET /sessions in milliseconds."""
    with requests.Session() as client:
        url = f"{service.url}/sessions"
        return 1000 * statistics.median(timed(lambda: client.get(url, timeout=10)) for _ in range(100))


def restart(service: Service) -> float:
    """Kill the service and return the seconds that its next start takes."""
    service.kill()
    return timed(service.start)


def rows(rounds: int) -> Iterator[Row]:
    """Measure everything."""
    yield from against_bare(rounds)
    yield from warm(rounds)
    yield from ten_sessions()


if __name__ == "__main__":
    sys.exit(report("sessions", rows(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)))
