"""What has happened to each session: opened, recovered, evicted, closed, and at whose request.

It is kept in memory and in `<data_dir>/history.jsonl`, so that it outlives a restart, and for a day after the
end of a session. A line that cannot be written or read costs that entry of the history, and nothing else.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final, TextIO

from drover.core import events
from drover.core.events import Event
from drover.core.log_context import current_request

KEPT_AFTER_END: Final = timedelta(days=1)
MAX_ENTRIES: Final = 200
"""Entries of one session; the first stays, and of the others the newest."""
MAX_LINES: Final = 50_000
"""Lines of the file, before what is no longer needed is left out of it."""
_ENDS: Final = frozenset({"closed", "evicted", "start_failed", "not_adopted"})


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """Something that happened to a session; a field that does not apply is None.

    Attributes:
        time: When, in UTC.
        event: What: created, adopted, found_dead, recycling, recovered, recovery_failed, closed, evicted,
            start_failed, not_adopted, trouble.
        text: The same as a sentence.
        cause: What a recovery was for.
        method: How it was recovered.
        duration_ms: How long the start or recovery took.
        reason: Why it was closed.
        client: The address of the client whose request led to it; None if Drover did it by itself.
        request_id: That request, as the log names it.
    """

    time: datetime
    event: str
    text: str
    cause: str | None = None
    method: str | None = None
    duration_ms: int | None = None
    reason: str | None = None
    client: str | None = None
    request_id: str | None = None


_KINDS: Final[Mapping[type[Event], str]] = {
    events.SessionCreated: "created",
    events.SessionAdopted: "adopted",
    events.SessionAppearsDead: "found_dead",
    events.SessionRecycling: "recycling",
    events.SessionRecovered: "recovered",
    events.SessionRecoveryFailed: "recovery_failed",
    events.SessionClosed: "closed",
    events.EmergencyFinished: "closed",
    events.SessionStartFailed: "start_failed",
    events.CapabilitiesRejected: "start_failed",
    events.SessionForgotten: "not_adopted",
    events.SessionCloseIncomplete: "trouble",
    events.ProfileSetAside: "trouble",
    events.KeptProfileRefused: "trouble",
    events.StateNotRestored: "trouble",
}


def entry_of(event: Event, now: datetime) -> HistoryEntry | None:
    """Return the entry of an event in the history of its session; None if it is not part of any."""
    kind = _KINDS.get(type(event))
    if kind is None:
        return None
    is_emergency = isinstance(event, events.EmergencyFinished)
    reason = "emergency recovery" if is_emergency else getattr(event, "why", None)
    request = current_request()
    return HistoryEntry(
        now,
        "evicted" if reason == "evicted" else kind,
        event.message,
        getattr(event, "cause", None),
        getattr(event, "method", None),
        getattr(event, "duration_ms", None),
        reason,
        request.client if request is not None else None,
        request.request_id if request is not None else None,
    )


class SessionHistory:
    """The histories of all sessions; `now` returns the time in UTC. Thread-safe."""

    def __init__(
        self, data_dir: Path, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    ) -> None:
        self._path = data_dir / "history.jsonl"
        self._now = now
        self._lock = threading.Lock()
        self._entries: dict[str, list[HistoryEntry]] = {}
        self._unwritten: list[tuple[str, HistoryEntry]] = []
        self._lines = 0

    def hear(self, event: Event) -> None:
        """Add an event to the history of its sessions; subscribe this to the event hub."""
        entry = entry_of(event, self._now())
        if entry is None:
            return
        with self._lock:
            for session_id in self._sessions_of(event):
                self._add(session_id, entry)
                self._unwritten.append((session_id, entry))

    def of(self, session_id: str) -> tuple[HistoryEntry, ...]:
        """Return the history of a session, the oldest entry first; empty if nothing is known of it."""
        with self._lock:
            return tuple(self._entries.get(session_id, ()))

    def load(self) -> None:
        """Read what an earlier run has left, and leave out of the file what is no longer needed."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        with self._lock:
            for line in lines:
                read = _read(line)
                if read is not None:
                    self._add(*read)
        with suppress(OSError):
            # The disk is full: the file stays as long as it is.
            self._rewrite()

    @property
    def is_unsaved(self) -> bool:
        """Whether there are new entries that `save` would write."""
        return bool(self._unwritten)

    def save(self) -> None:
        """Write new entries to the file.

        Raises:
            OSError: The disk is full, or the folder is gone; these entries stay in memory only.
        """
        with self._lock:
            unwritten, self._unwritten = self._unwritten, []
        if not unwritten:
            return
        self._lines += len(unwritten)
        if self._lines > MAX_LINES:
            self._rewrite()
            return
        with _opened(self._path, os.O_APPEND) as file:
            file.writelines(_line(session_id, entry) for session_id, entry in unwritten)

    def _sessions_of(self, event: Event) -> list[str]:
        """Return the ids of the sessions to which an event has happened: an emergency, to all that live."""
        if isinstance(event, events.EmergencyFinished):
            return [name for name, entries in self._entries.items() if entries[-1].event not in _ENDS]
        return [getattr(event, "session_id", "")]

    def _add(self, session_id: str, entry: HistoryEntry) -> None:
        entries = self._entries.setdefault(session_id, [])
        entries.append(entry)
        if len(entries) > MAX_ENTRIES:
            del entries[1]

    def _rewrite(self) -> None:
        self.forget_expired()
        with self._lock:
            lines = [_line(name, entry) for name, entries in self._entries.items() for entry in entries]
            self._lines = len(lines)
        new = self._path.with_name(f"{self._path.name}.new")
        with _opened(new, os.O_TRUNC) as file:
            file.writelines(lines)
        new.replace(self._path)

    def forget_expired(self) -> None:
        """Forget the sessions that ended more than a day ago."""
        ended_before = self._now() - KEPT_AFTER_END
        with self._lock:
            expired = [
                session_id
                for session_id, entries in self._entries.items()
                if entries[-1].event in _ENDS and entries[-1].time <= ended_before
            ]
            for session_id in expired:
                del self._entries[session_id]


def _opened(path: Path, flag: int) -> TextIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")


def _line(session_id: str, entry: HistoryEntry) -> str:
    found = asdict(entry) | {"time": entry.time.isoformat(), "session_id": session_id}
    return json.dumps({name: value for name, value in found.items() if value is not None}) + "\n"


def _read(line: str) -> tuple[str, HistoryEntry] | None:
    try:
        found = json.loads(line)
        session_id = str(found.pop("session_id"))
        return session_id, HistoryEntry(**found | {"time": datetime.fromisoformat(found["time"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        # The machine crashed while the line was written, or another version has written it.
        return None
