"""Where requests for sessions of other nodes go: what is remembered, and for how long."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import pytest

from drover.cluster.locations import REMEMBERED_S, WITHOUT_DATABASE_S, Locations
from drover.cluster.membership import Shared
from drover.cluster.requests import Names
from drover.core.errors import StorageUnavailable
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.cluster_values import Located, NodeState

OWNER, OTHER = UUID(int=1), UUID(int=2)
NAMES = Names(session_id="one")


class Asked:
    """A place that is looked up, and how often that was."""

    def __init__(self) -> None:
        self.times = 0
        self.living = {OWNER}
        self.answers = True
        self.copied: Located | None = None
        self.found = Located("one", None, 3, OWNER, NodeState.UP, "http://x", "x", 1)
        self.locations = Locations(
            cast("SessionRegistry", SimpleNamespace()),
            cast("Shared", SimpleNamespace(ownership=SimpleNamespace(locate=self._locate))),
            lambda incarnation: incarnation in self.living,
            lambda _: self.copied,
            ThreadPoolExecutor(1),
        )

    def find(self) -> Located | None:
        return asyncio.run(self.locations.find(NAMES))

    def _locate(self, *_: object) -> Located:
        self.times += 1
        if not self.answers:
            raise StorageUnavailable("the database does not answer")
        return self.found


def test_the_node_of_a_session_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    now = time.monotonic()
    for after, times in ((0.0, 1), (REMEMBERED_S - 1, 1), (REMEMBERED_S + 1, 2)):
        monkeypatch.setattr("drover.cluster.locations.time.monotonic", lambda after=after: now + after)
        assert asked.find() == asked.found
        assert asked.times == times


def test_a_node_that_does_not_live_any_more_is_not_remembered() -> None:
    asked = Asked()
    asked.find()
    asked.living.clear()
    asked.find()
    assert asked.times == 2


def test_a_place_that_was_wrong_is_looked_up_again() -> None:
    asked = Asked()
    asked.find()
    asked.locations.forget(NAMES)
    asked.find()
    assert asked.times == 2


def test_a_living_node_has_its_sessions_while_the_database_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked()
    now = time.monotonic()
    assert asked.find() == asked.found
    asked.answers = False
    later = (
        REMEMBERED_S + 1,
        REMEMBERED_S + 1 + WITHOUT_DATABASE_S / 2,
        REMEMBERED_S + 1 + WITHOUT_DATABASE_S,
    )
    for after, times in zip(later, (2, 2, 3), strict=True):
        monkeypatch.setattr("drover.cluster.locations.time.monotonic", lambda after=after: now + after)
        assert asked.find() == asked.found
        # A database that hangs takes its time to fail, and not for every request.
        assert asked.times == times
    asked.living.clear()
    with pytest.raises(StorageUnavailable):
        asked.find()


def test_without_the_database_a_session_is_where_the_list_of_all_sessions_says() -> None:
    asked = Asked()
    asked.answers = False
    with pytest.raises(StorageUnavailable):
        asked.find()
    asked.copied = asked.found
    assert asked.find() == asked.found


def test_without_the_database_the_list_of_all_sessions_counts_more_than_what_was_found_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked()
    now = time.monotonic()
    asked.find()
    asked.answers = False
    asked.copied = replace(asked.found, owner=OTHER, url="http://y")
    asked.living.add(OTHER)
    monkeypatch.setattr("drover.cluster.locations.time.monotonic", lambda: now + REMEMBERED_S + 1)
    assert asked.find() == asked.copied
