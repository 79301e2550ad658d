"""Notices to a Grid's node: for which ends they are sent, how often, and what is logged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import pytest

from drover.core import events
from drover.core.backoff import Backoff
from drover.core.events import Event
from drover.core.jobs import JobKind, Jobs
from drover.core.threads import ThreadPool
from drover.net.grid_node import GridNode, GridNodeFailed
from drover.sessions.background import grid_slots
from drover.sessions.background.grid_slots import ATTEMPTS, GridSlots
from drover.sessions.lifecycle.close_work import CloseReason
from tests.unit.examples import EventRecorder

TIMEOUT_S = 10.0


class FakeNode:
    """A node that refuses the first requests, and records all."""

    def __init__(self, refusals: int = 0) -> None:
        self.requests: list[str] = []
        self._refusals = refusals

    def free_slot(self, session_id: str) -> None:
        self._request(session_id)

    def drain(self) -> None:
        self._request("drain")

    def _request(self, what: str) -> None:
        self.requests.append(what)
        if len(self.requests) <= self._refusals:
            raise GridNodeFailed("it is away")


class Notices:
    """The notices to one node; `of` returns when those of an event are done."""

    def __init__(self, node: FakeNode, known: Callable[[str], bool]) -> None:
        self.node = node
        self.heard = EventRecorder()
        self._pool = ThreadPool("grid", 1)
        jobs = Jobs({JobKind.GRID_NOTICE: self._pool}, self.heard)
        self.slots = GridSlots(cast("GridNode", node), known, jobs, self.heard)

    def of(self, *told: Event) -> list[str]:
        for event in told:
            self.slots.hear(event)
        self._pool.submit(lambda: None).result(TIMEOUT_S)
        return self.node.requests


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_slots, "PAUSES", Backoff(first_s=0.0, longest_s=0.0))


@pytest.fixture
def known() -> set[str]:
    return set()


@pytest.fixture
def notices(known: set[str]) -> Callable[..., Notices]:
    return lambda refusals=0: Notices(FakeNode(refusals), known.__contains__)


@pytest.mark.parametrize("why", CloseReason)
def test_the_node_is_told_of_every_end_that_it_has_not_asked_for(
    notices: Callable[..., Notices], why: CloseReason
) -> None:
    by_others = why not in {CloseReason.QUIT, CloseReason.UNWANTED, CloseReason.PROBED}
    assert notices().of(events.SessionClosed("a", why.value)) == (["a"] if by_others else [])


def test_the_node_is_told_of_all_sessions_of_an_emergency_and_of_those_that_were_not_adopted(
    notices: Callable[..., Notices],
) -> None:
    told = (events.EmergencyFinished(4, ("a", "b")), events.SessionForgotten("c", "its browser is gone"))
    assert notices().of(*told) == ["a", "b", "c"]


def test_the_node_is_told_of_a_drain(notices: Callable[..., Notices]) -> None:
    assert notices().of(events.DrainBegan(1, 60.0)) == ["drain"]


def test_the_node_is_not_told_of_warm_browsers_and_other_events(notices: Callable[..., Notices]) -> None:
    told = (events.SessionClosed("warm:0a", "evicted"), events.SessionCreated("a", 1, 2, 3))
    assert notices().of(*told) == []


def test_a_session_that_has_the_id_by_now_is_left_alone(
    notices: Callable[..., Notices], known: set[str]
) -> None:
    known.add("a")
    sent = notices()
    assert sent.of(events.SessionClosed("a", "evicted")) == []
    assert sent.heard.events == []


@pytest.mark.parametrize("refusals", range(ATTEMPTS))
def test_a_notice_is_repeated_until_it_arrives(notices: Callable[..., Notices], refusals: int) -> None:
    sent = notices(refusals)
    assert sent.of(events.SessionClosed("a", "idle")) == ["a"] * (refusals + 1)
    assert sent.heard.events == []


def test_after_three_attempts_the_log_says_which_slot_is_still_taken(notices: Callable[..., Notices]) -> None:
    sent = notices(ATTEMPTS)
    assert sent.of(events.SessionClosed("a", "idle")) == ["a"] * ATTEMPTS
    assert sent.heard.events == [events.GridSlotNotFreed("a", "it is away")]


def test_a_drain_that_the_node_does_not_hear_of_is_logged(notices: Callable[..., Notices]) -> None:
    sent = notices(ATTEMPTS)
    assert sent.of(events.DrainBegan(0, 60.0)) == ["drain"] * ATTEMPTS
    assert sent.heard.events == [events.GridNodeNotDrained("it is away")]


def test_nothing_is_repeated_when_the_service_stops(
    notices: Callable[..., Notices], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid_slots, "PAUSES", Backoff(first_s=600.0, longest_s=600.0))
    sent = notices(ATTEMPTS)
    threading.Timer(0.1, sent.slots.stop).start()
    assert sent.of(events.SessionClosed("a", "idle")) == ["a"]
    assert sent.heard.events == [events.GridSlotNotFreed("a", "it is away")]
