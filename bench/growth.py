"""What each session costs the service, at 10 to 10,000 sessions: does anything grow with their number?

    python bench/growth.py [--most 10000]

The sessions are in the real registry, with the real state saver and health monitor, but all of them share one
fake ChromeDriver and browser: a process that answers HTTP as both do. So only the service's own work is
measured, in CPU time, which other programs on the machine hardly change. Linux.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.rows import Row, report
from drover.browser import health
from drover.browser.page_targets import NO_SIGNALS
from drover.browser.running_browser import RunningBrowser
from drover.core.jobs import Job, JobKind, Jobs
from drover.core.threads import ThreadPool
from drover.processes.table import identify
from drover.server.background import SAVE_TICK_S
from drover.sessions.lifecycle.health_monitor import HealthMonitor
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.acquire import Available, Claim
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import SessionState
from tests.unit.examples import MemoryJournal, session

MOST: Final = 10_000
CALLS: Final = 500
GUID: Final = "guid-of-all"
WATCH_INTERVAL_S: Final = 15.0
WATCHED: Final = 1_000
KIB: Final = 1 << 10
FAKE: Final = """
import http.server, json, socketserver, sys
class Both(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/json/version":
            body = {"webSocketDebuggerUrl": "ws://x/devtools/browser/GUID"}
        else:
            body = [] if self.path == "/json/list" else {"value": {"ready": True}}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    request_queue_size = 128
    daemon_threads = True
server = Server(("127.0.0.1", 0), Both)
print(server.server_port, flush=True)
server.serve_forever()
""".replace("GUID", GUID)


class Fakes:
    """A registry with many sessions on one fake browser, and what works on them in the background."""

    def __init__(self, running: RunningBrowser) -> None:
        self.registry = SessionRegistry(1_000_000, 1, MemoryJournal())
        self.jobs = Jobs(
            {JobKind.SAVE: ThreadPool("save", 4), JobKind.WATCH: ThreadPool("watch", 4)}, lambda _: None
        )
        browsers = SimpleNamespace(
            probe=lambda running: health.read(running, NO_SIGNALS, 2.0, health.pages),
            assess=lambda readings, running, silence: health.assess(readings, running, silence, 2.0),
            seen=lambda _: NO_SIGNALS,
            save=lambda *_: None,
        )
        self.saver = StateSaver(cast("Any", browsers), lambda *_: None, self.jobs)
        self.monitor = HealthMonitor(self.registry, cast("Any", None), cast("Any", browsers), self.jobs)
        self._running = running
        self._numbers = itertools.count()

    def grow_to(self, number: int) -> None:
        """Add sessions until there are this many, all with a key, a secret and an idle timeout."""
        while len(self.registry.sessions()) < number:
            for _ in range(number - len(self.registry.sessions())):
                n = next(self._numbers)
                self.registry.adopt(
                    session(
                        f"s{n}",
                        key=f"k{n}",
                        socket_secret=f"secret{n}",
                        state=SessionState.READY,
                        running=self._running,
                        last_used_mono=time.monotonic(),
                    )
                )

    def wait_for_jobs(self) -> None:
        """Wait until no background job is in progress."""
        wait([self.jobs.begin(one, lambda: None) for one in self._all_jobs()])

    def _all_jobs(self) -> Iterator[Job]:
        for kind in (JobKind.SAVE, JobKind.WATCH):
            for one in self.registry.sessions():
                yield Job(kind, one.session_id, one.birth)


def cpu_us(work: Callable[[], object], calls: int) -> float:
    """Return the microseconds of CPU time of one call, of all threads of this process."""
    begun = time.process_time()
    for _ in range(calls):
        work()
    return 1e6 * (time.process_time() - begun) / calls


def lookups(fakes: Fakes) -> Iterator[tuple[str, Callable[[], object]]]:
    """Return what clients and frequent tasks do with one session, or with none."""
    registry = fakes.registry
    some = registry.sessions()[len(registry.sessions()) // 2]

    def claim() -> None:
        found = registry.claim(Claim(None, some.key, lambda: some))
        assert isinstance(found, Available)
        registry.release(found.session)

    def command() -> None:
        registry.command_begins(some)
        registry.command_ends(some)

    assert some.socket_secret is not None
    secret = some.socket_secret
    yield "Claim by key, and release", claim
    yield "Look-up by the secret of an address", lambda: registry.of_secret(secret)
    yield "Bookkeeping of a command", command
    yield "End of leases, when none has expired", lambda: registry.expire_leases(time.monotonic())
    yield "Idle ends, when none is due", lambda: registry.take_idle(time.monotonic())


def flat(fakes: Fakes, sizes: list[int]) -> Iterator[Row]:
    """Compare each operation at the largest number of sessions to that at a hundred."""
    found: dict[str, list[float]] = {}
    for size in sizes:
        fakes.grow_to(size)
        for name, work in lookups(fakes):
            found.setdefault(name, []).append(cpu_us(work, CALLS))
    for name, costs in found.items():
        text = " → ".join(f"{cost:.1f}" for cost in costs)
        yield Row(f"{name}, {sizes[0]} → {sizes[-1]} sessions ({text} us)", costs[-1] / costs[1], 2, "x")


def background(fakes: Fakes) -> Iterator[Row]:
    """Measure what the periodic work on idle sessions takes, as a share of one core."""
    fakes.saver.tick(fakes.registry.sessions())
    fakes.wait_for_jobs()
    tick = cpu_us(lambda: fakes.saver.tick(fakes.registry.sessions()), 5) / 1e6

    def watch() -> None:
        fakes.monitor.watch()
        fakes.wait_for_jobs()

    waiting = cpu_us(fakes.wait_for_jobs, 1) / 1e6
    watched = cpu_us(watch, 1) / 1e6 - waiting
    save_share, watch_share = 100 * tick / SAVE_TICK_S, 100 * watched / WATCH_INTERVAL_S
    shares = f"{save_share:.1f} + {watch_share:.1f} %"
    yield Row(
        f"State saver and watch over {WATCHED} idle sessions, of one core ({shares})",
        save_share + watch_share,
        3,
        "%",
    )


def memory(fakes: Fakes, number: int) -> Iterator[Row]:
    """Measure what one session holds in the registry, the saver and the monitor."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    had = len(fakes.registry.sessions())
    fakes.grow_to(had + number)
    held = (tracemalloc.get_traced_memory()[0] - before) / number / KIB
    tracemalloc.stop()
    yield Row("Memory of one more session in the registry", held, 100, "KiB")


def churn(fakes: Fakes, number: int) -> Iterator[Row]:
    """Add and remove many sessions one after another; nothing may be kept of them."""
    first = session(state=SessionState.READY)

    def pass_through(numbers: range) -> None:
        for n in numbers:
            one = replace(first, session_id=f"c{n}", key=f"k{n}", socket_secret=f"s{n}")
            fakes.registry.adopt(one)
            assert fakes.registry.forget(one)

    tracemalloc.start()
    pass_through(range(number // 10))
    before = tracemalloc.get_traced_memory()[0]
    pass_through(range(number // 10, number))
    grown = (tracemalloc.get_traced_memory()[0] - before) / KIB
    tracemalloc.stop()
    yield Row(f"Memory kept of {number} sessions that ended, after the first tenth", grown, 64, "KiB")


def rows(most: int) -> Iterator[Row]:
    """Measure everything."""
    with (
        subprocess.Popen(["/bin/sleep", "600"]) as idle,
        subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-c", FAKE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as fake,
    ):
        try:
            assert fake.stdout is not None
            address = f"127.0.0.1:{int(fake.stdout.readline())}"
            # A process that answers is not idle, so another one stands for the idle ChromeDriver.
            driver, browser = identify(idle.pid), identify(fake.pid)
            assert driver is not None
            assert browser is not None
            running = RunningBrowser(driver, f"http://{address}", "d1", browser, "156", address, GUID)
            few = Fakes(running)
            few.grow_to(WATCHED)
            yield from background(few)
            many = Fakes(running)
            yield from flat(many, [size for size in (10, 100, 1_000, 10_000) if size <= most])
            yield from memory(many, 1_000)
            yield from churn(Fakes(running), most)
        finally:
            fake.kill()
            idle.kill()


def main() -> int:
    """Print one row per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=MOST)
    return report("growth", rows(parser.parse_args().most))


if __name__ == "__main__":
    sys.exit(main())
