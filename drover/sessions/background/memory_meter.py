"""Measures how much memory each session's processes hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from drover.core.jobs import Job, JobKind, Jobs
from drover.processes.cleanup.process_tree import pids_by_session
from drover.processes.host.memory import memory_held_mb
from drover.processes.table import snapshot
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session

USUAL_S = 300.0
RECYCLING_S = 20.0
"""How often sessions are measured if their size decides whether they are recycled."""


@dataclass(eq=False, repr=False)
class MemoryMeter:
    """Measures the sessions in the background, soon after their browser has started and then at intervals.

    Args:
        every_s: Seconds between two measurements of a browser.
    """

    _registry: SessionRegistry
    _jobs: Jobs
    _every_s: float
    _measured_at: dict[str, float] = field(default_factory=dict, init=False)

    def tick(self) -> None:
        """Begin to measure the sessions that are due."""
        # A value measured before the browser runs would be shown for minutes as the session's memory.
        running = {
            one.running.browser_guid: one for one in self._registry.sessions() if one.running is not None
        }
        now = time.monotonic()
        self._measured_at = {guid: at for guid, at in self._measured_at.items() if guid in running}
        due = {
            guid: session
            for guid, session in running.items()
            if now - self._measured_at.get(guid, float("-inf")) >= self._every_s
        }
        if due:
            self._measured_at |= dict.fromkeys(due, now)
            self._jobs.begin(Job(JobKind.MEMORY), partial(self._measure, tuple(due.values())))

    def _measure(self, sessions: Sequence[Session]) -> None:
        """Record how much memory the sessions' processes hold; takes about 2 ms per process."""
        pids = pids_by_session(snapshot())
        for session in sessions:
            held = round(memory_held_mb(pids.get(session.folder.marked_session(), ())), 1)
            self._registry.note(session, memory_mb=held)
