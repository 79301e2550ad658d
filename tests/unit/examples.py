"""Example sessions and claims for tests: short to write, complete to use."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.running_browser import RunningBrowser
from drover.core.events import Event
from drover.processes.table import ProcessIdentity
from drover.sessions.pool.acquire import Available, Claim, InProgress, Reserved, Waiter
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session
from drover.storage.cluster_values import Load, Node, NodeState
from drover.storage.session_folders import SessionFolder

NOW: Final = datetime(2026, 11, 22, 19, 40, 0, 123_000, tzinfo=timezone.utc)
RUNNING: Final = RunningBrowser(
    driver=ProcessIdentity(4711, 11.0),
    driver_url="http://127.0.0.1:41234",
    driver_session_id="d1",
    browser=ProcessIdentity(4720, 12.0),
    browser_version="156.0.8078.79",
    debugger_address="127.0.0.1:39999",
    browser_guid="guid-1",
)

_numbers = itertools.count(1)


def session(session_id: str = "one", **fields: Any) -> Session:  # noqa: ANN401 - any field of a session
    """Make a session in a folder of its own; `fields` replace any of the defaults."""
    folder = SessionFolder(Path(f"/data/s/{next(_numbers):08d}"))
    plain = Session(
        session_id=session_id,
        key=None,
        folder=folder,
        capabilities=CheckedCapabilities({}),
        first_page=None,
        idle_timeout=1800,
        created_at=NOW,
        last_used=NOW,
        last_used_mono=0.0,
    )
    return replace(plain, **fields)


def node(number: int, beat: int = 1, free: int = 0, evictable: int = 0) -> Node:
    """Return a living node."""
    load = Load(free, evictable, 0)
    return Node(UUID(int=number), f"n{number}", "http://x", NodeState.UP, beat, load, 3, "0", NOW, 0)


def claim(session_id: str | None = None, key: str | None = None, **fields: Any) -> Claim:  # noqa: ANN401 - any field of a session
    """Make a claim as a client's request does."""
    name = session_id or f"session_{next(_numbers):012d}"
    return Claim(session_id, key, lambda: session(name, key=key, **fields))


def reserve(registry: SessionRegistry, session_id: str | None = None, **fields: Any) -> Reserved:  # noqa: ANN401 - any field of a session
    """Claim a session that is not there yet while there is room."""
    answer = registry.claim(claim(session_id, **fields))
    assert isinstance(answer, Reserved)
    return answer


def ready(registry: SessionRegistry, session_id: str | None = None, **fields: Any) -> Session:  # noqa: ANN401 - any field of a session
    """Make a session ready that nobody holds."""
    reserved = reserve(registry, session_id, **fields)
    assert registry.publish(reserved.session, running=RUNNING) is not None
    registry.release(reserved.session)
    reserved.work.set_result(None)
    return registry.get(reserved.session.session_id)


def hold(registry: SessionRegistry, session_id: str) -> Session:
    """Claim a session that is ready."""
    answer = registry.claim(claim(session_id))
    assert isinstance(answer, Available)
    return answer.session


def queue(registry: SessionRegistry, session_id: str | None = None, key: str | None = None) -> Waiter:
    """Claim what there is no room for."""
    answer = registry.claim(claim(session_id, key))
    assert isinstance(answer, Waiter)
    return answer


def answer_of(ticket: Waiter) -> Available | InProgress | Reserved:
    """Return the answer of a ticket whose turn has come."""
    assert ticket.granted.done()
    return ticket.granted.result()


class MemoryJournal:
    """Keeps what a registry has recorded, in its order."""

    def __init__(self) -> None:
        self.recorded: list[Session] = []
        self._epochs = itertools.count(1)

    def next_epoch(self) -> int:
        """Return the next number."""
        return next(self._epochs)

    def record(self, session: Session) -> None:
        """Keep the session."""
        self.recorded.append(session)


class EventRecorder:
    """Hears events and keeps them."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def lines(self) -> list[str]:
        """Return the log lines heard so far."""
        return [event.message for event in self.events]


def packed_extension(
    manifest: Mapping[str, object] | None = None, files: Mapping[str, bytes] | None = None
) -> bytes:
    """Return a packed extension: a ZIP archive with this manifest and these files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        if manifest is None:
            manifest = {"manifest_version": 3, "name": "example", "version": "1"}
        opened.writestr("manifest.json", json.dumps(manifest))
        for name, content in (files or {}).items():
            opened.writestr(name, content)
    return archive.getvalue()


@contextmanager
def in_command(registry: SessionRegistry, session: Session) -> Iterator[None]:
    """Count a command of a session until the `with` block ends."""
    registry.command_begins(session)
    try:
        yield
    finally:
        registry.command_ends(session)
