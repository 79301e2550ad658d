"""Writing log lines without ever blocking the thread that logs.

A pipe that nobody reads blocks its writer after 64 KiB (measured): Java's `ProcessBuilder`, Node's `spawn`
and Python's `subprocess.PIPE` are such readers. So lines go into a bounded queue, and one thread writes them.
Lines that find the queue full, or that cannot be written, are dropped and counted.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TextIO

from drover.core.threads import start_thread

CAPACITY: Final = 8192
"""Lines that may wait to be written."""
RETRY_S: Final = 0.05
"""Pause before the next attempt when a pipe that is not blocking is full."""


class LogWriter:
    """Queue of log lines with a thread that writes them.

    Args:
        write: Writes bytes and returns how many were taken; None if none can be taken at the moment.
        on_dropped: Called in the writer's thread with the number of dropped lines, once lines can be written
            again.
    """

    def __init__(self, write: Callable[[bytes], int | None], on_dropped: Callable[[int], object]) -> None:
        self._write = write
        self._on_dropped = on_dropped
        self._lines: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._dropped = 0
        self._writing = False
        start_thread(self._run, "log")

    def put(self, line: str) -> None:
        """Queue one line; it is dropped if the queue is full."""
        content = (line + "\n").encode("utf-8", "backslashreplace")
        with self._changed:
            if len(self._lines) >= CAPACITY:
                self._dropped += 1
                return
            self._lines.append(content)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until every queued line is written, at most `timeout` seconds; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                line = self._lines.popleft()
                self._writing = True
            if self._is_written(line):
                self._report()
            else:
                with self._changed:
                    self._dropped += 1

    def _is_written(self, line: bytes) -> bool:
        while line:
            try:
                taken = self._write(line)
            except (OSError, ValueError):
                # The reader is gone, the disk is full, or the stream is closed: this line cannot be written.
                return False
            if taken is None:
                time.sleep(RETRY_S)
                continue
            line = line[taken:]
        return True

    def _report(self) -> None:
        with self._changed:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._on_dropped(dropped)


def standard_error() -> Callable[[bytes], int | None]:
    """Return a function that writes to standard error without Python's buffers and their locks.

    A thread that is blocked while it holds such a lock would make the interpreter abort at its end. A raw
    console stream of Windows takes UTF-8 as well. Without a standard error (`pythonw.exe`), lines are
    discarded.
    """
    stream = sys.stderr
    if stream is None:
        return len
    try:
        return open(stream.fileno(), "wb", buffering=0, closefd=False).write
    except (OSError, ValueError):
        return partial(_write_to, stream)


def _write_to(stream: TextIO, line: bytes) -> int:
    """Write to a stream of Python's own, as one that replaces standard error in another program."""
    if hasattr(stream, "buffer"):
        stream.buffer.write(line)
    else:
        stream.write(line.decode("utf-8"))
    stream.flush()
    return len(line)
