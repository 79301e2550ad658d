"""`/events`: what clients receive and when, and when the state is read."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drover.attach import event_stream as module
from drover.attach.event_stream import LONGEST_QUEUE, EventStream, Listener, RowDiff, StateProviders
from drover.core import events
from drover.core.errors import ShuttingDown
from drover.core.logs import LogLine
from drover.core.threads import ThreadPool
from drover.net.asgi import Message

StreamMessage = tuple[str, dict[str, Any]]
LINE = LogLine("2026-11-22T19:40:00.123Z", "WARNING", "look here")


class FakeProviders:
    """State that the test sets; counts how often it is read."""

    def __init__(self) -> None:
        self.sessions: list[dict[str, object]] = [{"session_id": "a", "state": "ready"}]
        self.processes: list[dict[str, object]] = [{"pid": 7, "verdict": "orphan", "age_s": 1.0}]
        self.capacity: dict[str, object] = {"active_sessions": 1, "waiting": 0}
        self.looks = 0
        self.threads: set[str] = set()

    def stream(self) -> EventStream:
        return EventStream(
            StateProviders(self._look, lambda: list(self.processes), lambda: dict(self.capacity)),
            ThreadPool("events", 2),
        )

    def _look(self) -> list[dict[str, object]]:
        self.looks += 1
        self.threads.add(threading.current_thread().name)
        return list(self.sessions)


class FailingProviders(FakeProviders):
    """State whose processes cannot be read the first five times."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 5

    def stream(self) -> EventStream:
        return EventStream(
            StateProviders(self._look, self._read, lambda: dict(self.capacity)), ThreadPool("events", 2)
        )

    def _read(self) -> list[dict[str, object]]:
        if self.failures:
            self.failures -= 1
            raise OSError("no table today")
        return list(self.processes)


class Client:
    """A client of the event stream; it may stop reading for a while, and disconnects at the end."""

    def __init__(self, stream: EventStream) -> None:
        self._left = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()
        self._news = asyncio.Condition()
        self._text = ""
        self.start: Message = {}
        self.ended = False
        self.task = asyncio.create_task(stream.serve({}, self._receive, self._send))

    @property
    def told(self) -> list[StreamMessage]:
        whole = [block for block in self._text.split("\n\n")[:-1] if "data: " in block]
        fields = [dict(line.split(": ", 1) for line in block.split("\n")) for block in whole]
        return [(field["event"], json.loads(field["data"])) for field in fields]

    @property
    def capacity(self) -> dict[str, Any]:
        """Return the capacity as this client knows it."""
        told = [(kind, data) for kind, data in self.told if kind in {"state", "capacity"}]
        kind, data = told[-1]
        found: dict[str, Any] = data["capacity"] if kind == "state" else data
        return found

    @property
    def comments(self) -> list[str]:
        return [block for block in self._text.split("\n\n") if block.startswith(":")]

    async def wait_for(self, kind: str, number: int = 1) -> dict[str, Any]:
        """Wait for the `number`th event of this kind and return its data."""
        await self.wait_until(lambda: len(self._of(kind)) >= number)
        return self._of(kind)[number - 1]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(condition), 10)

    def stop_reading(self) -> None:
        self._reads.clear()

    def read_on(self) -> None:
        self._reads.set()

    async def leave(self) -> None:
        self._left.set()
        self._reads.set()
        await asyncio.wait_for(self.task, 10)

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [data for known, data in self.told if known == kind]

    async def _receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._reads.wait()
        async with self._news:
            if message["type"] == "http.response.start":
                self.start = message
            else:
                self._text += message["body"].decode()
                self.ended = not message["more_body"]
            self._news.notify_all()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEBOUNCE_S", "SESSIONS_EVERY_S", "PROCESSES_PAUSE_S", "PROCESSES_EVERY_S"):
        monkeypatch.setattr(module, name, 0.001)


@pytest.fixture
def providers() -> FakeProviders:
    return FakeProviders()


def run(test: Callable[[EventStream, Client], Awaitable[None]], providers: FakeProviders) -> None:
    """Run a test with one client that has received the state."""

    async def whole() -> None:
        stream = providers.stream()
        client = Client(stream)
        try:
            await client.wait_for("state")
            await test(stream, client)
        finally:
            await client.leave()
            stream.close()

    asyncio.run(whole())


def test_a_client_receives_the_whole_state_first(providers: FakeProviders) -> None:
    async def test(stream: EventStream, client: Client) -> None:
        kind, state = client.told[0]
        assert kind == "state"
        assert state["sessions"] == providers.sessions
        assert state["capacity"] == providers.capacity
        assert (state["timeline"], state["log"]) == ([], [])
        assert (client.start["status"], dict(client.start["headers"])[b"content-type"]) == (
            200,
            b"text/event-stream; charset=utf-8",
        )

    run(test, providers)


def test_the_process_table_is_sent_repeatedly_with_its_time(
    providers: FakeProviders,
) -> None:
    async def test(stream: EventStream, client: Client) -> None:
        assert (await client.wait_for("processes", 3))["read_at"].endswith("Z")

    run(test, providers)


def test_only_changes_are_sent(providers: FakeProviders) -> None:
    providers.sessions.append({"session_id": "b", "state": "ready"})

    async def test(stream: EventStream, client: Client) -> None:
        providers.sessions[:] = [
            {"session_id": "a", "state": "closing"},
            {"session_id": "c", "state": "starting"},
        ]
        change = await client.wait_for("sessions")
        assert change == {"changed": providers.sessions, "removed": ["b"]}

    run(test, providers)


def test_the_age_of_a_process_is_not_a_change() -> None:
    rows = RowDiff("pid", ageing=frozenset({"age_s"}))
    assert rows.replace([{"pid": 7, "age_s": 1.0}]) == {"changed": [{"pid": 7, "age_s": 1.0}], "removed": []}
    assert rows.replace([{"pid": 7, "age_s": 5.0}]) == {"changed": [], "removed": []}
    assert rows.all == [{"pid": 7, "age_s": 5.0}]
    assert rows.replace([]) == {"changed": [], "removed": [7]}


def test_a_health_check_that_finds_the_same_is_no_change() -> None:
    def row(status: str, checked_at: str) -> dict[str, object]:
        return {"session_id": "a", "health": {"status": status, "checked_at": checked_at}}

    rows = RowDiff("session_id", ageing=frozenset({"checked_at"}))
    assert rows.replace([row("healthy", "1")])["changed"] == [row("healthy", "1")]
    assert rows.replace([row("healthy", "2")])["changed"] == []
    assert rows.replace([row("busy", "3")])["changed"] == [row("busy", "3")]


def test_capacity_is_sent_when_it_changes(providers: FakeProviders) -> None:
    async def test(stream: EventStream, client: Client) -> None:
        providers.capacity["waiting"] = 3
        assert (await client.wait_for("capacity"))["waiting"] == 3

    run(test, providers)


def test_events_and_log_lines_of_any_thread_are_sent_at_once(providers: FakeProviders) -> None:
    async def test(stream: EventStream, client: Client) -> None:
        moment = events.SessionRecovered("a", "driver_gone", "reattached", 131)
        for hear in (lambda: stream.hear(moment), lambda: stream.hear_line(LINE)):
            await asyncio.to_thread(hear)
        told = (await client.wait_for("timeline"))["moments"][0]
        assert (told["kind"], told["session_id"], told["number"]) == ("recovery", "a", 1)
        line = (await client.wait_for("log"))["lines"][0]
        assert line == {"number": 1, "time": LINE.time, "level": "warning", "message": "look here"}

    run(test, providers)


def test_a_later_client_receives_the_history(providers: FakeProviders) -> None:
    async def whole() -> None:
        stream = providers.stream()
        stream.hear_line(LINE)
        stream.hear(events.SessionClosed("a", "evicted"))
        client = Client(stream)
        state = await client.wait_for("state")
        assert [line["message"] for line in state["log"]] == ["look here"]
        assert [moment["kind"] for moment in state["timeline"]] == ["eviction"]
        await client.leave()
        stream.close()

    asyncio.run(whole())


def test_a_slow_client_loses_messages_and_receives_the_whole_state_instead(providers: FakeProviders) -> None:
    async def test(stream: EventStream, client: Client) -> None:
        client.stop_reading()
        listener = stream._listeners[0]
        number = 0
        while not listener.behind:
            number += 1
            providers.capacity["waiting"] = number
            await asyncio.sleep(0)
            assert len(listener._queue) <= LONGEST_QUEUE
        client.read_on()
        assert (await client.wait_for("state", 2))["sessions"] == providers.sessions
        await client.wait_until(lambda: client.capacity["waiting"] == number)

    run(test, providers)


def test_a_full_queue_is_discarded() -> None:
    listener = Listener()
    listener.behind = False
    for _ in range(LONGEST_QUEUE):
        listener.tell(b"x")
    assert not listener.behind
    listener.tell(b"x")
    assert (listener.behind, listener.take()) == (True, b"")
    listener.tell(b"y")
    assert listener.take() == b""


def test_nothing_is_read_without_a_client(providers: FakeProviders) -> None:
    async def whole() -> None:
        stream = providers.stream()
        assert providers.looks == 0
        client = Client(stream)
        await client.wait_for("state")
        await client.leave()
        assert (stream._tasks, stream._listeners) == ([], [])
        looks = providers.looks
        stream.hear(events.SessionClosed("a", "idle"))
        await asyncio.sleep(0)
        assert providers.looks == looks
        stream.close()

    asyncio.run(whole())


def test_state_is_read_on_threads_and_once_for_all_clients(providers: FakeProviders) -> None:
    async def test(stream: EventStream, client: Client) -> None:
        other = Client(stream)
        await other.wait_for("state")
        assert len(stream._tasks) == 2
        await other.leave()
        assert all(name.startswith("events") for name in providers.threads)

    run(test, providers)


def test_a_comment_is_sent_as_heartbeat(providers: FakeProviders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.001)
    monkeypatch.setattr(module, "PROCESSES_EVERY_S", 60)

    async def test(stream: EventStream, client: Client) -> None:
        await client.wait_until(lambda: len(client.comments) >= 2)

    run(test, providers)


def test_a_stop_ends_every_response_and_refuses_new_ones(providers: FakeProviders) -> None:
    async def whole() -> None:
        stream = providers.stream()
        clients = [Client(stream), Client(stream)]
        for client in clients:
            await client.wait_for("state")
        await asyncio.to_thread(stream.close)
        for client in clients:
            await asyncio.wait_for(client.task, 10)
        assert all(client.ended for client in clients)
        late = Client(stream)
        with pytest.raises(ShuttingDown):
            await late.task

    asyncio.run(whole())


def test_a_stop_ends_a_response_that_is_about_to_begin(providers: FakeProviders) -> None:
    async def test() -> None:
        stream, sent = providers.stream(), list[Message]()

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            if not sent:
                stream.close()
            sent.append(message)

        await asyncio.wait_for(stream.serve({}, receive, send), 5)
        assert sent[-1]["more_body"] is False

    asyncio.run(test())


@pytest.mark.parametrize("steps", range(4))
def test_nothing_is_read_after_a_stop_that_comes_with_an_event(
    providers: FakeProviders, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(module, "SESSIONS_EVERY_S", 10.0)

    async def test(stream: EventStream, client: Client) -> None:
        await asyncio.sleep(0.1)
        looks = providers.looks
        client.stop_reading()
        # The watch is woken and cancelled within a few steps of the event loop.
        stream.hear(events.ServiceStopped())
        for _ in range(steps):
            await asyncio.sleep(0)
        stream.close()
        await asyncio.sleep(0.1)
        assert providers.looks == looks

    run(test, providers)


def test_a_failing_provider_is_logged_once_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    providers = FailingProviders()

    async def test(stream: EventStream, client: Client) -> None:
        await client.wait_for("processes")

    run(test, providers)
    assert [record.getMessage() for record in caplog.records] == [
        "The process table could not be read for /events"
    ]


def test_a_process_name_that_is_not_utf_8_is_sent(providers: FakeProviders) -> None:
    providers.processes = [{"pid": 7, "name": "chrome\udcff", "age_s": 1.0}]

    async def test(stream: EventStream, client: Client) -> None:
        assert (await client.wait_for("processes"))["read_at"]
        assert "\\udcff" in client._text

    run(test, providers)
