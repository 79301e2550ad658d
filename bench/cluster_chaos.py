"""Random faults of machines, networks and the database, one after the other, under clients of three nodes.

    python bench/cluster_chaos.py [--seconds 3600] [--seed N] [--log FOLDER]

The same promises as in `bench/cluster_faults.py`, but every fault has a random victim and a random length,
and begins while the nodes are still busy with the last one. Two keys are asked for ten times a second
through each node, on the node's own machine: each is served by one browser at a time. No key that was
answered with 201 is lost, every answer is one of the contract, and nothing is left at the end. The seed is
printed. The exit status is 0 if all of that holds. Linux, as root.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.cluster_faults import stopped
from bench.cluster_world import Clients, World, end_orderly
from tests.acceptance.faults import browsers, drivers, send_kill
from tests.acceptance.machines import Node
from tests.acceptance.served import Observer, served_twice

LASTING_S: Final = (1.0, 20.0)
CALM_S: Final = (0.5, 8.0)
STOP_S: Final = 100.0
CLIENTS: Final = 4
OBSERVED: Final = 2


class Chaos:
    """Injects faults of random kinds.

    Args:
        world: The nodes.
        chance: Chooses faults, victims and lengths.
    """

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self.done: Counter[str] = Counter()
        self._faults: tuple[Callable[[Node], None], ...] = (
            self._machine_dies,
            self._service_dies,
            self._service_hangs,
            self._machine_sleeps,
            self._without_database,
            self._without_clients,
            self._database_restarts,
            self._database_hangs,
            self._upgraded,
            self._browser_dies,
        )

    def step(self) -> None:
        """Inject one fault, and wait a moment."""
        fault, node = self._chance.choice(self._faults), self._chance.choice(self._world.all)
        name = f"{fault.__name__.strip('_')} {node.name}"
        print(f"{datetime.now(timezone.utc):%H:%M:%S} {name}", flush=True)
        self.done[fault.__name__.strip("_")] += 1
        fault(node)
        if not self._world.database.is_running:
            self._world.database.start()
        time.sleep(self._chance.uniform(*CALM_S))

    def _wait(self) -> None:
        time.sleep(self._chance.uniform(*LASTING_S))

    def _machine_dies(self, node: Node) -> None:
        node.die()
        self._wait()
        node.start()

    def _service_dies(self, node: Node) -> None:
        node.kill()
        self._wait()
        node.start()

    def _service_hangs(self, node: Node) -> None:
        with stopped(node.process.pid):
            self._wait()

    def _machine_sleeps(self, node: Node) -> None:
        with stopped(node.process.pid, *(process.pid for process in node.processes())):
            self._wait()

    def _without_database(self, node: Node) -> None:
        node.machine.cut_off_from_database()
        self._wait()
        node.machine.connect()

    def _without_clients(self, node: Node) -> None:
        node.machine.cut_off_from_clients()
        self._wait()
        node.machine.connect()

    def _database_restarts(self, _: Node) -> None:
        self._world.database.stop()
        self._wait()
        self._world.database.start()

    def _database_hangs(self, _: Node) -> None:
        self._world.database.pause()
        self._wait()
        self._world.database.go_on()

    def _upgraded(self, node: Node) -> None:
        node.process.send_signal(signal.SIGTERM)
        node.wait_for_exit(STOP_S)
        node.start()

    def _browser_dies(self, node: Node) -> None:
        victims = sorted(self._chance.choice((browsers, drivers))(node))
        if victims:
            send_kill(self._chance.choice(victims))


def write_logs(world: World, folder: Path) -> None:
    """Write what each node has logged, with all its restarts, to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for node in world.all:
        (folder / node.name).write_text("\n".join(node.logs()) + "\n", encoding="utf-8")


def main() -> int:
    """Run the chaos, and print what was done and what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311 - not a secret
    parser.add_argument("--log", type=Path, help="folder for the log of each node")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    end_orderly()
    chance = random.Random(options.seed)  # noqa: S311 - not a secret
    with ExitStack() as stack:
        world = World(stack)
        world.start()
        for number in range(6):
            world.create(world.all[number % 3], key=f"chaos-{number}")
        observers = [Observer(world.all, one.session_id) for one in world.promises[:OBSERVED]]
        chaos = Chaos(world, chance)
        for observer in observers:
            observer.start()
        try:
            with Clients(world, CLIENTS, creates_every_s=30, limit=8):
                over = time.monotonic() + options.seconds
                while time.monotonic() < over:
                    chaos.step()
                world.wait_until_ready()
        finally:
            for observer in observers:
                observer.stop()
            if options.log is not None:
                write_logs(world, options.log)
        world.check(may_move=frozenset(world.nodes))
        for observer in observers:
            for answer in served_twice(observer.answers):
                world.findings.fail(f"served twice: {answer}")
        asked = sum(len(observer.answers) for observer in observers)
        world.forget()
    print(f"faults: {dict(chaos.done)}\nclients: {dict(world.findings.done)}\nobserved answers: {asked}")
    print(f"{len(world.findings.wrong)} violations")
    return 1 if world.findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
