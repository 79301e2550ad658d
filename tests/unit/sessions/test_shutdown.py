"""The end of sessions that cannot be closed before the service stops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from drover.core.errors import StorageUnavailable
from drover.sessions.lifecycle.shutdown import Shutdown
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session
from tests.unit.examples import MemoryJournal, ready


def test_a_session_whose_profile_cannot_be_kept_comes_back_and_the_others_end() -> None:
    registry = SessionRegistry(3, 0, MemoryJournal())
    full, other = ready(registry, "full"), ready(registry, "other")
    ended: list[str] = []

    def keep(session: Session) -> None:
        if session.session_id == "full":
            raise StorageUnavailable("the disk is full")

    closer = SimpleNamespace(close_all=lambda *_: (full, other))
    repository = SimpleNamespace(forget=lambda one: ended.append(one.session_id))
    parts: list[Any] = [registry, closer, None, None, repository, SimpleNamespace(keep_as_saved=keep)]
    stopping = Shutdown(*parts)
    stopping.kill = lambda: None  # type: ignore[method-assign]
    assert stopping.stop(keep_browsers=False) == ("full", "other")
    assert ended == ["other"]
