"""The log: one line per event, for every stream encoding and every content."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from drover.core import events
from drover.core.log_context import RequestContext, asked_by, log_step, run_for_session
from drover.core.logs import LogLine, rfc3339, set_up_logging
from drover.core.threads import ThreadPool
from tests.unit.core.test_events import EVERY, EXAMPLES

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def flush_log() -> None:
    for handler in logging.getLogger().handlers:
        handler.flush()


class Stderr:
    """A replacement of standard error with a given encoding."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> None:
        self._bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self._bytes, encoding=encoding, newline="\n")
        monkeypatch.setattr(sys, "stderr", self.stream)

    @property
    def lines(self) -> list[str]:
        flush_log()
        return self._bytes.getvalue().decode().splitlines()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, drover = logging.getLogger(), logging.getLogger("drover")
    before = root.handlers[:], root.level, drover.level
    yield
    root.handlers[:], root.level, drover.level = before
    logging.captureWarnings(capture=False)


def test_text_is_a_timestamp_and_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(monkeypatch)
    set_up_logging("text", "info")(events.SessionAppearsDead("session_123", "[WinError 10061]"))
    (line,) = stderr.lines
    assert re.fullmatch(rf"{TIME} WARNING: Session session_123 appears dead: \[WinError 10061\]", line)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_a_stream_that_cannot_take_emoji_gets_them_all_the_same(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    stderr = Stderr(monkeypatch, encoding)
    set_up_logging("text", "info")(events.SessionDataCleared())
    assert stderr.lines[0].endswith("INFO: 🗑️ Cleared all session data")


def test_a_lone_surrogate_does_not_break_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(monkeypatch)
    set_up_logging("text", "info")(events.BrowserDoubtful("bad \ud800 path"))
    assert stderr.lines[0].endswith(r"bad \ud800 path")


def test_a_stream_without_an_encoding_of_its_own_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    set_up_logging("text", "info")(events.CleanupTriggered())
    flush_log()
    assert "🔧 Orphaned process cleanup triggered" in stream.getvalue()


def test_json_is_one_object_per_line_with_the_event_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(monkeypatch)
    log = set_up_logging("json", "info")
    log(events.ActiveDrivers((1, 2)))
    log(events.SessionAppearsDead("a", "gone"))
    first, second = (json.loads(line) for line in stderr.lines)
    assert re.fullmatch(TIME, first.pop("time"))
    assert first == {
        "level": "INFO",
        "message": "Active ChromeDriver PIDs: {1, 2}",
        "event": "ActiveDrivers",
        "session_id": None,
        "request_id": None,
        "client": None,
        "logger": "drover",
        "pids": [1, 2],
    }
    assert (second["event"], second["session_id"], second["reason"]) == ("SessionAppearsDead", "a", "gone")


def test_every_event_is_one_object_with_all_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(monkeypatch)
    log = set_up_logging("json", "debug")
    happened = [
        kind(**{field.name: EXAMPLES[str(field.type)] for field in dataclasses.fields(kind)})
        for kind in EVERY
    ]
    for event in happened:
        log(event)
    entries = [json.loads(line) for line in stderr.lines]
    assert len(entries) == len(happened)
    for event, entry in zip(happened, entries, strict=True):
        assert list(entry)[:6] == ["time", "level", "message", "event", "session_id", "request_id"]
        assert (entry["message"], entry["event"]) == (event.message, type(event).__name__)
        fields = json.loads(json.dumps(dataclasses.asdict(event)))
        assert entry == entry | fields
        assert not {"time", "level", "message", "event", "logger"} & set(fields)


def test_library_messages_are_one_object_per_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(monkeypatch)
    set_up_logging("json", "info")
    logging.getLogger("urllib3").warning("trouble with %s\nand more", "that")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        set_up_logging("json", "info")
        warnings.warn("soon it is gone", DeprecationWarning, stacklevel=1)
    # The objects of other tests may be collected at this moment, each with a warning of its own.
    entries = [json.loads(line) for line in stderr.lines]
    (library,) = (entry for entry in entries if entry["message"].startswith("trouble with"))
    (warned,) = (entry for entry in entries if "soon it is gone" in entry["message"])
    assert re.fullmatch(TIME, library.pop("time"))
    assert library == {
        "level": "WARNING",
        "message": "trouble with that\nand more",
        "event": None,
        "session_id": None,
        "request_id": None,
        "client": None,
        "logger": "urllib3",
    }
    assert "DeprecationWarning: soon it is gone" in warned["message"]
    assert (warned["level"], warned["logger"]) == ("WARNING", "py.warnings")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_multi_line_output_of_a_program_stays_on_one_line(
    monkeypatch: pytest.MonkeyPatch, log_format: str
) -> None:
    stderr = Stderr(monkeypatch)
    set_up_logging(log_format, "info")(events.SessionStartFailed("a", "first\r\nWARNING: forged\x1b[2J"))
    assert len(stderr.lines) == 1
    assert "\x1b" not in stderr.lines[0]


def test_an_exception_is_logged_with_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(monkeypatch)
    set_up_logging("json", "info")
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logging.getLogger("drover").exception("A request failed")
    (entry,) = (json.loads(line) for line in stderr.lines)
    assert entry["message"] == "A request failed"
    assert "ZeroDivisionError" in entry["exception"]


@pytest.mark.parametrize(("level", "count"), [("info", 2), ("warning", 1), ("error", 0)])
def test_the_level_decides_what_is_logged(monkeypatch: pytest.MonkeyPatch, level: str, count: int) -> None:
    stderr = Stderr(monkeypatch)
    log = set_up_logging("text", level)
    log(events.CleanupTriggered())
    log(events.EmergencyStarted())
    assert len(stderr.lines) == count


def test_a_library_is_heard_from_a_warning_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(monkeypatch)
    set_up_logging("text", "debug")
    logging.getLogger("urllib3").info("chatter")
    logging.getLogger("urllib3").warning("trouble")
    assert [line.partition(" ")[2] for line in stderr.lines] == ["WARNING: trouble"]


def test_timestamps_are_utc_with_milliseconds() -> None:
    there = datetime(2026, 11, 22, 20, 40, 0, 123_999, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(there) == "2026-11-22T19:40:00.123Z"
    assert rfc3339(datetime(2026, 1, 1, tzinfo=timezone.utc)) == "2026-01-01T00:00:00.000Z"


def test_the_tail_passes_on_logged_messages_one_per_line(monkeypatch: pytest.MonkeyPatch) -> None:
    Stderr(monkeypatch)
    lines: list[LogLine] = []
    log = set_up_logging("json", "warning", lines.append)
    log(events.CleanupTriggered())
    log(events.SessionAppearsDead("a", "two\nlines"))
    assert [(line.level, line.message) for line in lines] == [
        ("WARNING", "Session a appears dead: two lines")
    ]
    assert re.fullmatch(TIME, lines[0].time)


REQUEST = RequestContext("abc-1", "127.0.0.1:50000")


def test_a_line_names_the_request_that_asked_for_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(monkeypatch)
    log = set_up_logging("text", "info")
    with asked_by(REQUEST):
        log(events.DrainEnded(0))
    log(events.DrainEnded(0))
    named, plain = stderr.lines
    assert named.endswith("INFO: Drained, 0 sessions left (request abc-1 from 127.0.0.1:50000)")
    assert plain.endswith("INFO: Drained, 0 sessions left")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.SessionAppearsDead("a", "b"), "WARNING: Session a appears dead: b"),
        (
            events.ConnectionErrorDetected("a"),
            "WARNING: 🔧 Connection error detected - attempting to clean up orphaned processes",
        ),
        (events.CleanupTriggered(), "INFO: 🔧 Orphaned process cleanup triggered"),
        (events.ActiveDrivers((1234, 5678)), "INFO: Active ChromeDriver PIDs: {1234, 5678}"),
        (
            events.KillingProcess(9012, "driver", orphaned=True),
            "INFO: Killing orphaned ChromeDriver process: PID 9012",
        ),
        (events.CleanupFinished(2, 0), "INFO: ✅ Killed 2 orphaned Chrome/ChromeDriver processes"),
        (events.CleanupFinished(0, 0), "INFO: ✅ No orphaned processes found"),
        (events.EmergencyStarted(), "WARNING: 🚨 EMERGENCY RECOVERY: Killing ALL Chrome instances"),
        (
            events.KillingProcess(1234, "driver", orphaned=False),
            "INFO: Killing ChromeDriver process: PID 1234",
        ),
        (events.KillingProcess(5678, "browser", orphaned=False), "INFO: Killing Chrome process: PID 5678"),
        (events.EmergencyFinished(15), "WARNING: 🚨 Emergency recovery killed 15 processes"),
        (events.SessionDataCleared(), "INFO: 🗑️ Cleared all session data"),
    ],
)
def test_the_lines_of_the_specification_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch, event: events.Event, line: str
) -> None:
    stderr = Stderr(monkeypatch)
    log = set_up_logging("text", "info")
    with asked_by(REQUEST):
        log(event)
    (shown,) = stderr.lines
    assert re.fullmatch(TIME, shown[: -len(line) - 1])
    assert shown.endswith(f" {line}")


def test_a_thread_names_the_request_that_gave_it_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Stderr(monkeypatch)
    set_up_logging("json", "debug")
    pool = ThreadPool("steps", 1)
    with asked_by(REQUEST):
        named = pool.submit(run_for_session, "one", lambda: log_step("Chrome started (PID %d)", 7))
    named.result()
    pool.submit(log_step, "by itself").result()
    pool.shutdown()
    first, second = (json.loads(line) for line in stderr.lines)
    assert (first["message"], first["session_id"]) == ("Session one: Chrome started (PID 7)", "one")
    assert (first["request_id"], first["client"]) == ("abc-1", "127.0.0.1:50000")
    assert (second["message"], second["session_id"], second["request_id"]) == ("by itself", None, None)
