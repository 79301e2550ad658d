"""The close of a session that cannot be completed at once."""

from __future__ import annotations

from collections.abc import Callable
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

    work = close_work(registry, SimpleNamespace(keep=nothing, forget_with=nothing, ended=end))
    ready(registry, "leaves", key="k")
    with pytest.raises(StorageUnavailable):
        close(work, registry, reasons[0])
    close(work, registry, reasons[1])
    assert ended[-1] == parks
    assert registry.sessions() == ()


@pytest.mark.parametrize(
    ("reasons", "done"),
    [
        ((CloseReason.IDLE, CloseReason.RETRIED), ["keep", "keep"]),
        ((CloseReason.DELETED, CloseReason.RETRIED), ["forget", "forget"]),
        ((CloseReason.IDLE, CloseReason.DELETED), ["keep", "forget"]),
    ],
)
def test_what_could_not_be_kept_or_forgotten_for_the_key_is_so_by_the_retry(
    reasons: tuple[CloseReason, CloseReason], done: list[str]
) -> None:
    registry = SessionRegistry(3, 0, MemoryJournal())
    tried: list[str] = []

    def note(what: str) -> None:
        tried.append(what)
        if len(tried) == 1:
            raise StorageUnavailable("the disk is full")

    kept = SimpleNamespace(
        keep=lambda _: note("keep"), forget_with=lambda _: note("forget"), ended=lambda *_, **__: None
    )
    work = close_work(registry, kept)
    ready(registry, "leaves", key="k")
    with pytest.raises(StorageUnavailable):
        close(work, registry, reasons[0])
    close(work, registry, reasons[1])
    assert tried == done
    assert registry.sessions() == ()


def test_a_retry_after_the_browser_was_ended_keeps_nothing_once_more() -> None:
    registry = SessionRegistry(3, 0, MemoryJournal())
    tried: list[str] = []

    def end(*_: object, **__: object) -> None:
        if len(tried) == 1:
            tried.append("end")
            raise StorageUnavailable("the database does not answer")

    work = close_work(registry, SimpleNamespace(keep=lambda _: tried.append("keep"), ended=end))
    ready(registry, "leaves", key="k")
    with pytest.raises(StorageUnavailable):
        close(work, registry, CloseReason.IDLE)
    close(work, registry, CloseReason.RETRIED)
    assert tried == ["keep", "end"]


def test_the_browser_ends_although_its_profile_cannot_be_kept_yet() -> None:
    registry = SessionRegistry(3, 0, MemoryJournal())
    stopped: list[object] = []

    def keep(_: object) -> None:
        raise StorageUnavailable("the disk is full")

    work = close_work(registry, SimpleNamespace(keep=keep), stop=lambda *_: stopped.append("browser"))
    ready(registry, "leaves", key="k")
    with pytest.raises(StorageUnavailable):
        close(work, registry, CloseReason.IDLE)
    assert stopped == ["browser"]
    assert registry.get("leaves").state is SessionState.CLOSING


def close_work(
    registry: SessionRegistry, kept: object, stop: Callable[..., None] = lambda *_: None
) -> CloseWork:
    """Return what closes sessions; `stop` ends their browsers."""
    launcher, devtools = SimpleNamespace(stop=stop), SimpleNamespace(forget=nothing)
    browsers = SimpleNamespace(launcher=launcher, devtools=devtools)
    parts: list[Any] = [registry, browsers, kept, SimpleNamespace(clear=nothing), EventRecorder()]
    return CloseWork(*parts)


def nothing(*_: object) -> None:
    """Do nothing."""


def close(work: CloseWork, registry: SessionRegistry, why: CloseReason) -> None:
    """Begin to close the session, and do it."""
    begun = registry.begin(registry.get("leaves"), SessionState.CLOSING)
    assert isinstance(begun, Reserved)
    work.run(begun, why)
