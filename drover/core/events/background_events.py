"""Events of background work: what failed, and what is missing for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from drover.core.events.event import Event


@dataclass(frozen=True)
class UpkeepFailed(Event):
    """A background task failed; it runs again when it is next due.

    Attributes:
        unlogged: How often it has failed since the last such line, without a line.
    """

    level = logging.ERROR
    timeline_kind: ClassVar[str | None] = "trouble"
    task: str
    error: str
    unlogged: int = 0

    @property
    def message(self) -> str:
        return f"Background task {self.task} failed: {self.error}{_more(self.unlogged)}"


@dataclass(frozen=True)
class UpkeepFailedAgain(UpkeepFailed):
    """A background task has failed in the same way within a minute."""

    level = logging.DEBUG
    timeline_kind = None


@dataclass(frozen=True)
class JobFailed(Event):
    """A background job ended with an error.

    Attributes:
        kind: A `JobKind` of `drover.core.jobs`, as text.
        session_id: Its session; None if it concerns the whole service.
        error: The reason.
        unlogged: How often it has failed since the last such line, without a line.
    """

    level = logging.ERROR
    timeline_kind: ClassVar[str | None] = "trouble"
    kind: str
    session_id: str | None
    error: str
    unlogged: int = 0

    @property
    def message(self) -> str:
        of = f" of session {self.session_id}" if self.session_id is not None else ""
        return f"Background job failed: {self.kind}{of}: {self.error}{_more(self.unlogged)}"


@dataclass(frozen=True)
class JobFailedAgain(JobFailed):
    """A background job has failed in the same way within a minute."""

    level = logging.DEBUG
    timeline_kind = None


def _more(unlogged: int) -> str:
    return f" (and {unlogged} times since the last such line)" if unlogged else ""


@dataclass(frozen=True)
class ThreadsMissing(Event):
    """The service runs with fewer threads than it wants, because the system's limit has been reached."""

    level = logging.WARNING
    text = (
        "{missing} of the service's threads could not be started: fewer requests can wait at a time. "
        "Raise the limit of processes (ulimit -u, or the limit of the container)."
    )
    missing: int


@dataclass(frozen=True)
class LogLinesDropped(Event):
    """Log lines that were dropped because nothing read the log, or it could not be written."""

    level = logging.WARNING
    text = "{count} log lines were dropped: standard error was not read, or could not be written"
    count: int
