"""Keep noise out of the log: what any client may do, requests that a stop has cut off, a flood of one error.

When no descriptor is left, asyncio reports each failing attempt to accept with a stack trace: 2,048 lines in
one turn of the loop at a backlog of 2,048 (measured). It retries by itself after a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

_ACCEPT_FAILED = "socket.accept() out of system resource"
_PAUSE_S = 60.0
_LOGGER = "uvicorn.error"
_NOT_COMPLETED = "ASGI callable returned without completing handshake."
_OTHER_PROTOCOL = "Unsupported upgrade request."
"""Java's client, and so each request of a Selenium Grid's node, offers HTTP/2; HTTP/1.1 goes on."""
_NO_HTTP = "Invalid HTTP request received."
_NO_TEXT = "Invalid UTF-8 sequence received from client."
_MAY_BE_DONE = frozenset({_NOT_COMPLETED, _OTHER_PROTOCOL, _NO_HTTP, _NO_TEXT})

_logger = logging.getLogger("drover")


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether a record of uvicorn's says more than what every client may do.

    The router answers every handshake. uvicorn discards the answer if the connection is gone, and reports
    the answer as missing. At a stop it cancels the requests that go on for too long, and reports their number
    before the traceback of each.
    """
    _, error, _ = record.exc_info or (None, None, None)
    is_cut_off = isinstance(error, asyncio.CancelledError)
    return not is_cut_off and record.msg not in _MAY_BE_DONE


def ignore_what_clients_may_do() -> None:
    """Have uvicorn's log leave out what is not worth logging."""
    logging.getLogger(_LOGGER).addFilter(is_worth_logging)


class AcceptErrors:
    """Exception handler of an event loop that reports a failing accept once a minute."""

    def __init__(self) -> None:
        self._reported_at = float("-inf")

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report an error of the loop, or of a task that nothing awaits."""
        if context.get("message") != _ACCEPT_FAILED:
            loop.default_exception_handler(context)
        elif time.monotonic() - self._reported_at >= _PAUSE_S:
            self._reported_at = time.monotonic()
            _logger.error(
                "No connection can be accepted (%s); close connections, or raise the limit of open files",
                context.get("exception"),
            )
