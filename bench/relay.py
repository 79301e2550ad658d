"""Latency that the service adds to a WebDriver command, against a bare ChromeDriver and Selenium Grid.

    python bench/relay.py [--commands 10000] [--grid selenium-server-4.48.0.jar]

The command is one that ChromeDriver answers without the browser (`GET …/timeouts`), over warm connections,
sent by turns through the service and directly. Every row names its bound; the exit status is 1 if one is
exceeded. `--commands 100000` is the long form of the memory check. Linux, on a quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import requests
import urllib3

from bench.grid_faults import Grid
from bench.sessions import Row
from tests.acceptance.service import Service, running
from tests.machine import remove, short_folder

PAIRS: Final = 3000
WARM_UP: Final = 200
CLIENTS: Final = 16
LOAD_S: Final = 3.0
ROUNDS: Final = 5
MIB: Final = 1 << 20


def addresses(service: Service, session_id: str) -> tuple[str, str]:
    """Return the command's URL at the ChromeDriver of a session, and through the service."""
    driver = service.listed()[session_id]["driver"]
    direct = f"{driver['url']}/session/{driver['session_id']}/timeouts"
    return direct, f"{service.url}/wd/hub/session/{session_id}/timeouts"


def added_ms(direct: str, relayed: str) -> list[float]:
    """Return the milliseconds that a service adds, for many pairs of commands sent by turns."""
    client = urllib3.PoolManager(maxsize=2)

    def timed(url: str) -> float:
        begun = time.perf_counter()
        assert client.request("GET", url).status == requests.codes.ok
        return 1000 * (time.perf_counter() - begun)

    pairs = [(timed(direct), timed(relayed)) for _ in range(WARM_UP + PAIRS)][WARM_UP:]
    return sorted(more - less for less, more in pairs)


def per_second(url: str) -> float:
    """Return how many commands per second sixteen clients get answered, each on its own connection."""
    over = threading.Event()

    def load() -> int:
        client, done = urllib3.PoolManager(maxsize=1), 0
        while not over.is_set():
            assert client.request("GET", url).status == requests.codes.ok
            done += 1
        return done

    with ThreadPoolExecutor(CLIENTS) as pool:
        begun = time.perf_counter()
        loads = [pool.submit(load) for _ in range(CLIENTS)]
        over.wait(LOAD_S)
        over.set()
        return sum(one.result() for one in loads) / (time.perf_counter() - begun)


def latency(service: Service) -> Iterator[Row]:
    """Compare single commands."""
    added = added_ms(*addresses(service, "relay"))
    yield Row("Added to one command, median", statistics.median(added), 1, "ms")
    yield Row("Added to one command, 99th percentile", added[len(added) * 99 // 100], 3, "ms")


def throughput(service: Service) -> Iterator[Row]:
    """Compare the throughput of many clients; a ratio has no upper bound, so its inverse is checked."""
    direct, relayed = addresses(service, "relay")
    ratios = [per_second(direct) / per_second(relayed) for _ in range(ROUNDS)]
    yield Row("Commands a second with 16 clients, bare to relayed", statistics.median(ratios), 2, "x")


def memory(service: Service, commands: int) -> Iterator[Row]:
    """Measure how much the service's memory grows over many commands."""
    _, relayed = addresses(service, "relay")
    client, process = urllib3.PoolManager(), psutil.Process(service.process.pid)
    held = []
    for share in (commands // 10, commands - commands // 10):
        for _ in range(share):
            client.request("GET", relayed)
        held.append(process.memory_full_info().uss / MIB)
    grown = 100 * (held[1] / held[0] - 1)
    yield Row(f"Memory over {commands} commands, growth after the first tenth", grown, 5, "%")


def against_grid(service: Service, jar: Path) -> Iterator[Row]:
    """Compare single commands to those through Selenium Grid."""
    ours = statistics.median(added_ms(*addresses(service, "relay")))
    folder = short_folder()
    grid = Grid(jar, folder)
    try:
        session, driver, _ = grid.new_session()
        sockets = psutil.Process(driver).net_connections()
        port = next(one.laddr.port for one in sockets if one.status == psutil.CONN_LISTEN)
        url = f"http://127.0.0.1:{port}/session/{session}/timeouts"
        theirs = statistics.median(added_ms(url, f"{grid.url}/session/{session}/timeouts"))
        grid.command(session, "DELETE", "")
    finally:
        grid.close()
        remove(folder)
    yield Row(f"Added median, ratio to Selenium Grid's {theirs:.2f} ms", ours / theirs, 1 / 3, "x")


def main() -> int:
    """Print one row per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", type=int, default=10_000)
    parser.add_argument("--grid", type=Path, help="the jar of Selenium Grid")
    options = parser.parse_args()
    rows = []
    with running() as service:
        service.create(session_id="relay")
        measures: list[Callable[[Service], Iterator[Row]]] = [
            latency,
            throughput,
            partial(memory, commands=options.commands),
        ]
        if options.grid:
            measures.append(partial(against_grid, jar=options.grid.resolve()))
        for measure in measures:
            for row in measure(service):
                print(row, flush=True)
                rows.append(row)
    return 0 if all(row.is_kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
