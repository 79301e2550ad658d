"""Logging to standard error: one line per event, as text or as JSON."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Generic, TypeVar

from drover.core.events import Emit, Event, LogLinesDropped
from drover.core.log_context import current_request, current_session_id
from drover.core.log_writer import LogWriter, standard_error

Line = TypeVar("Line")

FLUSH_S = 2.0

_logger = logging.getLogger("drover")


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC with milliseconds, such as `2026-11-22T19:40:00.123Z`."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time_of(record: logging.LogRecord) -> str:
    return rfc3339(datetime.fromtimestamp(record.created, tz=timezone.utc))


_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def _line(record: logging.LogRecord) -> str:
    request, event = current_request(), getattr(record, "event", None)
    # Text of a program or a page must not be able to forge a log line.
    line = _CONTROL.sub(" ", record.getMessage())
    is_fixed = isinstance(event, Event) and event.is_fixed
    return line if request is None or is_fixed else f"{line} ({request})"


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time_of(record)} {record.levelname}: {_line(record)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    """Formatter whose lines all start with the same fields; all from `event` on may be null."""

    def format(self, record: logging.LogRecord) -> str:
        request = current_request()
        entry: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname,
            "message": record.getMessage().strip(),
            "event": None,
            "session_id": current_session_id(),
            "request_id": request.request_id if request else None,
            "client": request.client if request else None,
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
    """A log line: its time (RFC 3339), level (`INFO`, …) and message."""

    time: str
    level: str
    message: str


class _Handler(logging.Handler, Generic[Line]):
    """Handler that formats each line in the thread that logs it, and passes it on.

    Args:
        pass_on: Called with each line, in any thread; it must be quick.
    """

    def __init__(self, form: Callable[[logging.LogRecord], Line], pass_on: Callable[[Line], None]) -> None:
        super().__init__()
        self._form = form
        self._pass_on = pass_on

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one line."""
        try:
            line = self._form(record)
        except Exception:  # noqa: BLE001 - logging reports a line that cannot be formatted
            self.handleError(record)
        else:
            self._pass_on(line)


def _log_line(record: logging.LogRecord) -> LogLine:
    return LogLine(_time_of(record), record.levelname, _line(record))


class _QueuedHandler(_Handler[str]):
    """Handler that leaves the writing to a `LogWriter`."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__(self.format, writer.put)
        self._writer = writer

    def flush(self) -> None:
        """Wait until what was logged is written, at most `FLUSH_S` seconds; called when the program ends."""
        self._writer.flush(FLUSH_S)


def set_up_logging(
    log_format: str, log_level: str, hear_line: Callable[[LogLine], None] | None = None
) -> Emit:
    """Send all logging to standard error and to `hear_line`; return the listener that logs events.

    Lines are UTF-8 whatever the console's encoding is, because others cannot encode the emoji in them.
    """
    handler = _QueuedHandler(LogWriter(standard_error(), lambda count: log_event(LogLinesDropped(count))))
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    handlers: list[logging.Handler] = [handler]
    if hear_line:
        handlers.append(_Handler(_log_line, hear_line))
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    # Otherwise, messages of Python's `warnings` would be lines in another format.
    logging.captureWarnings(capture=True)
    # The default hook writes to standard error itself, and may block there.
    threading.excepthook = _log_thread_failure
    _logger.setLevel(log_level.upper())
    return log_event


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    name = failure.thread.name if failure.thread else "unknown"
    cause = failure.exc_value or failure.exc_type()
    _logger.error("Thread %s ended with an error", name, exc_info=cause)


def log_event(event: Event) -> None:
    """Write one event as one log line."""
    _logger.log(event.level, "%s", event.message, extra={"event": event})
