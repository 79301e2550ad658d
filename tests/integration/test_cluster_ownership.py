"""The ownership of sessions over PostgreSQL: nodes that fall silent, come back, take sessions and write late.

No session is served under an old epoch once it was served under a newer one, and nothing is written so.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast
from unittest import mock

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from drover.browser.saved_state import SavedState
from drover.cluster import clock
from drover.cluster.fence import LOST_S
from drover.cluster.membership import Membership, NameWatch, Shared
from drover.cluster.own_sessions import OwnSessions
from drover.core.errors import InvalidRequest, NotOwner, StartRefused, StorageUnavailable
from drover.sessions.persistence.cluster_repository import ClusterRepository
from drover.sessions.persistence.pending_writes import PendingWrites
from drover.sessions.persistence.writer import Writer
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from drover.storage.changes import owner_of
from drover.storage.cluster_values import Load, NodeIdentity, TakenRow
from drover.storage.postgres.database import ClusterDatabase
from drover.storage.postgres.nodes import NEXT_EMERGENCY
from drover.storage.postgres.ownership import Ownership
from tests.machine import wait_until
from tests.postgres import MISSING, Postgres, is_installed, postgres
from tests.unit.examples import NOW, RUNNING, claim

pytestmark = [pytest.mark.skipif(not is_installed(), reason=MISSING), pytest.mark.timeout(600)]
NODES: Final = ("one", "two", "three")
IDS: Final = ("a", "b")


class Node:
    """One node of a cluster without browsers: its membership, its list of sessions and its repository."""

    def __init__(self, url: str, name: str, stack: ExitStack, folder: str = "first") -> None:
        identity = NodeIdentity(name, f"{folder}-{name}", "http://127.0.0.1:1", "0", 3)
        self.left: list[str] = []
        self.told: list[int] = []
        database = ClusterDatabase(url, lambda: identity, lambda _: None)
        stack.callback(database.close)
        self.database = database
        self.ownership = Ownership(database)
        database.call_while_name_is_taken(NameWatch(self.ownership).look)
        self.repository = ClusterRepository(database, self.ownership, "boot", lambda _: None)
        self.registry = SessionRegistry(3, 0, self.repository)
        with mock.patch.object(Writer, "start"):
            records = self.repository.open()
        for record in records:
            # Whatever was never ready is forgotten by a start.
            if record.running is None:
                self.repository.forget(record)
            else:
                self.registry.adopt(record.to_session(0.0, record.created_at))
        shared = Shared(database, self.ownership, self.repository)
        self.obstacle: str | None = None
        own = SimpleNamespace(registry=self.registry, closer=self, obstacle=lambda: self.obstacle)
        self.membership = Membership(shared, cast("OwnSessions", own), self.told.append, lambda _: None)
        self.membership.leave = self.left.append

    def give_away(self, session: Session) -> None:
        """End a session that another node has, in place of the closer."""
        self.registry.forget(self.registry.get(session.session_id))

    def ready(self, session_id: str) -> Session | None:
        """Return a session that this node would serve now."""
        if not self.membership.fence.may_serve():
            return None
        found = [one for one in self.registry.sessions() if one.session_id == session_id]
        return next((one for one in found if one.state is SessionState.READY), None)

    def beat(self) -> None:
        """Send a sign of life, twice if this node has to join again."""
        if not self.membership._beat():
            self.membership._beat()

    def flush(self) -> None:
        """Write what is pending."""
        self.repository._writer.flush()

    def create(self, session_id: str, key: str | None = None, **fields: object) -> Session:
        """Make a new session ready, and write it."""
        reserved = self.registry.claim(claim(session_id, key, **fields))
        assert isinstance(reserved, Reserved)
        self.publish(reserved, self.repository.claim(reserved.session))
        self.flush()
        return self.registry.get(session_id)

    def publish(self, reserved: Reserved, session: Session) -> None:
        """Make a session ready under the epoch that the database has given to it."""
        self.registry.update(session.session_id, lambda known: replace(known, epoch=session.epoch))
        assert self.registry.publish(reserved.session, running=RUNNING) is not None
        reserved.work.set_result(None)


class OwnershipMachine(RuleBasedStateMachine):
    """Three nodes of one cluster on one simulated clock."""

    server: Postgres

    def __init__(self) -> None:
        super().__init__()
        if self.server.execute("SELECT 1 FROM pg_tables WHERE tablename = 'nodes'"):
            self.server.execute("TRUNCATE sessions, states, kept, nodes")
        self._stack = ExitStack()
        self.now = 1000.0
        self._stack.enter_context(mock.patch.object(clock, "now", side_effect=lambda: self.now))
        self._stack.enter_context(mock.patch.object(clock.FreezeWatch, "has_jumped", return_value=False))
        self.nodes = {name: Node(self.server.url, name, self._stack) for name in NODES}
        self.served: dict[str, tuple[int, str]] = {}
        for node in self.nodes.values():
            node.beat()

    @rule(seconds=st.sampled_from([0.5, 2.0, 2.0, 3.5, 6.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from(NODES))
    def a_node_gives_a_sign_of_life(self, name: str) -> None:
        self.nodes[name].beat()

    @rule(silent=st.sampled_from(NODES), session_id=st.sampled_from(IDS))
    def all_but_one_go_on_until_it_is_lost_and_are_asked(self, silent: str, session_id: str) -> None:
        others = [name for name in NODES if name != silent]
        for _ in range(7):
            self.now += 2.0
            for name in others:
                self.nodes[name].beat()
        for name in others:
            self.a_client_asks_for_a_session(name, session_id, None)
            self.a_command_is_served(name, session_id)

    @rule(name=st.sampled_from(NODES), session_id=st.sampled_from(IDS), key=st.sampled_from([None, "k"]))
    def a_client_asks_for_a_session(self, name: str, session_id: str, key: str | None) -> None:
        node = self.nodes[name]
        if not node.membership.fence.may_serve() or node.registry.has(session_id, key):
            return
        found = node.ownership.locate(session_id)
        if found is not None and not found.is_free:
            return
        reserved = node.registry.claim(claim(session_id, None if found else key))
        assert isinstance(reserved, Reserved)
        try:
            if found is None:
                node.publish(reserved, node.repository.claim(reserved.session))
            else:
                row = node.ownership.take(session_id, found.epoch)
                assert row is not None
                node.publish(reserved, node.repository.taken(row, reserved.session)[0])
        except NotOwner:
            node.registry.forget(reserved.session)

    @rule(name=st.sampled_from(NODES), session_id=st.sampled_from(IDS))
    def a_command_is_served(self, name: str, session_id: str) -> None:
        session = self.nodes[name].ready(session_id)
        if session is None:
            return
        now, before = (session.epoch, name), self.served.get(session_id)
        assert before is None or before[0] < now[0] or before == now, "an old owner has served"
        self.served[session_id] = now

    @rule(name=st.sampled_from(NODES), session_id=st.sampled_from(IDS), writes=st.booleans())
    def a_state_is_saved_now_or_late(self, name: str, session_id: str, writes: bool) -> None:
        node = self.nodes[name]
        session = node.ready(session_id)
        if session is not None:
            node.repository.save_state(session, SavedState(f"https://x.example/{session.epoch}"))
        if writes:
            node.flush()

    @rule(name=st.sampled_from(NODES), session_id=st.sampled_from(IDS), parks=st.booleans())
    def a_session_ends_or_is_parked(self, name: str, session_id: str, parks: bool) -> None:
        node = self.nodes[name]
        session = node.ready(session_id)
        begun = node.registry.begin(session, SessionState.CLOSING) if session is not None else None
        if not isinstance(begun, Reserved):
            return
        if parks:
            node.ownership.park(owner_of(begun.session))
            node.repository._writer.change(lambda pending: pending.drop(begun.session))
        else:
            node.repository.forget(begun.session)
            node.flush()
        node.registry.forget(begun.session)
        begun.work.set_result(None)

    @rule(name=st.sampled_from(NODES))
    def a_node_is_killed_and_starts_again(self, name: str) -> None:
        self.nodes[name] = Node(self.server.url, name, self._stack)

    @invariant()
    def no_two_nodes_serve_one_session(self) -> None:
        for session_id in IDS:
            serving = [name for name, node in self.nodes.items() if node.ready(session_id) is not None]
            assert len(serving) <= 1, f"{session_id} is served by {serving}"

    @invariant()
    def nothing_is_written_by_a_later_owner_and_then_by_an_earlier_one(self) -> None:
        saved = "SELECT s.epoch, states.epoch, state FROM states JOIN sessions s USING (session_id)"
        for owner, writer, state in self.server.execute(saved):
            assert isinstance(owner, int)
            assert isinstance(writer, int)
            assert writer <= owner
            url = SavedState.from_json(str(state)).url
            assert url is not None
            assert int(url.rpartition("/")[2]) <= writer

    def teardown(self) -> None:
        """Close every connection of the example."""
        self._stack.close()


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[Postgres]:
    with postgres() as running:
        OwnershipMachine.server = running
        yield running


TestOwnership = pytest.mark.exhaustive(OwnershipMachine.TestCase)
TestOwnership.settings = settings(stateful_step_count=30)


@pytest.fixture
def pair(server: Postgres) -> Iterator[tuple[Node, Node]]:
    with ExitStack() as stack:
        if server.execute("SELECT 1 FROM pg_tables WHERE tablename = 'nodes'"):
            server.execute("TRUNCATE sessions, states, kept, nodes")
        one, two = (Node(server.url, name, stack) for name in ("dies", "lives"))
        for node in (one, two):
            node.beat()
        yield one, two


def declare_lost(lost: Node, by: Node) -> None:
    """Declare a node lost that is silent from now on."""
    by.beat()
    dead = lost.database.incarnation
    beat = next(node.beat for node in by.membership.nodes if node.incarnation == dead)
    assert by.ownership.declare_lost(dead, beat)


def take(node: Node, session_id: str) -> TakenRow:
    """Take a session that no living node has."""
    found = node.ownership.locate(session_id)
    assert found is not None
    row = node.ownership.take(session_id, found.epoch)
    assert row is not None
    return row


def test_a_lost_node_is_listed_with_the_sessions_that_nobody_has_restored_yet(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    # Its last sign of life was given before it had the session.
    one.create("counted")
    declare_lost(one, by=two)
    assert sessions_of_lost(two) == {"dies": 1}
    take(two, "counted")
    assert sessions_of_lost(two) == {"dies": 0}


def test_the_query_by_which_kubernetes_scales_counts_sessions_that_have_a_place(server: Postgres) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "machines.md").read_text(encoding="utf-8")
    found = re.search(r'query: "(SELECT [^"]+)"', page)
    assert found is not None
    with ExitStack() as stack:
        node = Node(server.url, "scaled", stack)
        counts = [server.execute(found[1])]
        for session_id, key in (("stays", None), ("parked", "k")):
            reserved = node.registry.claim(claim(session_id, key))
            assert isinstance(reserved, Reserved)
            node.publish(reserved, node.repository.claim(reserved.session))
        node.beat()
        counts.append(server.execute(found[1]))
        parked = node.registry.get("parked")
        node.ownership.park(owner_of(parked))
        node.registry.forget(parked)
        node.beat()
        counts.append(server.execute(found[1]))
    # Other tests have left nodes with sessions.
    before, both, one = (int(str(rows[0][0])) for rows in counts)
    assert (both - before, one - before) == (2, 1)


def sessions_of_lost(node: Node) -> dict[str, int]:
    """Return the numbers of sessions of the lost nodes, by name."""
    return {lost.name: lost.load.sessions for lost in node.ownership.lost_nodes()}


def test_a_session_that_was_never_saved_is_restored_with_the_login_that_it_was_started_with(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    one.repository._writer.change(lambda pending: pending.put("k", SavedState("https://kept.example/"), NOW))
    one.create("unchanged", "k")
    declare_lost(one, by=two)
    state = take(two, "unchanged").state
    assert state is not None
    assert SavedState.from_json(state.state).url == "https://kept.example/"


def test_a_name_that_postgresql_cannot_hold_is_refused_and_disturbs_nobody(pair: tuple[Node, Node]) -> None:
    one, _ = pair
    with pytest.raises(InvalidRequest):
        one.ownership.locate(None, "a\0b")
    assert one.ownership.locate("unknown") is None


def test_a_key_that_was_given_without_an_answer_can_be_given_again(pair: tuple[Node, Node]) -> None:
    one, _ = pair
    owner = owner_of(one.create("unnamed"))
    assert one.ownership.give_key(owner, "k")
    assert one.ownership.give_key(owner, "k")
    assert not one.ownership.give_key(owner, "other")


def test_a_session_with_a_very_long_idle_timeout_does_not_keep_others_from_ending(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    one.create("for-ever", idle_timeout=1e300)
    one.create("short", idle_timeout=1e-6)
    declare_lost(one, by=two)
    assert two.ownership.tidy() == 1
    assert two.ownership.locate("short") is None
    assert two.ownership.locate("for-ever") is not None


def test_an_emergency_of_all_nodes_ends_what_no_living_node_has(pair: tuple[Node, Node]) -> None:
    one, two = pair
    two.ownership.park(owner_of(two.create("parked", "k")))
    one.create("of-a-lost-node")
    declare_lost(one, by=two)
    two.create("living")
    two.ownership.begin_emergency()
    assert two.ownership.locate("parked") is None
    assert two.ownership.locate("of-a-lost-node") is None
    assert two.ownership.locate("living") is not None


def test_what_a_node_had_before_an_emergency_that_has_not_reached_it_is_not_restored(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    parked = one.create("parked-late", "k")
    one.create("cut-off")
    two.database.emergency = two.ownership.begin_emergency()
    two.create("made-since")
    one.ownership.park(owner_of(parked))
    assert two.ownership.locate("parked-late") is None
    declare_lost(one, by=two)
    assert two.ownership.locate("cut-off") is None
    two.beat()
    two.ownership.leave()
    assert two.ownership.locate("made-since") is not None


@pytest.mark.parametrize("end", ["closes", "is removed", "is idle"])
def test_what_a_session_leaves_while_an_emergency_of_all_nodes_begins_is_not_kept(
    pair: tuple[Node, Node], end: str
) -> None:
    one, two = pair
    session = one.create("ends", "k", idle_timeout=1e-6)
    one.repository.save_state(session, SavedState("https://left.example/"))
    one.flush()
    if end != "closes":
        declare_lost(one, by=two)

    def keep() -> None:
        if end == "closes":
            one.repository.keep_for_key(session, "k", SavedState("https://left.example/"))
            one.flush()
        elif end == "is removed":
            two.ownership.remove("ends", session.epoch, forgets_key=False)
        else:
            two.ownership.tidy()

    with psycopg.connect(OwnershipMachine.server.url) as connection:
        connection.execute(NEXT_EMERGENCY, [0])
        connection.execute("DELETE FROM kept")
        with suppress(StorageUnavailable):
            keep()
    wait_until(one.repository._writer.flush, "the rest is written")
    assert one.repository.kept_for_key("k") is None


def test_a_node_has_obeyed_what_any_life_of_it_has_obeyed_whatever_the_clock_of_the_database_says(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    # It gave its last sign of life before the clock was set back.
    OwnershipMachine.server.execute("UPDATE nodes SET seen_at = seen_at + interval '1 hour'")
    one.database.join(is_start=True)
    one.database.emergency = number = two.ownership.begin_emergency()
    one.beat()
    one.database.join(is_start=True)
    assert one.database.emergency == number


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield a clock of this node of which every look takes a second; a start looks without a pause."""
    counted = itertools.count(1000)
    monkeypatch.setattr(clock, "now", lambda: float(next(counted)))
    monkeypatch.setattr("drover.storage.postgres.database.START_PAUSE_S", 0.0)
    return counted


@pytest.mark.usefixtures("seconds")
def test_the_name_of_a_node_that_died_is_free_for_another_folder_if_no_node_lives(server: Postgres) -> None:
    with ExitStack() as stack:
        Node(server.url, "alone", stack)
        again = Node(server.url, "alone", stack, folder="second")
        again.beat()
        assert [node.name for node in again.membership.nodes if node.name == "alone"] == ["alone"]


def test_the_name_of_a_node_that_lives_is_not_free(
    server: Postgres, seconds: Iterator[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        lives = Node(server.url, "taken", stack)

        def now() -> float:
            # Between two looks it gives a sign of life, and is silent long enough to be lost without that.
            lives.ownership.beat(Load(0, 0, 0))
            return LOST_S * next(seconds)

        monkeypatch.setattr(clock, "now", now)
        monkeypatch.setattr("drover.storage.postgres.database.NAME_S", 1.0)
        with pytest.raises(StartRefused, match="DROVER_NODE_NAME"):
            Node(server.url, "taken", stack, folder="second")
        assert lives.ownership.beat(Load(0, 0, 0)).beat is not None
        assert next(seconds) > 1002


def test_a_copy_of_a_machine_takes_its_name_once_only(server: Postgres) -> None:
    with ExitStack() as stack:
        one, copy = (Node(server.url, "copied", stack) for _ in range(2))
        one.beat()
        assert "DROVER_NODE_NAME" in one.left[0]
        assert copy.ownership.beat(Load(0, 0, 0)).beat is not None


def test_a_node_whose_answer_to_a_join_was_lost_joins_again(pair: tuple[Node, Node]) -> None:
    one, two = pair
    session = one.create("goes-on")
    declare_lost(one, by=two)
    own = one.membership._shared.database
    run = own.beating.run

    def lose_answer(*call: Any) -> None:  # noqa: ANN401 - what `run` takes
        run(*call)
        raise StorageUnavailable("the answer was lost")

    with mock.patch.object(own.beating, "run", lose_answer), pytest.raises(StorageUnavailable):
        own.join()
    one.beat()
    assert not one.left
    assert one.ready(session.session_id) is not None


def test_a_sign_of_life_that_comes_late_does_not_bring_a_node_back_that_has_left(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    one.membership.stop()
    assert one.membership._beat() == 0.0
    two.beat()
    assert [node.name for node in two.membership.nodes] == ["lives"]


def test_a_row_that_an_emergency_is_about_to_delete_is_not_left_to_other_nodes(
    pair: tuple[Node, Node],
) -> None:
    one, _ = pair
    one.create("cleared", "k")
    one.registry.close_gate()
    one.repository._writer.change(PendingWrites.clear)
    for _ in range(3):
        one.beat()
    one.flush()
    assert one.ownership.locate("cleared") is None


def test_a_session_that_is_made_while_its_node_joins_again_is_not_ended(pair: tuple[Node, Node]) -> None:
    one, two = pair
    declare_lost(one, by=two)
    own = one.membership._shared.database
    join = own.join

    def join_slowly() -> object:
        rows = join()
        one.create("made-in-between")
        return rows

    # Nothing is written until the sessions have their new epochs.
    with mock.patch.object(own, "join", join_slowly), mock.patch.object(one, "flush"):
        one.beat()
    assert one.ready("made-in-between") is not None


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_session_that_closes_while_its_node_joins_again_does_not_come_back(
    pair: tuple[Node, Node], when: str
) -> None:
    one, two = pair
    one.create("deleted", "k")
    begun = one.registry.begin(one.registry.get("deleted"), SessionState.CLOSING)
    assert isinstance(begun, Reserved)
    closing = begun.session
    declare_lost(one, by=two)

    def end() -> None:
        one.repository.keep_for_key(closing, "k", SavedState("https://last.example/"))
        one.repository.forget(closing)

    own, writing = one.database, threading.Thread(target=one.flush)
    join = own.join

    def join_while_it_is_written() -> object:
        rows = join()
        writing.start()
        writing.join(0.5)
        return rows

    if when != "after":
        end()
    with mock.patch.object(own, "join", join_while_it_is_written if when == "during" else join):
        one.beat()
    if when == "after":
        end()
    if when == "during":
        writing.join()
    one.flush()
    assert two.ownership.locate("deleted") is None
    kept = two.repository.kept_for_key("k")
    assert kept is not None
    assert kept.url == "https://last.example/"


def test_a_node_serves_nothing_between_an_emergency_of_all_nodes_and_its_own_part_of_it(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    one.create("before")
    number = two.ownership.begin_emergency()
    one.beat()
    assert one.told == [number]
    assert one.ready("before") is None
    one.database.emergency = number
    one.beat()
    two.beat()
    assert one.membership.fence.may_serve()
    assert number in {node.emergency for node in two.membership.nodes if node.name == "dies"}


def test_a_node_that_can_start_no_browser_has_no_place_for_others(pair: tuple[Node, Node]) -> None:
    one, two = pair
    for obstacle, free in ((None, 3), ("Disk full", 0)):
        one.obstacle = obstacle
        one.beat()
        two.beat()
        assert [node.load.free for node in two.membership.other_nodes] == [free]
        assert one.membership.room.accepts_new is (obstacle is None)


def test_a_row_that_the_database_has_forgotten_is_written_again(pair: tuple[Node, Node]) -> None:
    one, two = pair
    epoch = one.create("forgotten", "k").epoch
    one.registry.release(one.registry.get("forgotten"))
    OwnershipMachine.server.execute("DELETE FROM sessions")
    one.beat()
    found = two.ownership.locate(None, "k")
    assert found is not None
    assert found.owner == one.database.incarnation
    assert found.epoch == one.registry.get("forgotten").epoch > epoch


def test_a_session_that_another_node_has_claimed_since_is_given_up(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.create("forgotten", "k")
    OwnershipMachine.server.execute("DELETE FROM sessions")
    two.create("heir", "k")
    one.beat()
    assert one.registry.sessions() == ()
    assert two.ready("heir") is not None


def test_a_claim_without_an_answer_is_released_after_two_signs_of_life(pair: tuple[Node, Node]) -> None:
    one, two = pair
    reserved = one.registry.claim(claim("lost-answer", "k"))
    assert isinstance(reserved, Reserved)
    reading = one.membership._shared.database.reading
    run = reading.run

    def lose_answer(*call: Any) -> None:  # noqa: ANN401 - what `run` takes
        run(*call)
        raise StorageUnavailable("the answer was lost")

    with mock.patch.object(reading, "run", lose_answer), pytest.raises(StorageUnavailable):
        one.repository.claim(reserved.session)
    one.registry.forget(reserved.session)
    one.beat()
    assert two.ownership.locate("lost-answer") is not None
    one.beat()
    assert two.ownership.locate("lost-answer") is None


def test_a_session_of_a_newer_version_is_left_to_nodes_that_can_read_it(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.create("newer", "k")
    OwnershipMachine.server.execute('UPDATE sessions SET document = \'{"made": "by a newer version"}\'')
    declare_lost(one, by=two)
    place = two.registry.claim(claim("newer"))
    assert isinstance(place, Reserved)
    with pytest.raises(NotOwner):
        two.repository.taken(take(two, "newer"), place.session)
    found = two.ownership.locate("newer")
    assert found is not None
    assert found.is_free


def test_a_node_starts_with_tables_of_the_next_version_only(server: Postgres) -> None:
    with ExitStack() as stack:
        Node(server.url, "old", stack)
        try:
            server.execute("UPDATE cluster SET version = version + 1")
            Node(server.url, "beside-the-next", stack)
            server.execute("UPDATE cluster SET version = version + 1")
            with pytest.raises(StartRefused, match="newer version of Drover"):
                Node(server.url, "too-old", stack)
        finally:
            server.execute("UPDATE cluster SET version = version - 2")
