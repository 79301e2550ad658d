"""A deletion of a session that is being closed already, for a reason that keeps its login."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from drover.core.deadline import Deadline
from drover.core.errors import NothingKept
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.lifecycle.closer import Closer
from drover.sessions.pool.acquire import InProgress, Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from tests.unit.examples import MemoryJournal, ready


class Closes:
    """A worker that closes sessions at once, and the keys that were forgotten after their close."""

    def __init__(self) -> None:
        self.registry = SessionRegistry(3, 0, MemoryJournal())
        self.reasons: list[CloseReason] = []
        self.forgotten: list[str] = []
        self.has_kept = True
        parts: list[Any] = [self.registry, self, None, SimpleNamespace(forget=self.forget)]
        self.closer = Closer(*parts)

    def close(self, reserved: Reserved, why: CloseReason) -> None:
        """Close a session."""
        self.reasons.append(why)
        self.registry.forget(reserved.session)
        reserved.work.set_result(None)

    def forget(self, key: str, _: Deadline) -> None:
        """Forget what is kept for a key."""
        self.forgotten.append(key)
        if not self.has_kept:
            raise NothingKept("nothing is kept")


@pytest.mark.parametrize(
    ("keep", "has_kept", "forgotten"), [(False, True, ["k"]), (False, False, ["k"]), (True, True, [])]
)
def test_a_deletion_that_joins_another_close_forgets_the_login_all_the_same(
    *, keep: bool, has_kept: bool, forgotten: list[str]
) -> None:
    closes = Closes()
    closes.has_kept = has_kept
    idle = closes.registry.begin(ready(closes.registry, "a", key="k"), SessionState.CLOSING)
    assert isinstance(idle, Reserved)
    joined, begin = threading.Event(), closes.registry.begin

    def begun(session: Session, state: SessionState) -> Reserved | InProgress | None:
        found = begin(session, state)
        joined.set()
        return found

    closes.registry.begin = begun  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as thread:
        closed = thread.submit(closes.closer.close, "a", Deadline(10.0), keep=keep)
        assert joined.wait(10)
        closes.close(idle, CloseReason.IDLE)
        closed.result(10)
    assert closes.forgotten == forgotten


def test_a_deletion_of_its_own_leaves_the_login_to_its_close() -> None:
    closes = Closes()
    ready(closes.registry, "a", key="k")
    closes.closer.close("a", Deadline(10.0))
    assert (closes.reasons, closes.forgotten) == ([CloseReason.DELETED], [])
