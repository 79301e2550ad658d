"""Errors of the event loop, without a flood of lines when no connection can be accepted.

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

_logger = logging.getLogger("drover")


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
