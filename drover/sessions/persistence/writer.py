"""Writes pending changes to the database, on a thread of its own, and repeats what fails until it is on disk.

Nothing but this thread waits for the disk, unless a response promises something: its request waits until that
is written, with a limit. All changes that came in the meantime are one transaction, so that many requests
share one wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from drover.core import events
from drover.core.deadline import Deadline, DeadlineExceeded
from drover.core.errors import DroverError, StorageUnavailable
from drover.core.events import Emit
from drover.core.threads import start_thread
from drover.sessions.persistence.pending_writes import PendingWrites, ToDocument
from drover.storage.store import DatabaseLocked, SessionStore

RETRY_S = 0.5
PROMISE_S = 5.0
"""How long a request waits for the disk."""
STOP_S = 3.0

Result = TypeVar("Result")


class Writer:
    """Writes the pending changes.

    Args:
        to_document: Returns the document of a session.
    """

    def __init__(self, database: SessionStore, to_document: ToDocument, emit: Emit) -> None:
        self._database = database
        self._to_document = to_document
        self._emit = emit
        self._condition = threading.Condition()
        self._flushing = threading.Lock()
        self._pending = PendingWrites()
        self._waiting: dict[Future[None], int] = {}
        self._failing_since: float | None = None
        self._error: DroverError | None = None
        self._is_stopping = False
        self._held: str | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = start_thread(self._run, "database")

    def stop(self) -> None:
        """Write what is pending, and stop the thread.

        Raises:
            StorageUnavailable: Something could not be written in time.
        """
        with self._condition:
            self._is_stopping = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(STOP_S)
        if self.look(bool):
            raise StorageUnavailable(f"Not all changes of sessions could be written: {self._reason()}")

    def change(self, make: Callable[[PendingWrites], Result]) -> Result:
        """Add changes to what is pending; never waits for the disk."""
        with self._condition:
            result = make(self._pending)
            self._condition.notify()
        return result

    def look(self, read: Callable[[PendingWrites], Result]) -> Result:
        """Return something of what is pending."""
        with self._condition:
            return read(self._pending)

    def wait(self, ticket: int, deadline: Deadline) -> None:
        """Wait until the change with a ticket is on disk, at most `PROMISE_S` seconds.

        Raises:
            StorageUnavailable: It is not; the attempts go on.
            ClientDisconnected: The client disconnected.
        """
        written: Future[None] = Future()
        with self._condition:
            if ticket <= self._pending.written_ticket:
                return
            self._waiting[written] = ticket
        try:
            deadline.within(PROMISE_S).wait(written)
        except DeadlineExceeded as error:
            raise StorageUnavailable(self._reason()) from error
        finally:
            with self._condition:
                self._waiting.pop(written, None)

    def hold(self, reason: str | None) -> None:
        """Write nothing for this reason, and fail the requests that wait for a write, until it is None."""
        with self._condition:
            is_news = reason is not None and reason != self._held
            if reason != self._held:
                self._failing_since = None
                self._error = StorageUnavailable(reason) if reason is not None else None
            self._held = reason
            self._condition.notify()
        if is_news:
            self._emit(events.StoreFailed(str(reason)))

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written; a lock of another program counts after `PROMISE_S` seconds."""
        with self._condition:
            held, since, error = self._held, self._failing_since, self._error
        if held is not None:
            return held
        if since is None or error is None:
            return None
        is_brief = isinstance(error, DatabaseLocked) and time.monotonic() - since < PROMISE_S
        return None if is_brief else error.message

    def flush(self) -> bool:
        """Try once to write everything that is pending; return whether that succeeded."""
        with self._flushing:
            return self._flush()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write nothing in the `with` block, which waits until a write in progress is over."""
        with self._flushing:
            yield

    def _flush(self) -> bool:
        with self._condition:
            batch, held = self._pending.take(), self._held
        if held is not None:
            self._failed(StorageUnavailable(held))
            return False
        try:
            refused = self._database.write(tuple(batch.changes(self._to_document)))
        except DroverError as error:
            self._failed(error)
            return False
        except Exception as error:  # noqa: BLE001 - this thread must not end, or nothing would be written any more
            self._failed(StorageUnavailable(f"Sessions cannot be written ({error}); report this defect"))
            return False
        with self._condition:
            self._pending.written(batch, refused)
            self._failing_since = self._error = None
            done = [written for written, ticket in self._waiting.items() if ticket <= batch.ticket]
            for written in done:
                del self._waiting[written]
        for written in done:
            written.set_result(None)
        return True

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._pending or self._is_stopping)
                if not self._pending:
                    return
                is_last = self._is_stopping
            if not self.flush():
                if is_last:
                    return
                self._pause()

    def _pause(self) -> None:
        """Wait before the next attempt; if there is nothing left to write, the trouble is over."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._is_stopping or self._failing_since is None, timeout=RETRY_S
            )
            if not self._pending:
                self._failing_since = self._error = None

    def _failed(self, error: DroverError) -> None:
        """Note a failed attempt, and fail the requests that wait, unless a lock may end in time."""
        with self._condition:
            is_news = self._error is None or self._error.message != error.message
            self._failing_since = self._failing_since or time.monotonic()
            self._error = error
            failed = [] if isinstance(error, DatabaseLocked) else list(self._waiting)
            for written in failed:
                del self._waiting[written]
        if is_news:
            self._emit(events.StoreFailed(error.message))
        for written in failed:
            written.set_exception(StorageUnavailable(error.message))

    def _reason(self) -> str:
        with self._condition:
            error = self._error
        return error.message if error is not None else "The disk does not answer in time; retry"
