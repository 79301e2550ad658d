"""The threads on which requests run: a pool for each kind of waiting, so that none takes another's threads.

Clients that wait for one slow session must not keep others from closing it, nor from reading the list of
sessions, nor another session's command from its recovery.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.core.threads import ThreadPool

WAITING = 64
"""Requests that may wait for a session at a time: a start, a recovery, a check, a place."""
ENDING = 32
READING = 8


@dataclass(frozen=True)
class RequestThreads:
    """The pools.

    Attributes:
        waiting: For requests that may wait for a session; refused when all threads are busy.
        ending: For requests that close sessions or clean up; refused when all threads are busy.
        reading: For requests that are answered from memory.
        commands: For what a running command or view needs; each session needs at most two at a time.
    """

    waiting: ThreadPool
    ending: ThreadPool
    reading: ThreadPool
    commands: ThreadPool

    @classmethod
    def for_sessions(cls, max_sessions: int) -> RequestThreads:
        """Return the pools of a service with so many sessions; no thread is started yet."""
        return cls(
            ThreadPool("waiting", WAITING, refuses=True),
            ThreadPool("ending", ENDING, refuses=True),
            ThreadPool("reading", READING),
            ThreadPool("commands", 2 * max_sessions + READING),
        )

    @property
    def pools(self) -> tuple[ThreadPool, ...]:
        """All pools."""
        return (self.waiting, self.ending, self.reading, self.commands)

    def close(self) -> None:
        """Accept no more requests; the threads end with those that they serve."""
        for pool in self.pools:
            pool.shutdown(wait=False)
