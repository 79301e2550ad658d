"""Simulated nodes with many sessions against one real PostgreSQL: what statements cost, at three sizes.

    python bench/cluster_simulation.py [--seconds 40]

The nodes have the product's own statements and connections, and no browsers. Saves, look-ups, claims and
deaths of nodes come at the same pace at every size, so that only the size differs; signs of life come
from every node every two seconds. All nodes are in one Python process, which delays them, so statements are
also timed alone. A row whose latency at 10,000 sessions is more than twice that at 20 is
named. Linux.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from bench.cluster_world import end_orderly
from drover.core.errors import StorageUnavailable
from drover.storage.changes import Change, EndSession, Owner, SaveSession, SaveState, SharedTerms
from drover.storage.cluster_values import Load, NodeIdentity
from drover.storage.postgres.database import ClusterDatabase
from drover.storage.postgres.link import Connection
from drover.storage.postgres.ownership import Ownership
from tests.postgres import Postgres, postgres

SIZES: Final = ((2, 10), (20, 50), (200, 50))
"""Nodes, and sessions of each."""
BEAT_S: Final = 2.0
SAVES_A_SECOND: Final = 100
LOOKUPS_A_SECOND: Final = 100
CLAIMS_A_SECOND: Final = 20
LISTS_A_SECOND: Final = 1
TAKEOVER_EVERY_S: Final = 5.0
PROBES: Final = 300
FLAT: Final = 2.0
"""The greatest ratio of latencies at most and fewest sessions that counts as flat."""
DOCUMENT: Final = '{"simulated": "' + "d" * 1200 + '"}'
STATE: Final = '{"simulated": "' + "s" * 4000 + '"}'
SUMMARY: Final = {"session_id": "", "padding": "p" * 1000}
FILL: Final = """
    INSERT INTO sessions (session_id, key, incarnation, document, summary, described, idle_s, revision)
    SELECT format('%%s-%%s', %(name)s::text, which), format('key-%%s-%%s', %(name)s::text, which), %(me)s,
        %(document)s, %(summary)s, nextval('epochs'), 1800, 1
    FROM generate_series(1, %(sessions)s) which
    RETURNING session_id, epoch
"""
FILL_STATES: Final = """
    INSERT INTO states SELECT session_id, epoch, %(state)s, now() FROM sessions WHERE incarnation = %(me)s
"""
FILL_S: Final = 30.0
TABLES: Final = ("nodes", "sessions", "states", "kept")


@dataclass
class Samples:
    """Milliseconds of every kind of statement."""

    found: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Time one statement."""
        begun = time.perf_counter()
        try:
            yield
        except StorageUnavailable as error:
            self.failed.append(f"{kind}: {error.message}")
        else:
            self.found[kind].append(1000 * (time.perf_counter() - begun))


class SimulatedNode:
    """The database connections of one node, and what it knows of its sessions."""

    def __init__(self, url: str, number: int) -> None:
        self.name = f"node-{number}"
        identity = NodeIdentity(self.name, f"data-{number}", f"http://10.0.0.1:{5010 + number}", "1", 100)
        self.database = ClusterDatabase(url, lambda: identity, lambda _: None)
        if number == 0:
            self.database.open()
        else:
            self.database.identity = identity
        self.ownership = Ownership(self.database)
        self.epochs: dict[str, int] = {}
        self.listed: dict[str, int] = {}
        self.beat = 0
        self.is_silent = False
        self.join()

    def join(self) -> None:
        """Join the cluster, as after a start or a death."""
        self.epochs = {row.owner.session_id: row.owner.epoch for row in self.database.join()}
        self.is_silent = False

    def fill(self, sessions: int) -> None:
        """Insert sessions, as if they had been here for a while."""
        values = {
            "me": self.database.incarnation,
            "name": self.name,
            "sessions": sessions,
            "document": DOCUMENT,
            "state": STATE,
            "summary": json.dumps(SUMMARY),
        }

        def statements(connection: Connection) -> dict[str, int]:
            rows = connection.execute(FILL, values).fetchall()
            connection.execute(FILL_STATES, values)
            return {row[0]: row[1] for row in rows}

        self.epochs = self.database.writing.run(statements, FILL_S)

    def read_list(self) -> None:
        """Read what other nodes have described since the last time."""
        found = self.ownership.summaries(self.listed, 10_000)
        self.listed = {one.session_id: one.version for one in found}

    def claim(self, session_id: str) -> None:
        """Insert a session with a key, its state, and what others show of it."""
        terms = SharedTerms(key=f"key-{session_id}", idle_timeout=1800)
        epoch = self.ownership.claim(SaveSession(Owner(session_id, 0), 0, DOCUMENT, terms))
        assert epoch is not None, session_id
        self.epochs[session_id] = epoch

    def save(self, session_ids: Sequence[str], revision: int) -> None:
        """Save sessions and their states, as after commands that changed a cookie."""
        now = datetime.now(timezone.utc)
        changes: list[Change] = []
        for session_id in session_ids:
            owner = Owner(session_id, self.epochs[session_id])
            terms = SharedTerms(key=f"key-{session_id}", idle_timeout=1800)
            changes += [SaveSession(owner, revision, DOCUMENT, terms), SaveState(owner, STATE, now)]
        assert not self.database.write(changes)


class Simulation:
    """Nodes and sessions of one size, and the load on them.

    Args:
        url: The database.
        nodes: How many nodes.
        each: How many sessions of each.
    """

    def __init__(self, url: str, nodes: int, each: int) -> None:
        self.samples = Samples()
        self._nodes = [SimulatedNode(url, number) for number in range(nodes)]
        self._end = threading.Event()
        self._revision = itertools.count(2)
        self._fresh = itertools.count()
        self._busy = [threading.Lock() for _ in self._nodes]
        for node in self._nodes:
            node.fill(each)

    def probe(self) -> None:
        """Time statements of one node while nothing else runs: only the size of the tables matters."""
        node, *others = self._nodes
        chance = random.Random(0)  # noqa: S311 - not a secret
        known = [session_id for other in others for session_id in other.epochs]
        for _ in range(PROBES):
            session_id = chance.choice(known)
            with self.samples.timed("alone: look-up by id"):
                assert node.ownership.locate(session_id)
            with self.samples.timed("alone: look-up by key"):
                assert node.ownership.locate(None, f"key-{session_id}")
            fresh = f"probe-{next(self._fresh)}"
            with self.samples.timed("alone: claim"):
                node.claim(fresh)
            with self.samples.timed("alone: end"):
                node.database.write([EndSession(Owner(fresh, node.epochs.pop(fresh)))])
            with self.samples.timed("alone: sign of life"):
                node.ownership.beat(Load(50, 0, len(node.epochs)))

    def run(self, seconds: float) -> None:
        """Run the load for some seconds."""
        beating = 4
        paces: list[tuple[float, Callable[[random.Random], None]]] = [
            (SAVES_A_SECOND / 2, self._save),
            (SAVES_A_SECOND / 2, self._save),
            (LOOKUPS_A_SECOND, self._look_up),
            (CLAIMS_A_SECOND, self._claim),
            (LISTS_A_SECOND, self._list),
            (1 / TAKEOVER_EVERY_S, self._take_over),
        ]
        threads = [
            threading.Thread(target=self._at_pace, args=(rate, work, number))
            for number, (rate, work) in enumerate(paces)
        ]
        threads += [threading.Thread(target=self._beat, args=(which, beating)) for which in range(beating)]
        for thread in threads:
            thread.start()
        self._end.wait(seconds)
        self._end.set()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """Close all connections."""
        for node in self._nodes:
            node.database.close()

    def _at_pace(self, a_second: float, work: Callable[[random.Random], None], seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - not a secret
        due = time.monotonic() + 1 / a_second
        while not self._end.wait(max(due - time.monotonic(), 0)):
            work(chance)
            due = max(due + 1 / a_second, time.monotonic() - 1)

    def _beat(self, which: int, of: int) -> None:
        mine = self._nodes[which::of]
        if not mine:
            return
        due = time.monotonic()
        for node in itertools.cycle(mine):
            if self._end.wait(max(due - time.monotonic(), 0)):
                return
            due += BEAT_S / len(mine)
            if not node.is_silent:
                with self.samples.timed("sign of life"):
                    answer = node.ownership.beat(Load(50, 0, len(node.epochs)))
                    node.beat = answer.beat or node.beat

    @contextmanager
    def _someone(self, chance: random.Random) -> Iterator[SimulatedNode]:
        """Yield a node that lives, which nobody else works with at this moment."""
        while True:
            number = chance.randrange(len(self._nodes))
            with self._busy[number]:
                if not self._nodes[number].is_silent:
                    yield self._nodes[number]
                    return

    def _save(self, chance: random.Random) -> None:
        with self._someone(chance) as node:
            if node.epochs:
                session_id = chance.choice(list(node.epochs))
                with self.samples.timed("save"):
                    node.save([session_id], next(self._revision))

    def _look_up(self, chance: random.Random) -> None:
        with self._someone(chance) as other, self._someone_else(chance, other) as node:
            if other.epochs:
                session_id = chance.choice(list(other.epochs))
                by_id = chance.random() < 0.5
                with self.samples.timed("look-up by id" if by_id else "look-up by key"):
                    found = node.ownership.locate(
                        session_id if by_id else None, None if by_id else f"key-{session_id}"
                    )
                    assert found is not None

    @contextmanager
    def _someone_else(self, chance: random.Random, other: SimulatedNode) -> Iterator[SimulatedNode]:
        candidates = [one for one in self._nodes if one is not other and not one.is_silent]
        yield chance.choice(candidates or [other])

    def _claim(self, chance: random.Random) -> None:
        with self._someone(chance) as node:
            session_id = f"new-{next(self._fresh)}"
            with self.samples.timed("claim"):
                node.claim(session_id)
            with self.samples.timed("end"):
                node.database.write([EndSession(Owner(session_id, node.epochs.pop(session_id)))])

    def _list(self, chance: random.Random) -> None:
        with self._someone(chance) as node, self.samples.timed("copy of the others' sessions"):
            node.read_list()

    def _take_over(self, chance: random.Random) -> None:
        """Declare a node lost, have others take its sessions, and have it join again."""
        number = chance.randrange(len(self._nodes))
        lost = self._nodes[number]
        with self._busy[number]:
            lost.is_silent = True
            time.sleep(0.1)  # a sign of life may be on its way
            taken = list(lost.epochs)
        heirs = [node for node in self._nodes if node is not lost]
        while not chance.choice(heirs).ownership.declare_lost(lost.database.incarnation, lost.beat):
            lost.beat += 1
        for session_id in taken:
            heir = chance.choice(heirs)
            with self.samples.timed("look-up and take of a lost one"):
                found = heir.ownership.locate(session_id)
                assert found is not None, session_id
                row = heir.ownership.take(session_id, found.epoch)
                assert row is not None, session_id
            with self._busy[self._nodes.index(heir)]:
                heir.epochs[session_id] = row.row.owner.epoch
        with self._busy[number]:
            lost.epochs.clear()
            with self.samples.timed("join"):
                lost.join()


def cpu_s(server: Postgres) -> float:
    """Return the seconds of processor time that a server and its living processes have used."""
    total = 0.0
    for process in (psutil.Process(server.pid), *psutil.Process(server.pid).children()):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def number(server: Postgres, query: str) -> float:
    """Return the number that a query returns."""
    return float(str(server.execute(query)[0][0]))


def measure(server: Postgres, nodes: int, each: int, seconds: float) -> dict[str, list[float]]:
    """Run one size; print its rows, and return the samples."""
    server.execute("DROP TABLE IF EXISTS kept, states, sessions, nodes, cluster")
    server.execute("DROP SEQUENCE IF EXISTS epochs")
    simulation = Simulation(server.url, nodes, each)
    simulation.probe()
    committed = "SELECT sum(xact_commit) FROM pg_stat_database"
    written = "SELECT pg_current_wal_lsn() - '0/0'"
    before = cpu_s(server), number(server, committed), number(server, written), time.monotonic()
    simulation.run(seconds)
    took = time.monotonic() - before[3]
    time.sleep(1)  # statistics are written once a second
    used, commits, wal = (cpu_s(server) - before[0], number(server, committed), number(server, written))
    sizes = {table: number(server, f"SELECT pg_total_relation_size('{table}')") / 1024 for table in TABLES}
    print(
        f"\n{nodes} nodes, {nodes * each} sessions, {took:.0f} s: "
        f"{(commits - before[1]) / took:.0f} transactions/s, "
        f"PostgreSQL {100 * used / took:.1f} % of a core, WAL {(wal - before[2]) / took / 1024:.0f} KiB/s, "
        + ", ".join(f"{table} {size:.0f} KiB" for table, size in sizes.items())
    )
    for kind, found in sorted(simulation.samples.found.items()):
        ordered = sorted(found)
        print(
            f"  {kind:<30} {len(found):6} times, median {statistics.median(found):8.2f} ms, "
            f"99th percentile {ordered[len(ordered) * 99 // 100]:8.2f} ms"
        )
    for failure in simulation.samples.failed[:5]:
        print(f"  FAILED {failure}")
    simulation.close()
    return simulation.samples.found


def main() -> int:
    """Run all sizes, and name what is not flat."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40.0)
    options = parser.parse_args()
    end_orderly()
    with ExitStack() as stack:
        settings = ("max_connections=700", "fsync=on", "shared_buffers=256MB")
        server = stack.enter_context(postgres(settings=settings))
        results = [measure(server, nodes, each, options.seconds) for nodes, each in SIZES]
    print("\nMedian at most sessions to that at fewest:")
    for kind, fewest in sorted(results[0].items()):
        ratio = statistics.median(results[-1][kind]) / statistics.median(fewest)
        print(f"  {kind:<30} {ratio:6.2f} {'' if ratio <= FLAT else 'NOT FLAT'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
