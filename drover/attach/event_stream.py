"""`GET /events`: what changes, as server-sent events for everybody who looks.

Sessions, processes and capacity are looked at only while somebody listens, on threads of their own, and
once for all listeners. Whoever reads too slowly loses what was meant for him and is told the whole state
instead, so that nobody makes the service keep more than `LONGEST_QUEUE` messages.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

from drover.attach.ring_buffer import RingBuffer
from drover.attach.router import Route
from drover.attach.timeline import timeline_entry, timeline_json
from drover.core import events
from drover.core.errors import ShuttingDown
from drover.core.events import Event
from drover.core.logs import LogLine, rfc3339
from drover.net.asgi import Header, Receive, Scope, Send

T = TypeVar("T")
Json = Mapping[str, object]

HEARTBEAT_S = 15.0
RETRY_MS = 2000
DEBOUNCE_S = 0.1
SESSIONS_EVERY_S = 0.5
PROCESSES_REST_S = 1.0
PROCESSES_EVERY_S = 4.0
"""With what the look itself takes, no table is older than five seconds."""
LONGEST_QUEUE = 256
LOG_LINES = 500
MOMENTS = 200

_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # nginx would keep the events back until its buffer is full.
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
    """Where the state comes from; each is called on a thread that may wait.

    Attributes:
        sessions: Every session object, each with its `session_id`.
        processes: Every Chrome-like process with its verdict, each with its `pid`.
        capacity: How full the service is.
    """

    sessions: Callable[[], Sequence[Json]]
    processes: Callable[[], Sequence[Json]]
    capacity: Callable[[], Json]


class RowDiff:
    """Rows as they were last seen, by their key.

    Args:
        key: The field that names a row.
        ageing: Fields that change by themselves, and are no news.
    """

    def __init__(self, key: str, ageing: frozenset[str] = frozenset()) -> None:
        self._key = key
        self._ageing = ageing
        self._rows: dict[object, Json] = {}

    @property
    def all(self) -> list[Json]:
        """Give them all."""
        return list(self._rows.values())

    def replace(self, rows: Sequence[Json]) -> dict[str, list[object]]:
        """Take what is there now, and give the rows that are new or other, and the keys that are gone."""
        before, self._rows = self._rows, {row[self._key]: row for row in rows}
        return {
            "changed": [row for key, row in self._rows.items() if self._differs(before.get(key), row)],
            "removed": [key for key in before if key not in self._rows],
        }

    def _differs(self, before: Json | None, now: Json) -> bool:
        return before is None or any(before[name] != now[name] for name in now if name not in self._ageing)


class Listener:
    """One open answer: what is still to be sent to it."""

    def __init__(self) -> None:
        self.behind = True
        """It knows nothing, or has missed something: the whole state is to be sent next."""
        self.over = False
        self.news = asyncio.Event()
        self._queue: deque[bytes] = deque()

    def tell(self, message: bytes) -> None:
        """Put a message into its queue; a full one is given up."""
        if not self.behind:
            self._queue.append(message)
            if len(self._queue) > LONGEST_QUEUE:
                self._queue.clear()
                self.behind = True
        self.news.set()

    def take(self) -> bytes:
        """Give what is in its queue."""
        waiting = b"".join(self._queue)
        self._queue.clear()
        return waiting

    def end(self) -> None:
        """Let its answer end."""
        self.over = True
        self.news.set()


class EventStream:
    """Hears events and log lines, and tells everybody who listens on `/events`.

    Args:
        sources: Where the rest of the state comes from.
    """

    def __init__(self, sources: StateProviders) -> None:
        self._sources = sources
        self._log = RingBuffer(LOG_LINES)
        self._timeline = RingBuffer(MOMENTS)
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="events")
        self._listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._number = 0
        self._failing: dict[str, str] = {}
        self._forget()

    def _forget(self) -> None:
        self._sessions = RowDiff("session_id")
        self._processes = RowDiff("pid", ageing=frozenset({"age_s"}))
        self._processes_read_at: str | None = None
        self._capacity: Json | None = None
        self._log_told = self._timeline_told = 0
        self._stirred = asyncio.Event()
        self._processes_stirred = asyncio.Event()

    def hear(self, event: Event) -> None:
        """Note an event; it is called in any thread, and waits for nothing."""
        moment = timeline_entry(event)
        if moment is not None:
            self._timeline.add(timeline_json(moment, event, _now()))
        self._in_loop(self._stirred.set)
        if isinstance(event, _CHANGES_PROCESSES):
            self._in_loop(self._processes_stirred.set)

    def hear_line(self, line: LogLine) -> None:
        """Note a line of the log; it is called in any thread, and waits for nothing."""
        self._log.add({"time": line.time, "level": line.level.lower(), "message": line.message})
        self._in_loop(self._stirred.set)

    def close(self) -> None:
        """End every open answer, and take no more; it is called in any thread."""
        self._closed = True
        if self._loop is None:
            self._threads.shutdown(wait=False)
        else:
            self._in_loop(self._end_all)

    def routes(self) -> list[Route]:
        """Give the routes."""
        return [Route("http", re.compile(r"/events/?"), self.serve)]

    async def serve(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with all that happens until its caller leaves or the service stops.

        Raises:
            ShuttingDown: The service is stopping.
        """
        if self._closed:
            raise ShuttingDown("The service is stopping; ask again when it is back")
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        listener = self._enter()
        leaving = asyncio.create_task(_end_when_left(receive, listener))
        try:
            await _send_part(send, f"retry: {RETRY_MS}\n\n".encode())
            await self._feed(listener, send)
            await send({"type": "http.response.body", "body": listener.take(), "more_body": False})
        finally:
            leaving.cancel()
            self._leave(listener)

    async def _feed(self, listener: Listener, send: Send) -> None:
        while not listener.over:
            try:
                await asyncio.wait_for(listener.news.wait(), HEARTBEAT_S)
            except asyncio.TimeoutError:
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
        # What is published while the state is being sent belongs behind it.
        listener.behind = False
        return self._state()

    def _enter(self) -> Listener:
        listener = Listener()
        self._listeners.append(listener)
        listener.news.set()
        if not self._tasks:
            self._loop = asyncio.get_running_loop()
            self._log_told, self._timeline_told = self._log.last, self._timeline.last
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
        # The last lines say that the service stops.
        self._publish_rings()
        for listener in self._listeners:
            listener.end()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _in_loop(self, call: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            # The loop may have ended at this very moment; then nobody listens any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(call)

    async def _watch(self) -> None:
        while True:
            self._stirred.clear()
            sessions = await self._read(self._sources.sessions, "The sessions")
            capacity = await self._read(self._sources.capacity, "The capacity")
            if sessions is not None and capacity is not None:
                self._publish_rows("sessions", self._sessions.replace(sessions))
                self._publish_capacity(capacity)
            self._publish_rings()
            await _set_within(self._stirred, SESSIONS_EVERY_S)
            await asyncio.sleep(DEBOUNCE_S)

    async def _watch_processes(self) -> None:
        while True:
            self._processes_stirred.clear()
            rows = await self._read(self._sources.processes, "The process table")
            if rows is not None:
                self._processes_read_at = _now()
                # Told also where nothing changed: whoever looks wants to know that the table is fresh.
                self._publish(
                    "processes", {"read_at": self._processes_read_at, **self._processes.replace(rows)}
                )
            await asyncio.sleep(PROCESSES_REST_S)
            await _set_within(self._processes_stirred, PROCESSES_EVERY_S - PROCESSES_REST_S)

    async def _read(self, source: Callable[[], T], what: str) -> T | None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, source)
        except Exception as error:
            # Said once, since the line itself is news that leads to the next look.
            if self._failing.get(what) != repr(error):
                self._failing[what] = repr(error)
                _logger.exception("%s could not be read for /events", what)
            return None
        self._failing.pop(what, None)
        return found

    def _publish_rows(self, kind: str, change: Mapping[str, list[object]]) -> None:
        if change["changed"] or change["removed"]:
            self._publish(kind, change)

    def _publish_capacity(self, capacity: Json) -> None:
        if capacity != self._capacity:
            self._capacity = capacity
            self._publish("capacity", capacity)

    def _publish_rings(self) -> None:
        self._log_told, lines = self._log.since(self._log_told)
        self._timeline_told, moments = self._timeline.since(self._timeline_told)
        if lines:
            self._publish("log", {"lines": lines})
        if moments:
            self._publish("timeline", {"moments": moments})

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


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _message(number: int, kind: str, data: Json) -> bytes:
    # ASCII only: a name of a process may hold bytes that are no UTF-8.
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _now() -> str:
    return rfc3339(datetime.now(timezone.utc))
