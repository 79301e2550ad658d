"""One deadline per request: every wait in the program is bounded by it and ends when the caller leaves."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

Result = TypeVar("Result")

REQUEST_S = 120.0
"""Seconds that one request may take, whatever it waits for."""


class DeadlineExceeded(Exception):
    """The time that the caller gave is over."""


class ClientDisconnected(Exception):
    """The caller has hung up: nobody waits for the answer any more."""


class Deadline:
    """A moment until which one request may take, and a future that is done when its caller has left.

    Args:
        seconds: How long from now.
        gone: Done as soon as the caller has hung up; None for callers that cannot.
    """

    def __init__(self, seconds: float, gone: Future[None] | None = None) -> None:
        self._at = time.monotonic() + seconds
        self._gone: Future[None] = gone if gone is not None else Future()

    def remaining(self) -> float:
        """Give the seconds that are left, never less than zero."""
        return max(0.0, self._at - time.monotonic())

    def within(self, seconds: float) -> Deadline:
        """Give a deadline for a part of the work: `seconds` from now, but not later than this one."""
        return Deadline(min(seconds, self.remaining()), self._gone)

    def wait(self, future: Future[Result]) -> Result:
        """Wait for a future's result.

        Raises:
            DeadlineExceeded: The time is over; the future's work goes on.
            ClientDisconnected: The caller hung up; the future's work goes on.
        """
        either: list[Future[Any]] = [future, self._gone]
        wait(either, timeout=self.remaining(), return_when=FIRST_COMPLETED)
        if future.done():
            return future.result()
        if self._gone.done():
            raise ClientDisconnected
        raise DeadlineExceeded
