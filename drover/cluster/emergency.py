"""This node's part of an emergency of all nodes: noted as done when it is done, and not before.

A node does its part once for each emergency, whoever asks it: the client, or the next sign of life. A part
that fails, or that the death of the service cuts off, is begun again by a later sign of life.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from drover.cluster.membership import Shared
from drover.core import events
from drover.core.deadline import Deadline
from drover.core.errors import DroverError, Overloaded
from drover.core.events import Emit
from drover.core.threads import start_thread
from drover.processes.cleanup.reports import EmergencyReport
from process_cleanup import EmergencyRecovery

EMERGENCY_S: Final = 90.0


@dataclass(eq=False, repr=False)
class NodeEmergency:
    """Does this node's part of emergencies, one at a time.

    The database counts the emergencies, and knows which of them each node has obeyed.
    """

    _shared: Shared
    _recovery: EmergencyRecovery
    _emit: Emit
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False)
    _may_obey: bool = field(default=False, init=False)

    def begin_to_obey(self) -> None:
        """Let signs of life begin this node's part: the sessions of its last run are in the list by now.

        Before that they would be adopted after the emergency has ended all that were in the list.
        """
        self._may_obey = True

    def order(self, deadline: Deadline) -> tuple[int, EmergencyReport]:
        """Order all nodes to end their sessions, and end those of this one; return the emergency's number.

        Raises:
            Overloaded: Another emergency or cleanup did not end before the deadline.
            StorageUnavailable: The database does not answer.
        """
        if not self._turn.acquire(timeout=deadline.remaining()):
            raise Overloaded("Another emergency is still in progress; retry when it has ended")
        try:
            # From now on a sign of life can ask for this node's part, and finds it in progress.
            number = self._shared.ownership.begin_emergency()
            return number, self._do(number, deadline)
        finally:
            self._turn.release()

    def obey(self, number: int) -> None:
        """Begin this node's part of an emergency that another node has ordered.

        Unless it is in progress, or the start is; then a later sign of life begins it.
        """
        if not self._may_obey or not self._turn.acquire(blocking=False):
            return
        try:
            start_thread(partial(self._obey, number), "emergency")
        except DroverError as error:
            self._turn.release()
            self._emit(events.SessionDataNotCleared(error.message))

    def _obey(self, number: int) -> None:
        try:
            if number > self._shared.database.emergency:
                self._do(number, Deadline(EMERGENCY_S))
        except DroverError as error:
            # The next sign of life begins again.
            self._emit(events.SessionDataNotCleared(error.message))
        finally:
            self._turn.release()

    def _do(self, number: int, deadline: Deadline) -> EmergencyReport:
        report = self._recovery.run(deadline)
        # What could not be deleted yet would be served again after a restart: the next sign begins again.
        if report.cleared:
            # The next sign of life tells it to others.
            self._shared.database.emergency = number
        return report
