"""The close of a session whose end cannot be written at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from drover.core.errors import StorageUnavailable
from drover.sessions.lifecycle.close_work import CloseReason, CloseWork
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from tests.unit.examples import EventRecorder, MemoryJournal, ready


@pytest.mark.parametrize(
    ("reasons", "parks"),
    [
        ((CloseReason.DRAINED, CloseReason.RETRIED), True),
        ((CloseReason.DRAINED, CloseReason.DELETED), False),
        ((CloseReason.DELETED, CloseReason.RETRIED), False),
    ],
)
def test_a_session_that_could_not_be_left_to_other_nodes_is_left_by_the_retry(
    reasons: tuple[CloseReason, CloseReason], *, parks: bool
) -> None:
    registry = SessionRegistry(3, 0, MemoryJournal())
    ended: list[bool] = []

    def end(_: Session, *, parks: bool) -> None:
        ended.append(parks)
        if len(ended) == 1:
            raise StorageUnavailable("the database does not answer")

    def nothing(*_: object) -> None:
        return

    kept = SimpleNamespace(keep=nothing, forget_with=nothing, ended=end)
    launcher, devtools = SimpleNamespace(stop=nothing), SimpleNamespace(forget=nothing)
    browsers = SimpleNamespace(launcher=launcher, devtools=devtools)
    recorder = EventRecorder()
    parts: list[Any] = [registry, browsers, kept, SimpleNamespace(clear=nothing), recorder]
    work = CloseWork(*parts)
    ready(registry, "leaves", key="k")
    with pytest.raises(StorageUnavailable):
        close(work, registry, reasons[0])
    close(work, registry, reasons[1])
    assert ended[-1] == parks
    assert registry.sessions() == ()


def close(work: CloseWork, registry: SessionRegistry, why: CloseReason) -> None:
    """Begin to close the session, and do it."""
    begun = registry.begin(registry.get("leaves"), SessionState.CLOSING)
    assert isinstance(begun, Reserved)
    work.run(begun, why)
