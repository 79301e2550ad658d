"""Notices to the node of a Selenium Grid: a session that ended without it has to free its slot.

A session that its client ends over WebDriver is not among them: the node has sent that command itself, and
would answer its client with an error if the session were gone by then. A notice is sent only while there is
no session with this id, since the node passes the end on to this service.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from drover.core import events
from drover.core.backoff import NO_FAILURES, Backoff
from drover.core.events import Emit, Event
from drover.core.jobs import Job, JobKind, Jobs
from drover.net.grid_node import GridNode, GridNodeFailed
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.pool.session import SESSION_ID

ATTEMPTS = 3
PAUSES = Backoff(first_s=0.5, longest_s=2.0)
_TOLD = frozenset(
    why.value
    for why in (
        CloseReason.DELETED,
        CloseReason.IDLE,
        CloseReason.EVICTED,
        CloseReason.DRAINED,
        CloseReason.STOPPING,
        CloseReason.RETRIED,
        CloseReason.GIVEN_AWAY,
    )
)


@dataclass(eq=False, repr=False)
class GridSlots:
    """Notifies a Grid's node of sessions that have ended without it, and of a drain; in the background.

    Args:
        is_known: Returns whether there is a session with an id.
    """

    _node: GridNode
    _is_known: Callable[[str], bool]
    _jobs: Jobs
    _emit: Emit
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)

    def hear(self, event: Event) -> None:
        """Begin to tell the node what an event says of its sessions; never waits."""
        if isinstance(event, events.DrainBegan):
            self._jobs.begin(Job(JobKind.GRID_NOTICE), self._drain)
        for session_id in _ended(event):
            # A session of the same id may have ended while the notice of an earlier one is on its way.
            job = Job(JobKind.GRID_NOTICE, session_id)
            self._jobs.begin(job, partial(self._free, session_id), anew=True)

    def stop(self) -> None:
        """Retry no more: the service is stopping."""
        self._stopping.set()

    def _free(self, session_id: str) -> None:
        def free() -> None:
            if not self._is_known(session_id):
                self._node.free_slot(session_id)

        error = self._attempt(free)
        if error is not None:
            self._emit(events.GridSlotNotFreed(session_id, error))

    def _drain(self) -> None:
        error = self._attempt(self._node.drain)
        if error is not None:
            self._emit(events.GridNodeNotDrained(error))

    def _attempt(self, send: Callable[[], None]) -> str | None:
        """Send a notice, with pauses between the attempts; return why the last attempt failed."""
        failures = NO_FAILURES
        while True:
            try:
                send()
            except GridNodeFailed as error:
                now = time.monotonic()
                failures = PAUSES.failed(failures, now)
                if failures.count == ATTEMPTS or self._stopping.wait(PAUSES.pause_s(failures, now)):
                    return str(error)
            else:
                return None


def _ended(event: Event) -> Iterable[str]:
    """Return the ids of the sessions that have ended without the node, by what an event says."""
    if isinstance(event, events.SessionClosed):
        # No client has had a warm browser.
        is_told = event.why in _TOLD and SESSION_ID.fullmatch(event.session_id)
        return (event.session_id,) if is_told else ()
    if isinstance(event, events.SessionForgotten):
        return (event.session_id,)
    return event.sessions if isinstance(event, events.EmergencyFinished) else ()
