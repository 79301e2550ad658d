"""The history of sessions: what is noted, what outlives a restart, and what is forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from drover.core import events
from drover.core.log_context import RequestContext, asked_by
from drover.storage import session_history
from drover.storage.session_history import SessionHistory

BEGIN = datetime(2026, 11, 22, 19, 40, tzinfo=timezone.utc)
CREATED = events.SessionCreated("a", 1, 2, 900)
RECOVERED = events.SessionRecovered("a", "driver_gone", "reattached", 131)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def kinds(history: SessionHistory, session_id: str = "a") -> list[str]:
    return [entry.event for entry in history.of(session_id)]


def test_a_history_tells_when_why_and_by_whom(tmp_path: Path, clock: Clock) -> None:
    history = SessionHistory(tmp_path, clock)
    history.hear(CREATED)
    history.hear(events.SessionAppearsDead("a", "ChromeDriver is gone"))
    history.hear(RECOVERED)
    with asked_by(RequestContext("r-1", "127.0.0.1:40112")):
        history.hear(events.SessionClosed("a", "deleted"))
    assert kinds(history) == ["created", "found_dead", "recovered", "closed"]
    recovered, closed = history.of("a")[2:]
    assert (recovered.cause, recovered.method, recovered.duration_ms) == ("driver_gone", "reattached", 131)
    assert recovered.client is None
    assert (closed.reason, closed.client, closed.request_id) == ("deleted", "127.0.0.1:40112", "r-1")


def test_an_eviction_is_told_from_other_closes(tmp_path: Path, clock: Clock) -> None:
    history = SessionHistory(tmp_path, clock)
    history.hear(events.SessionClosed("a", "evicted"))
    assert kinds(history) == ["evicted"]


def test_an_emergency_ends_every_session_once(tmp_path: Path, clock: Clock) -> None:
    history = SessionHistory(tmp_path, clock)
    history.hear(CREATED)
    history.hear(events.SessionCreated("b", 1, 2, 3))
    history.hear(events.SessionClosed("b", "idle"))
    history.hear(events.EmergencyFinished(7))
    assert kinds(history) == ["created", "closed"]
    assert kinds(history, "b") == ["created", "closed"]
    assert history.of("a")[1].reason == "emergency recovery"


def test_events_of_no_session_and_unimportant_ones_are_left_out(tmp_path: Path, clock: Clock) -> None:
    history = SessionHistory(tmp_path, clock)
    history.hear(events.CleanupTriggered())
    history.hear(events.ConnectionErrorDetected("a"))
    assert history.of("a") == ()


def test_a_history_outlives_a_restart_and_a_torn_line(tmp_path: Path, clock: Clock) -> None:
    history = SessionHistory(tmp_path, clock)
    history.load()
    history.hear(CREATED)
    history.save()
    history.hear(RECOVERED)
    history.save()
    with (tmp_path / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"time": "2026-')
    again = SessionHistory(tmp_path, clock)
    again.load()
    assert again.of("a") == history.of("a")


def test_bytes_that_are_no_text_cost_their_line_only(tmp_path: Path, clock: Clock) -> None:
    history = SessionHistory(tmp_path, clock)
    history.hear(CREATED)
    history.save()
    with (tmp_path / "history.jsonl").open("ab") as file:
        file.write(b"\0\xff\xfe\n")
    again = SessionHistory(tmp_path, clock)
    again.load()
    assert again.of("a") == history.of("a")


def test_an_ended_session_is_forgotten_after_a_day_and_a_living_one_is_not(
    tmp_path: Path, clock: Clock
) -> None:
    history = SessionHistory(tmp_path, clock)
    history.hear(CREATED)
    history.hear(events.SessionCreated("b", 1, 2, 3))
    history.hear(events.SessionClosed("b", "idle"))
    history.save()
    clock.now = BEGIN + timedelta(hours=23)
    history.forget_expired()
    assert kinds(history, "b") == ["created", "closed"]
    clock.now = BEGIN + timedelta(hours=24)
    again = SessionHistory(tmp_path, clock)
    again.load()
    assert kinds(again, "b") == []
    assert kinds(again) == ["created"]
    assert "idle" not in (tmp_path / "history.jsonl").read_text(encoding="utf-8")


def test_the_entries_of_a_session_are_limited_and_the_first_stays(tmp_path: Path, clock: Clock) -> None:
    history = SessionHistory(tmp_path, clock)
    history.hear(CREATED)
    for _ in range(2 * session_history.MAX_ENTRIES):
        history.hear(RECOVERED)
    assert len(history.of("a")) == session_history.MAX_ENTRIES
    assert history.of("a")[0].event == "created"


def test_the_file_is_limited(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_history, "MAX_LINES", 10)
    history = SessionHistory(tmp_path, clock)
    for number in range(30):
        history.hear(events.SessionCreated(str(number), 1, 2, 3))
        history.hear(events.SessionClosed(str(number), "idle"))
        history.save()
        clock.now += timedelta(hours=12)
    assert len((tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()) <= 10


def test_a_folder_that_is_gone_costs_the_file_only(tmp_path: Path, clock: Clock) -> None:
    history = SessionHistory(tmp_path / "gone", clock)
    history.load()
    history.hear(CREATED)
    with pytest.raises(FileNotFoundError):
        history.save()
    assert kinds(history) == ["created"]
