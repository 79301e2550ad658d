"""What a log line belongs to: the request that asked for the work, and the session that it is done for.

Both are context variables. asyncio's tasks inherit them, and `ThreadPool` passes them on to its threads, so
the lines of work that goes on after the response name the request as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

_logger = logging.getLogger("drover")


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A request that is being answered.

    Attributes:
        request_id: The value of `X-Request-ID` in its response.
        client: The address of its client, `host:port`.
    """

    request_id: str
    client: str

    def __str__(self) -> str:
        return f"request {self.request_id} from {self.client}"


_request: ContextVar[RequestContext | None] = ContextVar("request", default=None)
_session_id: ContextVar[str | None] = ContextVar("session_id", default=None)


def current_request() -> RequestContext | None:
    """Return the request that asked for what runs now; None if Drover does it by itself."""
    return _request.get()


def current_session_id() -> str | None:
    """Return the id of the session that is being started or recovered; None if there is none."""
    return _session_id.get()


@contextmanager
def asked_by(request: RequestContext | None) -> Iterator[None]:
    """Let log lines in the `with` block name this request."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def run_for_session(session_id: str, work: Callable[[], Result]) -> Result:
    """Return the result of work whose steps are logged with this session."""
    token = _session_id.set(session_id)
    try:
        return work()
    finally:
        _session_id.reset(token)


def log_step(text: str, *values: object) -> None:
    """Log a step of a start or a recovery at level debug; `text` and `values` are as in `logging`."""
    session_id = _session_id.get()
    prefix = f"Session {session_id}: " if session_id is not None else ""
    _logger.debug(f"%s{text}", prefix, *values)  # noqa: G004 - the text is a constant of the caller


def naming_request(text: str) -> str:
    """Return the text of an error with the id of its request, by which the request's log lines are found."""
    request = _request.get()
    return text if request is None else f"{text} (request {request.request_id})"
