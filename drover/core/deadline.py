"""One deadline per request: it bounds every wait, and a wait ends early when the client disconnects."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

Result = TypeVar("Result")

REQUEST_S = 120.0
"""Maximum duration of a request in seconds, whatever it waits for."""


class DeadlineExceeded(Exception):
    """The deadline of the request has passed."""


class ClientDisconnected(Exception):
    """The client has disconnected and no longer waits for the response."""


class Deadline:
    """The time limit of one request, and a future that completes when its client disconnects.

    Args:
        seconds: The time limit, counted from now.
        gone: Completes when the client disconnects; None if it cannot disconnect.
    """

    def __init__(self, seconds: float, gone: Future[None] | None = None) -> None:
        self._at = time.monotonic() + seconds
        self._gone: Future[None] = gone if gone is not None else Future()

    def remaining(self) -> float:
        """Return the remaining seconds, never less than zero."""
        return max(0.0, self._at - time.monotonic())

    def within(self, seconds: float) -> Deadline:
        """Return a deadline for a part of the work: `seconds` from now, but not later than this one."""
        return Deadline(min(seconds, self.remaining()), self._gone)

    def wait(self, future: Future[Result]) -> Result:
        """Wait for a future's result.

        Raises:
            DeadlineExceeded: The deadline has passed; the work of the future continues.
            ClientDisconnected: The client disconnected; the work of the future continues.
        """
        self.wait_until_done(future)
        return future.result()

    def wait_until_done(self, future: Future[Any]) -> None:
        """Wait until a future is done, whatever its result.

        Raises:
            DeadlineExceeded: The deadline has passed; the work of the future continues.
            ClientDisconnected: The client disconnected; the work of the future continues.
        """
        either: list[Future[Any]] = [future, self._gone]
        wait(either, timeout=self.remaining(), return_when=FIRST_COMPLETED)
        if future.done():
            return
        if self._gone.done():
            raise ClientDisconnected
        raise DeadlineExceeded

    def check(self) -> None:
        """Raise if the time is over or the client has disconnected; for loops that try again.

        Raises:
            DeadlineExceeded: The deadline has passed.
            ClientDisconnected: The client disconnected.
        """
        if self._gone.done():
            raise ClientDisconnected
        if self.remaining() == 0:
            raise DeadlineExceeded
