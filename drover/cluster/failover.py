"""Sessions that no living node has: restored on this node, or ended without a browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from drover.api.session_answers import HistoryObject, SessionHistoryAnswer
from drover.cluster.membership import Shared
from drover.core import events
from drover.core.deadline import Deadline
from drover.core.errors import NotOwner
from drover.core.events import Emit
from drover.sessions.lifecycle.session_pool import SessionPool
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.session import Session, SessionState
from drover.storage.changes import Owner
from drover.storage.cluster_values import Located
from drover.storage.session_history import HistoryEntry


@dataclass(eq=False, repr=False)
class Failover:
    """Takes sessions whose node is lost, or that were parked."""

    _pool: SessionPool
    _shared: Shared
    _state_saver: StateSaver
    _emit: Emit

    def has_or_ends(self, found: Located) -> bool:
        """Return whether this node knows of a session that is its own by the database.

        It does not if the answer to its claim was lost: the next signs of life leave the session to others.
        """
        return self._shared.repository.knows(Owner(found.session_id, found.epoch))

    def restore(self, found: Located, deadline: Deadline) -> None:
        """Begin to restore a session here; requests for it wait for that.

        A session that was never ready was promised to no client: it is removed, and can be created anew.

        Raises:
            NotOwner: Another node was faster.
            AtCapacity: No place became free in time.
            ClientDisconnected: The client disconnected while it waited for a place.
            StorageUnavailable: The database does not answer.
        """
        if found.revision == 0:
            self.end(found, forgets_key=False)
            return

        def take(reserved: Session) -> Session:
            row = self._shared.ownership.take(found.session_id, found.epoch)
            if row is None:
                raise NotOwner(f"Another node has taken session {found.session_id}; ask that node")
            session, state = self._shared.repository.taken(row, reserved)
            if state is not None:
                self._state_saver.remember(session, state)
            self._emit(events.SessionTaken(found.session_id, found.node or "(parked)"))
            return session

        self._pool.restore(found.session_id, take, deadline)

    def end(self, found: Located, *, forgets_key: bool) -> None:
        """Delete a session without starting a browser for it.

        Raises:
            NotOwner: Another node was faster.
            StorageUnavailable: The database does not answer.
        """
        if not self._shared.ownership.remove(found.session_id, found.epoch, forgets_key=forgets_key):
            raise NotOwner(f"Another node has taken session {found.session_id}; ask that node")

    def describe(self, found: Located) -> dict[str, object]:
        """Return what is known of a session without restoring it, in the form of `GET /sessions/{id}`.

        Raises:
            NotOwner: Another node was faster.
            StorageUnavailable: The database does not answer.
        """
        summary = self._summary(found)
        health = {"status": "dead", "reason": "its node is gone; the next use restores it on another node"}
        return {
            "success": True,
            "created": False,
            "recovered": False,
            "recovery": None,
            "session": {**summary, "health": {**_mapping(summary.get("health")), **health}},
            "session_id": found.session_id,
        }

    def history(self, found: Located) -> dict[str, object]:
        """Return what is known of the past of a session, in the form of `GET /sessions/{id}/history`.

        That is its creation only: the node that had it, and knows the rest, is gone.

        Raises:
            NotOwner: Another node was faster.
            StorageUnavailable: The database does not answer.
        """
        summary = self._summary(found)
        created_at = datetime.fromisoformat(str(summary["created_at"]).replace("Z", "+00:00"))
        created = HistoryEntry(created_at, "created", f"Session {found.session_id} created")
        answer = SessionHistoryAnswer(
            success=True,
            session_id=found.session_id,
            state=SessionState(summary["state"]),
            history=[HistoryObject.filled(created)],
        )
        return answer.json_object()

    def _summary(self, found: Located) -> Mapping[str, object]:
        summary = self._shared.ownership.summary(found.session_id)
        if summary is None:
            raise NotOwner(f"Session {found.session_id} was never ready, or another node has it")
        return summary


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}
