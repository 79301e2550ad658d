"""A connection to PostgreSQL on which no call takes longer than its limit.

`statement_timeout` and `tcp_user_timeout` do nothing while the server is stopped (measured: a call with both
returned after 6 s, when the server went on). So another thread shuts the socket down: the call fails at once.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import psycopg

from drover.core.errors import InvalidRequest, StartRefused, StorageUnavailable
from drover.core.threads import start_thread

CONNECT_S: Final = 2
LIMIT_S: Final = 2.0
"""How long one call may take, after the connection is open."""
PAUSE_S: Final = 0.5
"""How long calls fail at once after one has failed, so that callers do not queue for a server that hangs."""
# A machine that stops in the middle of a transaction keeps the locks of its rows, also of the row by which
# the others declare it lost, unless the server ends it. A living node pauses for milliseconds at most.
# What waits for a lock goes on to wait in the server when its client has given up, and others wait behind it:
# a migration behind a backup would stop the signs of life of all nodes. Never `statement_timeout`: it would
# end the wait for a synchronous standby, and the commit would count as done.
_LIMIT_LOCKS: Final = "SET LOCAL idle_in_transaction_session_timeout = '2s'; SET LOCAL lock_timeout = '1s'"

Connection = psycopg.Connection[tuple[Any, ...]]
Result = TypeVar("Result")


class Watchdog:
    """Shuts down the sockets of calls that take too long, on one thread for all connections."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._due: dict[socket.socket, float] = {}
        self._thread: threading.Thread | None = None
        self._is_stopping = False

    @contextmanager
    def limit(self, descriptor: int, seconds: float) -> Iterator[None]:
        """Shut the socket down if the `with` block takes longer."""
        watched = socket.socket(fileno=os.dup(descriptor))
        with self._condition:
            if self._thread is None:
                self._thread = start_thread(self._run, "database-watchdog")
            self._due[watched] = time.monotonic() + seconds
            self._condition.notify()
        try:
            yield
        finally:
            with self._condition:
                self._due.pop(watched, None)
            watched.close()

    def stop(self) -> None:
        """End the thread."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify()

    def _run(self) -> None:
        with self._condition:
            while not self._is_stopping:
                now = time.monotonic()
                for late in [watched for watched, due in self._due.items() if due <= now]:
                    del self._due[late]
                    with suppress(OSError):  # the server has closed it already
                        late.shutdown(socket.SHUT_RDWR)
                next_due = min(self._due.values(), default=None)
                self._condition.wait(None if next_due is None else max(next_due - now, 0.0))


@dataclass
class Answered:
    """What the connections to a database share; times are seconds of `time.monotonic`.

    Attributes:
        at: When a call has last succeeded.
        reopened_at: When a connection was last opened again.
        losses: How often the database may have lost its last transactions, as in a failover.
    """

    at: float = float("-inf")
    reopened_at: float = float("-inf")
    losses: int = 0

    def reopen(self) -> None:
        """Note that the database may be another one than before."""
        self.reopened_at = time.monotonic()
        self.losses += 1


@dataclass(eq=False, repr=False)
class Link:
    """One connection, opened on demand and again after a failure; calls take turns.

    Args:
        answered: Shared by all connections: what one has found to be over is not told by another.
        opened: Called with a new connection before it is used.
    """

    _url: str
    _watchdog: Watchdog
    _answered: Answered
    _opened: Callable[[Connection], object] = lambda _: None
    _is_new: bool = field(default=False, init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False)
    _connection: Connection | None = field(default=None, init=False)
    _was_open: bool = field(default=False, init=False)
    _failed_at: float = field(default=float("-inf"), init=False)
    _error: str = field(default="", init=False)

    def run(self, work: Callable[[Connection], Result], limit_s: float = LIMIT_S) -> Result:
        """Run statements in one transaction and return their result.

        Raises:
            StorageUnavailable: The database did not answer in time, or refused; the outcome is unknown.
            InvalidRequest: PostgreSQL cannot hold a value, such as a text with a NUL character.
            psycopg.errors.UniqueViolation: A statement has violated a unique index; nothing was changed.
        """
        if not self._turn.acquire(timeout=CONNECT_S + limit_s):
            raise StorageUnavailable("The database does not answer; retry later")
        try:
            if time.monotonic() < self._failed_at + PAUSE_S and self._answered.at < self._failed_at:
                raise StorageUnavailable(self._error)
            return self._run(work, limit_s)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close the connection."""
        with self._turn:
            self._discard()

    def _run(self, work: Callable[[Connection], Result], limit_s: float) -> Result:
        try:
            connection = self._connected()
            with self._watchdog.limit(connection.fileno(), limit_s), connection.transaction():
                connection.execute(_LIMIT_LOCKS)
                if self._is_new:
                    self._opened(connection)
                    self._is_new = False
                result = work(connection)
        except psycopg.errors.UniqueViolation:
            raise
        except psycopg.DataError as error:
            # Nothing is wrong with the connection: the name that a client has sent is at fault.
            raise InvalidRequest(f"PostgreSQL cannot hold a name ({error}); use another one") from error
        except (psycopg.Error, OSError) as error:
            self._discard()
            self._failed_at = time.monotonic()
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            self._error = f"The database could not be used ({reason}); retry when it answers again"
            raise StorageUnavailable(self._error) from error
        self._answered.at = time.monotonic()
        return result

    def _connected(self) -> Connection:
        if self._connection is not None and _has_ended(self._connection):
            self._discard()
        if self._connection is None:
            # A pooler in transaction mode cannot keep prepared statements.
            self._connection = psycopg.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_S, prepare_threshold=None
            )
            if self._was_open:
                self._answered.reopen()
            self._was_open = self._is_new = True
        return self._connection

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                connection.close()


def _has_ended(connection: Connection) -> bool:
    """Return whether the server has closed an idle connection, as its restart does; do not wait for it."""
    if connection.closed:
        return True
    try:
        # The first call reads the server's last message, if it has sent one; the second finds the end.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


def check_url(url: str) -> None:
    """Raise if the address of the database is malformed.

    Raises:
        StartRefused: It is; the message does not contain it, because it may contain a password.
    """
    reason = "" if url.startswith(("postgresql://", "postgres://")) else "another scheme than postgresql"
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        reason = str(error).strip()
    if reason:
        raise StartRefused(
            f"DROVER_DATABASE_URL is (hidden): {reason}; use postgresql://user:password@host:5432/database"
        )
