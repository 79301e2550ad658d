"""The ownership of sessions over PostgreSQL: nodes that fall silent, come back, take sessions and write late.

No session is served under an old epoch once it was served under a newer one, and nothing is written so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, cast
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from drover.browser.saved_state import SavedState
from drover.cluster import clock
from drover.cluster.membership import Membership, Shared
from drover.core.errors import NotOwner
from drover.sessions.lifecycle.closer import Closer
from drover.sessions.persistence.cluster_repository import ClusterRepository
from drover.sessions.persistence.writer import Writer
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from drover.storage.changes import owner_of
from drover.storage.cluster_values import NodeIdentity
from drover.storage.postgres.database import ClusterDatabase
from drover.storage.postgres.ownership import Ownership
from tests.postgres import MISSING, Postgres, is_installed, postgres
from tests.unit.examples import RUNNING, claim

pytestmark = [pytest.mark.skipif(not is_installed(), reason=MISSING), pytest.mark.timeout(600)]
NODES: Final = ("one", "two", "three")
IDS: Final = ("a", "b")


class Node:
    """One node of a cluster without browsers: its membership, its list of sessions and its repository."""

    def __init__(self, url: str, name: str, stack: ExitStack) -> None:
        identity = NodeIdentity(name, f"data-{name}", "http://127.0.0.1:1", "0", 3)
        database = ClusterDatabase(url, lambda: identity, lambda _: None)
        stack.callback(database.close)
        self.ownership = Ownership(database)
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
        closer = cast("Closer", self)
        self.membership = Membership(
            shared, self.registry, closer, lambda _: None, lambda _: None, lambda _: None
        )

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


TestOwnership = OwnershipMachine.TestCase
TestOwnership.settings = settings(stateful_step_count=30)


def test_a_lost_node_is_listed_with_the_sessions_that_nobody_has_restored_yet(server: Postgres) -> None:
    with ExitStack() as stack:
        one, two = (Node(server.url, name, stack) for name in ("dies", "lives"))
        for node in (one, two):
            node.beat()
        # Its last sign of life was given before it had the session.
        reserved = one.registry.claim(claim("counted", None))
        assert isinstance(reserved, Reserved)
        one.publish(reserved, one.repository.claim(reserved.session))
        dead = one.ownership.incarnation
        beat = next(node.beat for node in two.membership.nodes if node.incarnation == dead)
        assert two.ownership.declare_lost(dead, beat)
        assert sessions_of_lost(two) == {"dies": 1}
        found = two.ownership.locate("counted")
        assert found is not None
        assert two.ownership.take("counted", found.epoch) is not None
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
