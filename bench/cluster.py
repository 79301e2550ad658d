"""Cost of several machines, as ratios within one run: forwarding, PostgreSQL, a machine's death, and upkeep.

    python bench/cluster.py [--pairs 15] [--grid selenium-server-4.48.0.jar]

Nodes, database and Grid run on this machine. Every row names its bound; the exit status is 1 if one is
exceeded. What claims and look-ups cost with 10,000 sessions is measured by `bench/cluster_simulation.py`.
Linux, on a quiet machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import requests
import urllib3

from bench.cluster_world import end_orderly
from bench.rows import Row
from tests.acceptance.grid import grid_of_two
from tests.acceptance.service import Service, expect
from tests.integration.fake_chromedriver import install
from tests.machine import kill, marked, remove, short_folder, wait_until
from tests.postgres import Postgres, postgres

BLOCKS: Final = 12
BLOCK: Final = 50
"""Commands of one kind in a row; the kinds take turns in a random order."""
WARM_UP: Final = 100
SESSIONS: Final = 10
REST_S: Final = 60.0
SETTLE_S: Final = 30.0
DEATHS: Final = 3
LOST_S: Final = 12.0
RESTORED_S: Final = 60.0


@contextmanager
def nodes(database: Postgres, *names: str, **settings: object) -> Iterator[list[Service]]:
    """Run nodes on one database, and leave nothing of them."""
    with ExitStack() as stack:
        found = []
        for name in names:
            node = Service(short_folder(), database_url=database.url, node_name=name, **settings)
            stack.callback(node.reap)
            found.append(node.start())
        yield found


def medians_ms(ways: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median milliseconds of calls, made in blocks that take turns."""
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        for _ in range(WARM_UP):
            call()
    for _ in range(BLOCKS):
        for name in random.sample(list(ways), len(ways)):
            for _ in range(BLOCK):
                begun = time.perf_counter()
                ways[name]()
                samples[name].append(1000 * (time.perf_counter() - begun))
    return {name: statistics.median(found) for name, found in samples.items()}


def command(url: str) -> Callable[[], None]:
    """Return a call that sends one command over a warm connection."""
    client = urllib3.PoolManager(maxsize=1)

    def send() -> None:
        answer = client.request("GET", url)
        assert answer.status == requests.codes.ok, answer.data

    return send


def commands(database: Postgres, jar: Path | None) -> Iterator[Row]:
    """Compare a command through the owner, through another node, and through a Grid."""
    with ExitStack() as stack:
        owner, other = stack.enter_context(nodes(database, "owner", "other"))
        owner.create(session_id="driven")
        ways = {
            "owner": command(f"{owner.url}/wd/hub/session/driven/url"),
            "other": command(f"{other.url}/wd/hub/session/driven/url"),
        }
        if jar is not None:
            grid = stack.enter_context(grid_of_two(jar))
            session = grid.new()["sessionId"]
            ways["grid"] = command(f"{grid.url}/session/{session}/url")
        found = medians_ms(ways)
        if jar is not None:
            grid.quit(session)
    name = f"Command through another node ({found['other']:.2f} ms), ratio to "
    yield Row(f"{name}its owner's {found['owner']:.2f}", found["other"] / found["owner"], 1.4, "x")
    if jar is not None:
        yield Row(f"{name}hub and relay's {found['grid']:.2f}", found["other"] / found["grid"], 0.5, "x")


def new_sessions(database: Postgres, pairs: int) -> Iterator[Row]:
    """Compare new sessions of a node with PostgreSQL and of a service with SQLite, by turns."""
    samples: dict[str, list[float]] = {"postgres": [], "sqlite": []}
    with ExitStack() as stack:
        (node,) = stack.enter_context(nodes(database, "new"))
        alone = Service(short_folder())
        stack.callback(alone.reap)
        alone.start()
        services = {"postgres": node, "sqlite": alone}
        for number in range(pairs + 1):
            for name in random.sample(list(services), 2):
                begun = time.perf_counter()
                session = services[name].create(key="new")
                took = time.perf_counter() - begun
                expect(services[name].delete(f"/sessions/{session['session_id']}"))
                if number:
                    samples[name].append(took)
    found = {name: statistics.median(one) for name, one in samples.items()}
    name = f"New session with PostgreSQL ({found['postgres']:.3f} s), ratio to SQLite"
    yield Row(name, found["postgres"] / found["sqlite"], 1.05, "x")


def death(database: Postgres) -> Iterator[Row]:
    """Measure the time from a machine's death until its key is served by another machine."""
    found, fresh = [], []
    for number in range(DEATHS):
        with nodes(database, f"dying-{number}", f"heir-{number}") as (dying, heir):
            for node in (dying, heir):
                begun = time.monotonic()
                node.create(session_id=f"fresh-{node.port}")
                fresh.append(time.monotonic() - begun)
            key = f"key-{number}"
            dying.create(key=key)
            time.sleep(SETTLE_S / 5)
            dying.kill()
            died = time.monotonic()
            kill(marked(dying.data_dir))
            wait_until(
                lambda heir=heir, key=key: heir.post("/sessions", json={"key": key}).ok,  # type: ignore[misc]
                "the key is restored",
                RESTORED_S,
            )
            found.append(time.monotonic() - died)
    new = statistics.median(fresh)
    name = f"Death of a machine to its key restored, worst of {DEATHS}, new session {new:.2f} s"
    yield Row(name, max(found), LOST_S + 2 * new, "s")


def upkeep(database: Postgres) -> Iterator[Row]:
    """Compare the processor time of a node at rest to that of a service with SQLite; with fake browsers."""
    fakes = short_folder()
    with ExitStack() as stack:
        stack.callback(remove, fakes)
        driver = install(fakes)
        found = stack.enter_context(nodes(database, "rest", "beside", "third", chromedriver=driver))
        alone = Service(short_folder(), chromedriver=driver)
        stack.callback(alone.reap)
        alone.start()
        for service in (found[0], alone):
            for number in range(SESSIONS):
                service.create(key=f"rest-{number}")
        time.sleep(SETTLE_S)
        before = [cpu_s(service) for service in (found[0], alone)]
        time.sleep(REST_S)
        used = [cpu_s(service) - at for service, at in zip((found[0], alone), before, strict=True)]
    share = 100 * (used[0] - used[1]) / REST_S
    yield Row(
        f"Upkeep of a node at rest with {SESSIONS} sessions, without it {100 * used[1] / REST_S:.2f}",
        share,
        0.3,
        "%",
    )


def cpu_s(service: Service) -> float:
    """Return the seconds of processor time that a service has used itself."""
    times = psutil.Process(service.process.pid).cpu_times()
    return times.user + times.system


def main() -> int:
    """Print one row per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--grid", type=Path, help="the jar of Selenium Grid")
    parser.add_argument("--only", choices=("commands", "new", "death", "upkeep"))
    options = parser.parse_args()
    end_orderly()
    jar = options.grid.resolve() if options.grid else None
    rows = []
    with postgres() as database:
        measures: dict[str, Callable[[], Iterator[Row]]] = {
            "commands": lambda: commands(database, jar),
            "new": lambda: new_sessions(database, options.pairs),
            "death": lambda: death(database),
            "upkeep": lambda: upkeep(database),
        }
        for name, measure in measures.items():
            if options.only in {None, name}:
                for row in measure():
                    print(row, flush=True)
                    rows.append(row)
    return 0 if all(row.is_kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
