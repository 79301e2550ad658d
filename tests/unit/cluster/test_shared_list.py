"""What a node writes of its sessions for others, and its copy of theirs, without a database."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from drover.api.session_answers import SessionObject
from drover.browser.health import Health, HealthStatus
from drover.cluster.membership import Membership, Shared
from drover.cluster.requests import Names
from drover.cluster.shared_list import VOLATILE_S, SharedList
from drover.net.addresses import Addresses
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session
from drover.storage.changes import Owner
from drover.storage.cluster_values import Summary
from tests.unit.examples import NOW, node, session

ADDRESSES = Addresses.of_node("one", "http://127.0.0.1:5010")


def described(one: Session) -> Mapping[str, object]:
    return SessionObject.of(one, ADDRESSES).json_object()


class FakeDatabase:
    """Notes what is written, and returns what a test has put in."""

    def __init__(self) -> None:
        self.losses = 0
        self.written: list[str] = []
        self.rows: list[Summary] = []
        self.asked: list[dict[str, int]] = []

    def describe(self, summaries: Sequence[tuple[Owner, float, Mapping[str, object]]]) -> None:
        self.written += [owner.session_id for owner, _, _ in summaries]

    def summaries(self, known: Mapping[str, int], limit: int) -> tuple[Summary, ...]:
        self.asked.append(dict(known))
        return tuple(
            replace(row, description=None) if known.get(row.session_id) == row.version else row
            for row in self.rows
        )

    def lost_nodes(self) -> tuple[Any, ...]:
        return ()


class Harness:
    """A shared list with one session of this node, which a test changes."""

    def __init__(self) -> None:
        self.database = FakeDatabase()
        self.own = session("own", epoch=5)
        registry = SimpleNamespace(sessions=lambda: (self.own,))
        membership = SimpleNamespace(nodes=(), other_nodes=())
        self.membership = membership
        self.list = SharedList(
            cast("SessionRegistry", registry),
            cast("Membership", membership),
            cast("Shared", SimpleNamespace(database=self.database, ownership=self.database)),
            described,
        )


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_a_session_at_rest_is_written_once_however_often_it_is_checked(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(5):
        health = Health(HealthStatus.HEALTHY, None, NOW + timedelta(minutes=minute), minute)
        harness.own = replace(harness.own, health=health)
        monkeypatch.setattr(time, "monotonic", lambda minute=minute: 60.0 * minute)
        harness.list.tick()
    assert harness.database.written == ["own"]


def test_a_changed_address_is_written_when_the_last_time_is_long_enough_ago(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at, url in ((0.0, "http://a"), (1.0, "http://b"), (VOLATILE_S + 1, "http://b")):
        harness.own = replace(harness.own, current_url=url)
        monkeypatch.setattr(time, "monotonic", lambda at=at: at)
        harness.list.tick()
    assert harness.database.written == ["own", "own"]


def test_only_a_session_that_was_described_anew_is_read_again(harness: Harness) -> None:
    other = session("other", key="first")
    harness.database.rows = [Summary("other", 1, None, described(other))]
    harness.list.tick()
    harness.list.tick()
    assert harness.database.asked == [{}, {"other": 1}]
    assert [one.key for one in harness.list.others] == ["first"]
    harness.database.rows = [Summary("other", 2, None, described(replace(other, key="second")))]
    harness.list.tick()
    assert [one.key for one in harness.list.others] == ["second"]
    harness.database.rows = []
    harness.list.tick()
    assert harness.list.others == ()


def test_after_a_loss_of_the_database_all_is_written_and_read_again(harness: Harness) -> None:
    other = session("other", key="first")
    harness.database.rows = [Summary("other", 7, None, described(other))]
    harness.list.tick()
    # The failover has set the versions back: the same one names another description now.
    harness.database.rows = [Summary("other", 7, None, described(replace(other, key="second")))]
    harness.database.losses += 1
    harness.list.tick()
    harness.list.tick()
    assert harness.database.written == ["own", "own"]
    assert harness.database.asked == [{}, {}, {"other": 7}]
    assert [one.key for one in harness.list.others] == ["second"]


def test_the_description_of_a_newer_version_that_cannot_be_read_is_left_out(harness: Harness) -> None:
    harness.database.rows = [Summary("other", 1, None, {"session_id": 7})]
    harness.list.tick()
    assert harness.list.others == ()


def test_a_session_is_served_elsewhere_only_if_its_node_lives(harness: Harness) -> None:
    living = replace(node(2), name="living")
    harness.membership.nodes = harness.membership.other_nodes = (living,)
    owners = {"theirs": "living", "orphan": "lost", "parked": None}
    harness.database.rows = [Summary(one, 1, owner, described(session(one))) for one, owner in owners.items()]
    harness.list.tick()
    assert [one.session_id for one in harness.list.served] == ["theirs"]
    assert [one.session_id for one in harness.list.others] == list(owners)


@pytest.mark.parametrize("names", [Names(session_id="theirs"), Names(key="k"), Names("other", "k")])
def test_the_living_node_of_a_listed_session_is_known(harness: Harness, names: Names) -> None:
    living = replace(node(2), name="living")
    harness.membership.other_nodes = (living,)
    harness.database.rows = [Summary("theirs", 1, "living", described(session("theirs", key="k")))]
    harness.list.tick()
    found = harness.list.locate(names)
    assert found is not None
    assert (found.session_id, found.owner, found.url) == ("theirs", living.incarnation, living.url)
    assert not found.is_free
    assert harness.list.locate(Names(session_id="own")) is None
    assert harness.list.locate(Names(socket_secret="s")) is None
    harness.membership.other_nodes = ()
    assert harness.list.locate(names) is None
