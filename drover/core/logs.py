"""The log on standard error: one event, one line, as text or as JSON."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from drover.core.events import Emit, Event

_logger = logging.getLogger("drover")


def rfc3339(moment: datetime) -> str:
    """Give a moment in UTC with milliseconds, as in `2026-11-22T19:40:00.123Z`."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(record: logging.LogRecord) -> str:
    return rfc3339(datetime.fromtimestamp(record.created, tz=timezone.utc))


_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def _on_one_line(text: str) -> str:
    # What a program or a page has said must not look like a line of its own.
    return _CONTROL.sub(" ", text)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_moment(record)} {record.levelname}: {_on_one_line(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    """Every line has the same first fields; `event` and `session_id` are null where a line has none."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _moment(record),
            "level": record.levelname,
            "message": record.getMessage().strip(),
            "event": None,
            "session_id": None,
            "logger": record.name,
        }
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            entry |= {"event": type(event).__name__} | dataclasses.asdict(event)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log: when (RFC 3339), how serious (`INFO`, …) and what."""

    time: str
    level: str
    message: str


class LogTail(logging.Handler):
    """Hands on every line that the log shows.

    Args:
        hand_on: Called in any thread; it must be quick.
    """

    def __init__(self, hand_on: Callable[[LogLine], None]) -> None:
        super().__init__()
        self._hand_on = hand_on

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one line on."""
        try:
            line = LogLine(_moment(record), record.levelname, _on_one_line(record.getMessage()))
        except Exception:  # noqa: BLE001 - a line that cannot be formatted is reported as logging does it
            self.handleError(record)
        else:
            self._hand_on(line)


def set_up_logging(
    log_format: str, log_level: str, hear_line: Callable[[LogLine], None] | None = None
) -> Emit:
    """Send all logging to standard error, and to `hear_line`; give the listener that logs events.

    Standard error is switched to UTF-8: a Windows console or a file opened in another encoding
    could not take the emoji of the fixed log lines.
    """
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    handlers = [handler, *([LogTail(hear_line)] if hear_line else [])]
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    # What a library says by Python's `warnings` would else be lines of another kind.
    logging.captureWarnings(capture=True)
    _logger.setLevel(log_level.upper())
    return log_event


def log_event(event: Event) -> None:
    """Write one event as one log line."""
    _logger.log(event.level, "%s", event.message, extra={"event": event})
