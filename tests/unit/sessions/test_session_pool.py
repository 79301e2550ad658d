"""What the pool does to rows of a database that other nodes share, when a session changes in the meantime."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.core.deadline import Deadline
from drover.core.errors import SessionInUse, SessionLost
from drover.sessions.lifecycle.session_pool import PoolPolicy, SessionPool
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.acquire_request import AcquireRequest
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Lease, Session, SessionState
from tests.unit.examples import NOW, MemoryJournal, ready, session

LEASE = Lease("another client", "token", NOW, 1e12)
POLICY = PoolPolicy(0.0, 0.0, hands_out_warm=False, keeps_profiles=False)


class Rows:
    """The rows of a shared database: a repository whose answers come when the session is gone."""

    trouble = None

    def __init__(self) -> None:
        self.given: list[str] = []
        self.forgotten: list[int] = []
        self.registry = SessionRegistry(3, 0, MemoryJournal())
        folders = SimpleNamespace(
            room=SimpleNamespace(shortage=None), choose=lambda: session("folder").folder
        )
        self.started: list[Reserved] = []
        worker = SimpleNamespace(evict=lambda: None, start=self.started.append)
        parts: list[Any] = [self.registry, worker, None, folders, self, POLICY]
        self.pool = SessionPool(*parts)

    def claim(self, claimed: Session) -> Session:
        return self.lose(claimed)

    def lose(self, known: Session) -> Session:
        """Return a session under its epoch, after it has left the list."""
        self.registry.forget(known)
        return replace(known, epoch=7)

    def give_key(self, _: Session, key: str) -> None:
        self.given.append(key)

    def forget(self, known: Session) -> int:
        self.forgotten.append(known.epoch)
        return 0

    def ask(self, session_id: str, token: str | None = None) -> None:
        """Ask for a session, and give it a key."""
        request = AcquireRequest(session_id, "k", None, CheckedCapabilities({}), None, token=token)
        self.pool.acquire(request, Deadline(1.0))


def test_a_session_that_another_client_has_leased_gets_no_key() -> None:
    rows = Rows()
    ready(rows.registry, "leased", lease=LEASE)
    with pytest.raises(SessionInUse):
        rows.ask("leased")
    assert rows.given == []
    rows.ask("leased", token=LEASE.token)
    assert rows.given == ["k"]


def test_the_row_of_a_session_that_was_closed_while_it_was_claimed_is_removed() -> None:
    rows = Rows()
    with pytest.raises(SessionLost):
        rows.ask("closed")
    assert rows.forgotten == [7]


def test_a_session_whose_close_began_while_it_was_claimed_is_not_started() -> None:
    rows = Rows()

    def begin_to_close(known: Session) -> Session:
        assert isinstance(rows.registry.begin(known, SessionState.CLOSING), Reserved)
        return replace(known, epoch=7)

    rows.lose = begin_to_close  # type: ignore[method-assign]
    with pytest.raises(SessionLost):
        rows.ask("closes")
    assert (rows.started, rows.forgotten) == ([], [7])
    assert rows.registry.get("closes").state is SessionState.CLOSING


@pytest.mark.parametrize("stops", [False, True])
def test_the_row_of_a_session_that_was_closed_while_it_was_taken_is_removed_unless_the_service_stops(
    *, stops: bool
) -> None:
    rows = Rows()

    def take(reserved: Session) -> Session:
        if stops:
            rows.registry.stop()
        return rows.lose(reserved)

    rows.pool.restore("taken", take, Deadline(1.0))
    assert rows.forgotten == ([] if stops else [7])
