"""The log never blocks whoever logs, and says what it had to drop."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from drover.core.log_writer import CAPACITY, LogWriter

WAIT_S = 10.0


class Pipe:
    """A stream whose reader is told when to read."""

    def __init__(self) -> None:
        self.reading = threading.Event()
        self.written: list[bytes] = []
        self.failure: OSError | None = None

    def write(self, content: bytes) -> int | None:
        assert self.reading.wait(WAIT_S)
        if self.failure is not None:
            raise self.failure
        self.written.append(content)
        return len(content)


def nothing(_: int) -> None:
    return


def written_by(write: Callable[[bytes], int | None], *lines: str) -> bool:
    writer = LogWriter(write, nothing)
    for line in lines:
        writer.put(line)
    return writer.flush(WAIT_S)


def test_lines_are_written_in_their_order() -> None:
    pipe = Pipe()
    pipe.reading.set()
    assert written_by(pipe.write, "one", "zwei €")
    assert pipe.written == [b"one\n", "zwei €\n".encode()]


def test_what_a_pipe_takes_in_parts_is_written_whole() -> None:
    taken: list[bytes] = []
    turns = itertools.count()

    def write(content: bytes) -> int | None:
        if next(turns) % 2:
            return None
        taken.append(content[:1])
        return 1

    assert written_by(write, "abc")
    assert b"".join(taken) == b"abc\n"


def test_a_pipe_that_nobody_reads_blocks_nobody_and_the_dropped_lines_are_counted() -> None:
    pipe = Pipe()
    told: list[int] = []
    reported = threading.Event()

    def report(count: int) -> None:
        told.append(count)
        reported.set()

    writer = LogWriter(pipe.write, report)
    for number in range(CAPACITY + 1000):
        writer.put(f"line {number}")
    assert not writer.flush(0.0)
    pipe.reading.set()
    assert reported.wait(WAIT_S)
    assert writer.flush(WAIT_S)
    # The writer may hold one line besides those in the queue.
    assert sum(told) + len(pipe.written) == CAPACITY + 1000
    assert sum(told) in {999, 1000}


def test_lines_that_cannot_be_written_are_dropped_until_they_can_be() -> None:
    pipe = Pipe()
    pipe.reading.set()
    pipe.failure = OSError(28, "No space left on device")
    told: list[int] = []
    writer = LogWriter(pipe.write, told.append)
    writer.put("one")
    writer.put("two")
    assert writer.flush(WAIT_S)
    pipe.failure = None
    writer.put("three")
    assert writer.flush(WAIT_S)
    assert pipe.written == [b"three\n"]
    assert told == [2]
