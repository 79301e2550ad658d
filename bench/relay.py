"""Latency that the service adds to a WebDriver command, against a bare ChromeDriver and Selenium Grid.

    python bench/relay.py [--commands 10000] [--grid selenium-server-4.48.0.jar]

Commands that ChromeDriver answers without the browser and real ones, over warm connections, sent by turns
through the service and directly; and `wrk` (the Debian package) with sixteen connections. Every row names its
bound; the exit status is 1 if one is exceeded. `--commands 100000` is the long form of the memory check.
Linux, on a quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import urllib3

from bench.grid_faults import Grid
from bench.relay_load import COMMANDS, CONNECTIONS, Command, CommandClient, per_second, quantile
from bench.rows import Row, report
from tests.acceptance.service import Service, running
from tests.machine import remove, short_folder

PAIRS: Final = 2000
WARM_UP: Final = 200
ROUNDS: Final = 3
MIB: Final = 1 << 20


def session_urls(service: Service, session_id: str) -> tuple[str, str]:
    """Return the URL of a session at its ChromeDriver, and that at the service."""
    driver = service.listed()[session_id]["driver"]
    return f"{driver['url']}/session/{driver['session_id']}", f"{service.url}/wd/hub/session/{session_id}"


def pairs_ms(direct: str, relayed: str, command: Command) -> list[tuple[float, float]]:
    """Return how long many commands take directly and relayed, sent by turns."""
    clients = CommandClient(direct), CommandClient(relayed)
    pairs = [(clients[0].timed_ms(command), clients[1].timed_ms(command)) for _ in range(WARM_UP + PAIRS)]
    for client in clients:
        client.close()
    return pairs[WARM_UP:]


def latency(service: Service) -> Iterator[Row]:
    """Compare single commands."""
    for command in COMMANDS:
        pairs = pairs_ms(*session_urls(service, "relay"), command)
        direct, relayed = zip(*pairs, strict=True)
        added = statistics.median(more - less for less, more in pairs)
        yield Row(f"Added to {command.name}, median", added, 0.25, "ms")
        added = quantile(relayed, 0.99) - quantile(direct, 0.99)
        yield Row(f"Added to {command.name}, 99th percentile", added, 0.8, "ms")


def throughput(service: Service, folder: Path) -> Iterator[Row]:
    """Compare the throughput of many connections; a ratio has no upper bound, so its inverse is checked."""
    for sessions in (1, CONNECTIONS):
        ids = ["relay", *(f"relay-{number}" for number in range(1, sessions))]
        for session_id in ids[1:]:
            service.create(session_id=session_id)
        direct, relayed = zip(*(session_urls(service, one) for one in ids), strict=True)
        ratios = [
            per_second([f"{url}/timeouts" for url in direct], folder)
            / per_second([f"{url}/timeouts" for url in relayed], folder)
            for _ in range(ROUNDS)
        ]
        name = "one session" if sessions == 1 else f"{sessions} sessions"
        found = statistics.median(ratios)
        yield Row(f"Commands per second, 16 connections, {name}, bare to relayed", found, 1 / 0.15, "x")
        for session_id in ids[1:]:
            service.delete(f"/sessions/{session_id}")


def memory(service: Service, commands: int) -> Iterator[Row]:
    """Measure how much the service's memory grows over many commands."""
    relayed = session_urls(service, "relay")[1] + "/timeouts"
    client, process = urllib3.PoolManager(), psutil.Process(service.process.pid)
    held = []
    for share in (commands // 10, commands - commands // 10):
        for _ in range(share):
            client.request("GET", relayed)
        held.append(process.memory_full_info().uss / MIB)
    grown = 100 * (held[1] / held[0] - 1)
    yield Row(f"Memory over {commands} commands, growth after the first tenth", grown, 5, "%")


def against_grid(service: Service, folder: Path, jar: Path) -> Iterator[Row]:
    """Compare single commands and throughput to those through Selenium Grid."""
    grid = Grid(jar, folder)
    try:
        session, driver, _ = grid.new_session()
        sockets = psutil.Process(driver).net_connections()
        port = next(one.laddr.port for one in sockets if one.status == psutil.CONN_LISTEN)
        direct, relayed = f"http://127.0.0.1:{port}/session/{session}", f"{grid.url}/session/{session}"
        for command in COMMANDS:
            theirs, ours = (
                statistics.median(more - less for less, more in pairs_ms(*urls, command))
                for urls in ((direct, relayed), session_urls(service, "relay"))
            )
            name = f"Added to {command.name}, median, ratio to Grid's {theirs:.2f} ms"
            yield Row(name, ours / theirs, 1 / 3, "x")
        ours_url = session_urls(service, "relay")[1]
        ratios = [
            per_second([f"{relayed}/timeouts"], folder) / per_second([f"{ours_url}/timeouts"], folder)
            for _ in range(ROUNDS)
        ]
        yield Row(
            "Commands per second, 16 connections, Grid to relayed", statistics.median(ratios), 1 / 3, "x"
        )
        grid.command(session, "DELETE", "")
    finally:
        grid.close()


def rows(commands: int, jar: Path | None) -> Iterator[Row]:
    """Measure everything; against Selenium Grid only if there is its jar."""
    folder = short_folder()
    with running(max_sessions=CONNECTIONS) as service:
        service.create(session_id="relay")
        yield from latency(service)
        yield from throughput(service, folder=folder)
        yield from memory(service, commands=commands)
        if jar is not None:
            yield from against_grid(service, folder=folder, jar=jar.resolve())
    remove(folder)


def main() -> int:
    """Print one row per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", type=int, default=10_000)
    parser.add_argument("--grid", type=Path, help="the jar of Selenium Grid")
    options = parser.parse_args()
    return report("relay", rows(options.commands, options.grid))


if __name__ == "__main__":
    sys.exit(main())
