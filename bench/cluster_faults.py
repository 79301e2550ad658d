"""Faults of machines, networks and the database, under clients, each with the answer that is expected.

    python bench/cluster_faults.py [--list] [fault …]

Three nodes on machines of their own (network namespaces) and a real PostgreSQL. Before each fault every
node gets a session with a key and one without; clients use all of them through all nodes while it lasts,
and ask for new ones. The key of the first node is asked for ten times a second through each node, on the
node's own machine: it is served by one browser at a time. At the end every session that was promised is
there, with its first browser unless the fault explains another one. The exit status is 0 if all of that
holds. Linux, as root.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from bench.cluster_world import DISK_MB, Clients, World, end_orderly
from tests.acceptance.served import Answer, Observer, browsers, errors, gap_s, observed, served_twice
from tests.machine import wait_until
from tests.postgres import disconnect, standby

LOST_S: Final = 60.0
CALM_S: Final = 3.0
BEAT_S: Final = 3.0
"""One beat and its answer: for how long two browsers may serve a key after a failover that lost its row."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: Its name.
        expected: What clients see, in words.
        inject: Injects it, waits for what is expected, and ends it.
        moves: Whether the sessions of node a are restored elsewhere.
        twice_s: For how long a key may be served twice.
        ends: The nodes whose sessions without a key may end.
    """

    name: str
    expected: str
    inject: Callable[[World, Observer], None]
    moves: frozenset[str] = frozenset()
    twice_s: float = 0.0
    ends: frozenset[str] = frozenset()


def wait_for_move(observer: Observer, count: int = 2) -> None:
    """Wait until another browser serves the key."""
    wait_until(lambda: len(browsers(observer.answers)) >= count, "the key is restored elsewhere", LOST_S)


def die(world: World, observer: Observer) -> None:
    """Service, ChromeDrivers and browsers of a are killed at once."""
    world.nodes["a"].die()
    wait_for_move(observer)
    world.nodes["a"].start()


def come_back(world: World, observer: Observer) -> None:
    """Only the service of a is killed; it is started again after its session was given away."""
    node = world.nodes["a"]
    node.kill()
    wait_for_move(observer)
    node.start()


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stop processes during the `with` block."""
    for pid in pids:
        psutil.Process(pid).send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            psutil.Process(pid).send_signal(signal.SIGCONT)


def hang(world: World, observer: Observer) -> None:
    """The service of a is stopped for a minute."""
    with stopped(world.nodes["a"].process.pid):
        time.sleep(60)
        wait_for_move(observer)


def sleep(world: World, observer: Observer) -> None:
    """All processes of a are stopped for half a minute, as by a suspend."""
    node = world.nodes["a"]
    with stopped(node.process.pid, *(process.pid for process in node.processes())):
        time.sleep(30)
        wait_for_move(observer)


def lose_database(world: World, observer: Observer) -> None:
    """The cable between a and the database is pulled for half a minute."""
    world.nodes["a"].machine.cut_off_from_database()
    time.sleep(30)
    wait_for_move(observer)
    world.nodes["a"].machine.connect()


def lose_clients(world: World, _: Observer) -> None:
    """The cable between a and clients and other nodes is pulled for half a minute."""
    world.nodes["a"].machine.cut_off_from_clients()
    time.sleep(30)
    world.nodes["a"].machine.connect()


def restart_database(world: World, _: Observer) -> None:
    """The database is stopped at once and started again after three seconds, then once more."""
    for pause_s in (3, 1):
        world.database.stop()
        time.sleep(pause_s)
        world.database.start()
        time.sleep(5)


def hang_database(world: World, _: Observer) -> None:
    """The database is stopped for half a minute."""
    world.database.pause()
    time.sleep(30)
    world.database.go_on()


def fill_database(world: World, _: Observer) -> None:
    """The disk of the database is full for half a minute."""
    world.disk.leave(0)
    time.sleep(30)
    world.disk.leave(DISK_MB)
    if not world.database.is_running:
        # It ends when it cannot write its log; what supervises it starts it again.
        world.database.start()


def fail_over(world: World, _: Observer) -> None:
    """The database fails over to a standby that received nothing for ten seconds."""
    # The database goes on with the standby's data, until everything ends.
    follower = world.stack.enter_context(standby(world.database))
    disconnect(follower)
    for node in world.all:
        world.create(node, f"lost-{node.name}")
    world.database.fail_over_to(follower)
    time.sleep(15)


def upgrade(world: World, _: Observer) -> None:
    """Every node is stopped by SIGTERM and started again, one after the other."""
    for node in world.all:
        node.process.send_signal(signal.SIGTERM)
        node.wait_for_exit(100)
        node.start()
        time.sleep(3)


def drain(world: World, _: Observer) -> None:
    """Node a is drained while commands run; it stops by itself and is started again."""
    node = world.nodes["a"]
    assert node.post("/drain").status_code == 200
    node.wait_for_exit(100)
    node.start()


ONE: Final = frozenset({"a"})
EVERY: Final = frozenset({"a", "b", "c"})
FAULTS: Final = (
    Fault("die", "503 for some 12 s, then restored on another node", die, ONE),
    Fault("come_back", "restored on another node; the old browser is ended, not served", come_back, ONE),
    Fault("hang", "as a death; when it goes on, no answer from the old browser", hang, ONE),
    Fault("sleep", "as a hang", sleep, ONE),
    Fault("lose_database", "after 8 s 503 at a, then restored elsewhere", lose_database, ONE),
    Fault("lose_clients", "503 node_unreachable through b and c, served at a, never moved", lose_clients),
    Fault("restart_database", "sessions go on", restart_database),
    Fault("hang_database", "after 8 s 503 everywhere, then all go on; nobody is lost", hang_database),
    Fault("fill_database", "new sessions 503; all go on", fill_database),
    Fault("fail_over", "the rows that were lost are written again", fail_over, twice_s=BEAT_S),
    Fault(
        "upgrade", "sessions with a key move; no answer outside of the contract", upgrade, EVERY, ends=EVERY
    ),
    Fault("drain", "commands go on; sessions with a key are parked and move", drain, ONE, ends=ONE),
)


def overlap_s(answers: list[Answer]) -> float:
    """Return for how long an old browser was served beside its successor."""
    twice = served_twice(answers)
    return max((one.received for one in twice), default=0.0) - min((one.sent for one in twice), default=0.0)


def run(fault: Fault, world: World) -> bool:
    """Inject one fault; print a row, and return whether all held."""
    findings = world.findings
    findings.wrong.clear()
    findings.done.clear()
    world.wait_until_ready()
    for node in world.all:
        world.create(node, key=f"{fault.name}-{node.name}")
        world.create(node, session_id=f"{fault.name}-{node.name}-unkeyed")
    promises = len(world.promises)
    begun = time.monotonic()
    with observed(world.all, world.promises[0].session_id) as observer, Clients(world, may_end=fault.ends):
        time.sleep(CALM_S)
        fault.inject(world, observer)
        world.wait_until_ready()
        time.sleep(CALM_S)
    world.check(fault.moves, fault.ends)
    answers = observer.answers
    twice = served_twice(answers)
    if twice and overlap_s(answers) > fault.twice_s:
        findings.fail(f"served twice: {twice[:5]}")
    seconds = time.monotonic() - begun
    print(
        f"{fault.name}: {'kept' if not findings.wrong else 'VIOLATED'} ({fault.expected})\n"
        f"  {seconds:.0f} s, {promises} sessions and {len(world.promises) - promises} new ones; key asked "
        f"{len(answers)} times, {len(browsers(answers))} browsers, longest gap {gap_s(answers):.1f} s, "
        f"served twice {len(twice)} times; errors {errors(answers)}\n"
        f"  clients: {dict(sorted(findings.done.items()))}",
        flush=True,
    )
    is_kept = not findings.wrong
    world.forget()
    return is_kept


def main() -> int:
    """Inject the faults that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", help="names of faults; all by default")
    parser.add_argument("--list", action="store_true", help="only print the faults")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if not options.faults or fault.name in options.faults]
    if options.list:
        for fault in chosen:
            print(f"{fault.name}: {fault.inject.__doc__} Expected: {fault.expected}")
        return 0
    end_orderly()
    kept = True
    with ExitStack() as stack:
        world = World(stack)
        world.start()
        for fault in chosen:
            kept &= run(fault, world)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
