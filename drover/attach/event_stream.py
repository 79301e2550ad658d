"""`GET /events`: state changes as server-sent events.

Sessions, processes and capacity are read only while at least one client listens, on threads of their own, and
once for all listeners. A client that reads too slowly loses its queued messages and gets the whole state
instead, so no client makes the service keep more than `LONGEST_QUEUE` messages.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

from drover.api.descriptions import stream
from drover.attach.router import Route
from drover.core import events
from drover.core.errors import ShuttingDown
from drover.core.events import Event
from drover.core.logs import LogLine, rfc3339
from drover.core.tasks import is_set_within
from drover.net.asgi import Header, Receive, Scope, Send

T = TypeVar("T")
Json = Mapping[str, object]

HEARTBEAT_S = 15.0
RETRY_MS = 2000
DEBOUNCE_S = 0.1
SESSIONS_EVERY_S = 0.5
PROCESSES_PAUSE_S = 1.0
PROCESSES_EVERY_S = 4.0
"""Together with the time of the read itself, the process table is never older than five seconds."""
LONGEST_QUEUE = 256
LOG_LINES = 500
MOMENTS = 200

_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Without this, nginx holds events until its buffer is full.
    (b"x-accel-buffering", b"no"),
)
_CHANGES_PROCESSES = (
    events.SessionCreated,
    events.SessionRecovered,
    events.SessionClosed,
    events.CleanupFinished,
    events.EmergencyFinished,
    events.ProcessSurvived,
)

_logger = logging.getLogger("drover")


@dataclass(frozen=True, slots=True)
class StateProviders:
    """Functions that read the state; each is called on a thread and may block.

    Attributes:
        sessions: Returns every session object, each with its `session_id`.
        processes: Returns every Chrome-like process with its verdict, each with its `pid`.
        capacity: Returns the load of the service.
    """

    sessions: Callable[[], Sequence[Json]]
    processes: Callable[[], Sequence[Json]]
    capacity: Callable[[], Json]


class RingBuffer:
    """The most recent entries; thread-safe."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, object]] = deque(maxlen=size)
        self._last = 0

    def add(self, entry: Mapping[str, object]) -> None:
        """Add an entry under the next `number`; if the buffer is full, the oldest entry is dropped."""
        with self._lock:
            self._last += 1
            self._entries.append({"number": self._last, **entry})

    def since(self, number: int) -> tuple[int, list[dict[str, object]]]:
        """Return the number of the last entry, and the kept entries that came after `number`."""
        with self._lock:
            missed = min(self._last - number, len(self._entries))
            return self._last, [self._entries[place - missed] for place in range(missed)]

    @property
    def last(self) -> int:
        """Number of the entry that was added last; 0 if there was none."""
        with self._lock:
            return self._last


class RowDiff:
    """The rows that were last read, compared with each new read.

    Args:
        key: The field that identifies a row.
        ageing: Fields, of rows and of objects in them, that change all the time; a difference in them is no
            change.
    """

    def __init__(self, key: str, ageing: frozenset[str]) -> None:
        self._key = key
        self._ageing = ageing
        self._rows: dict[object, Json] = {}

    @property
    def all(self) -> list[Json]:
        """All rows of the last read."""
        return list(self._rows.values())

    def replace(self, rows: Sequence[Json]) -> dict[str, list[object]]:
        """Replace the rows and return the difference.

        Returns:
            `changed`: rows that are new or different; `removed`: keys that are gone.
        """
        before, self._rows = self._rows, {row[self._key]: row for row in rows}
        return {
            "changed": [
                row
                for key, row in self._rows.items()
                if key not in before or self._lasting(before[key]) != self._lasting(row)
            ],
            "removed": [key for key in before if key not in self._rows],
        }

    def _lasting(self, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {name: self._lasting(part) for name, part in value.items() if name not in self._ageing}


class Listener:
    """One open response and the messages that wait to be sent to it."""

    def __init__(self) -> None:
        self.behind = True
        """Whether the whole state must be sent next: at the start, and after messages were dropped."""
        self.over = False
        self.news = asyncio.Event()
        self._queue: deque[bytes] = deque()

    def tell(self, message: bytes) -> None:
        """Queue a message; a full queue is discarded, and the listener is marked as behind."""
        if not self.behind:
            self._queue.append(message)
            if len(self._queue) > LONGEST_QUEUE:
                self._queue.clear()
                self.behind = True
        self.news.set()

    def take(self) -> bytes:
        """Remove and return all queued messages."""
        queued = b"".join(self._queue)
        self._queue.clear()
        return queued

    def end(self) -> None:
        """End the response."""
        self.over = True
        self.news.set()


DESCRIPTIONS = (
    stream(
        "/events",
        "Receive events",
        "Server-sent events: changes of sessions and processes, and log lines.",
        (),
        of="Events",
        media_type="text/event-stream",
    ),
)


class EventStream:
    """Publisher of events, log lines and state changes to all clients of `/events`."""

    def __init__(self, sources: StateProviders, threads: Executor) -> None:
        self._sources = sources
        self._log = RingBuffer(LOG_LINES)
        self._timeline = RingBuffer(MOMENTS)
        self._threads = threads
        self._listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._number = 0
        self._failing: dict[str, str] = {}
        self._forget()

    def _forget(self) -> None:
        self._sessions = RowDiff("session_id", ageing=frozenset({"checked_at", "latency_ms", "as_of"}))
        self._processes = RowDiff("pid", ageing=frozenset({"age_s"}))
        self._processes_read_at: str | None = None
        self._capacity: Json | None = None
        self._log_sent = self._timeline_sent = 0
        self._wake = asyncio.Event()
        self._processes_wake = asyncio.Event()

    def hear(self, event: Event) -> None:
        """Record an event; callable from any thread, never blocks."""
        entry = event.timeline_entry(_now())
        if entry is not None:
            self._timeline.add(entry)
        self._in_loop(self._wake.set)
        if isinstance(event, _CHANGES_PROCESSES):
            self._in_loop(self._processes_wake.set)

    def hear_line(self, line: LogLine) -> None:
        """Record a log line; callable from any thread, never blocks."""
        self._log.add({"time": line.time, "level": line.level.lower(), "message": line.message})
        self._in_loop(self._wake.set)

    def close(self) -> None:
        """End every open response and accept no more; callable from any thread."""
        self._closed = True
        self._in_loop(self._end_all)

    def routes(self) -> list[Route]:
        """Return the route of `/events`."""
        return [Route("http", re.compile(r"/events/?"), self.serve)]

    async def serve(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Stream events to one client until it disconnects or the service stops.

        Raises:
            ShuttingDown: The service is stopping.
        """
        if self._closed:
            raise ShuttingDown
        listener = self._enter()
        leaving = asyncio.create_task(_end_when_left(receive, listener))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            await _send_part(send, f"retry: {RETRY_MS}\n\n".encode())
            await self._feed(listener, send)
            await send({"type": "http.response.body", "body": listener.take(), "more_body": False})
        finally:
            leaving.cancel()
            self._leave(listener)

    async def _feed(self, listener: Listener, send: Send) -> None:
        while not listener.over:
            if not await is_set_within(listener.news, HEARTBEAT_S):
                await _send_part(send, b": nothing new\n\n")
                continue
            listener.news.clear()
            part = self._next_part(listener)
            if part:
                await _send_part(send, part)

    def _next_part(self, listener: Listener) -> bytes:
        if not listener.behind:
            return listener.take()
        if self._capacity is None:
            return b""
        # Messages published while the state is being sent must come after it.
        listener.behind = False
        return self._state()

    def _enter(self) -> Listener:
        listener = Listener()
        self._listeners.append(listener)
        listener.news.set()
        if not self._tasks:
            self._loop = asyncio.get_running_loop()
            self._log_sent, self._timeline_sent = self._log.last, self._timeline.last
            self._tasks = [asyncio.create_task(watch()) for watch in (self._watch, self._watch_processes)]
        return listener

    def _leave(self, listener: Listener) -> None:
        self._listeners.remove(listener)
        if not self._listeners:
            self._loop = None
            for task in self._tasks:
                task.cancel()
            self._tasks = []
            self._forget()

    def _end_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        # The last log lines, which say that the service stops, must still be sent.
        self._publish_rings()
        for listener in self._listeners:
            listener.end()

    def _in_loop(self, call: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            # The loop may have ended in the meantime; then there are no listeners left.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(call)

    async def _watch(self) -> None:
        while True:
            self._wake.clear()
            sessions = await self._read(self._sources.sessions, "The sessions")
            capacity = await self._read(self._sources.capacity, "The capacity")
            if sessions is not None and capacity is not None:
                change = self._sessions.replace(sessions)
                if change["changed"] or change["removed"]:
                    self._publish("sessions", change)
                if capacity != self._capacity:
                    self._capacity = capacity
                    self._publish("capacity", capacity)
            self._publish_rings()
            await is_set_within(self._wake, SESSIONS_EVERY_S)
            await asyncio.sleep(DEBOUNCE_S)

    async def _watch_processes(self) -> None:
        while True:
            self._processes_wake.clear()
            rows = await self._read(self._sources.processes, "The process table")
            if rows is not None:
                self._processes_read_at = _now()
                # Sent even without a change, so that clients know how fresh the table is.
                self._publish(
                    "processes", {"read_at": self._processes_read_at, **self._processes.replace(rows)}
                )
            await asyncio.sleep(PROCESSES_PAUSE_S)
            await is_set_within(self._processes_wake, PROCESSES_EVERY_S - PROCESSES_PAUSE_S)

    async def _read(self, source: Callable[[], T], what: str) -> T | None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, source)
        except ShuttingDown:
            return None
        except Exception as error:
            # Logged once: the log line itself is an event that triggers the next read.
            if self._failing.get(what) != repr(error):
                self._failing[what] = repr(error)
                _logger.exception("%s could not be read for /events", what)
            return None
        self._failing.pop(what, None)
        return found

    def _publish_rings(self) -> None:
        self._log_sent, lines = self._log.since(self._log_sent)
        self._timeline_sent, entries = self._timeline.since(self._timeline_sent)
        if lines:
            self._publish("log", {"lines": lines})
        if entries:
            self._publish("timeline", {"moments": entries})

    def _publish(self, kind: str, data: Json) -> None:
        self._number += 1
        message = _message(self._number, kind, data)
        for listener in self._listeners:
            listener.tell(message)

    def _state(self) -> bytes:
        processes = {"read_at": self._processes_read_at, "rows": self._processes.all}
        return _message(
            self._number,
            "state",
            {
                "sessions": self._sessions.all,
                "processes": processes if self._processes_read_at else None,
                "capacity": self._capacity,
                "timeline": self._timeline.since(0)[1],
                "log": self._log.since(0)[1],
            },
        )


async def _end_when_left(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end()


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


def _message(number: int, kind: str, data: Json) -> bytes:
    # ASCII only: a process name may contain bytes that are not valid UTF-8.
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _now() -> str:
    return rfc3339(datetime.now(timezone.utc))
