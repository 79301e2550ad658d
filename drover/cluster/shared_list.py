"""What nodes show of each other's sessions: each writes its own, and keeps a copy of the others'."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Final

from pydantic import ValidationError

from drover.api.session_answers import SessionObject
from drover.browser.health import HealthStatus
from drover.cluster.membership import Membership, Shared
from drover.cluster.requests import Names
from drover.core.errors import StorageUnavailable
from drover.sessions.persistence.cluster_repository import UNCLAIMED
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session
from drover.storage.changes import owner_of
from drover.storage.cluster_values import Located, Node

FRESH_S: Final = 5.0
"""How old the copy may be before a list counts as incomplete."""
VOLATILE_S: Final = 10.0
"""How often a session is written of which only times and measurements have changed."""
MANY: Final = 1000
"""From this number of sessions on, the copy is read every tenth second only."""
LIMIT: Final = 10_000
_VOLATILE: Final = frozenset({"in_use", "last_used", "current_url", "memory_mb", "health"})
_MEASURED: Final = frozenset({"checked_at", "latency_ms"})
"""What changes of the health with every check: no reason to write a session at rest again and again."""

Describe = Callable[[Session], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class _Written:
    """What was last written of a session, and when."""

    session: Session
    shown: Mapping[str, object]
    at: float

    @property
    def lasting(self) -> Mapping[str, object]:
        """What changes seldom."""
        return {name: value for name, value in self.shown.items() if name not in _VOLATILE}


@dataclass(frozen=True, slots=True)
class _Copied:
    """A session of another node, as its owner has described it."""

    version: int
    session: SessionObject | None
    node: str | None


class SharedList:
    """Writes this node's sessions for others, and reads theirs.

    Args:
        describe: Returns a session as clients see it.
    """

    def __init__(
        self, registry: SessionRegistry, membership: Membership, shared: Shared, describe: Describe
    ) -> None:
        self._registry = registry
        self._membership = membership
        self._ownership = shared.ownership
        self._database = shared.database
        self._describe = describe
        self._written: dict[str, _Written] = {}
        self._copied: dict[str, _Copied] = {}
        self._others: tuple[SessionObject, ...] | None = ()
        self._as_of = datetime.now(timezone.utc)
        self._lost: tuple[Node, ...] = ()
        self._read_at = float("-inf")
        self._losses = 0

    def tick(self) -> None:
        """Write what has changed, and read what others have written; a silent database is tried again."""
        losses = self._database.losses
        if losses != self._losses:
            # What was written may not be there, and versions may name other descriptions than before.
            self._losses = losses
            self._written, self._copied = {}, {}
        try:
            self._write()
            now = time.monotonic()
            total = sum(node.load.sessions for node in self._membership.nodes)
            if total <= MANY or now - self._read_at >= VOLATILE_S:
                self._read()
        except StorageUnavailable:
            # The list says itself that it is incomplete.
            return

    @property
    def others(self) -> tuple[SessionObject, ...]:
        """The sessions of all other nodes, the oldest first."""
        if self._others is None:
            living = {node.name for node in self._membership.nodes}
            self._others = tuple(
                _shown(one.session, self._as_of, is_living=one.node in living)
                for one in self._copied.values()
                if one.session is not None
            )
        return self._others

    @property
    def served(self) -> tuple[SessionObject, ...]:
        """Those sessions of other nodes whose nodes live."""
        living = {node.name for node in self._membership.other_nodes}
        return tuple(
            one.session for one in self._copied.values() if one.session is not None and one.node in living
        )

    def locate(self, names: Names) -> Located | None:
        """Return which living node had a session when the list was last read; None if it was not in it."""
        nodes = {node.name: node for node in self._membership.other_nodes}
        for one in self._copied.values():
            session, node = one.session, nodes.get(one.node or "")
            if session is None or node is None:
                continue
            if names.session_id == session.session_id or (names.key and names.key == session.key):
                owner = (node.incarnation, node.state, node.url, node.name)
                return Located(session.session_id, session.key, UNCLAIMED, *owner, revision=1)
        return None

    @property
    def is_complete(self) -> bool:
        """Whether the copy is recent."""
        late = FRESH_S if len(self._copied) <= MANY else FRESH_S + VOLATILE_S
        return time.monotonic() - self._read_at < late

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes by name: those that live, and those that are lost and have not come back."""
        living = self._membership.nodes
        names = {node.name for node in living}
        lost = (node for node in self._lost if node.name not in names)
        return tuple(sorted((*living, *lost), key=lambda node: node.name))

    def _write(self) -> None:
        now = time.monotonic()
        sessions = [one for one in self._registry.sessions() if one.epoch != UNCLAIMED]
        changed: list[tuple[Any, float, Mapping[str, object]]] = []
        written: dict[str, _Written] = {}
        for session in sessions:
            before = self._written.get(session.birth)
            if before is not None and before.session is session:
                written[session.birth] = before
                continue
            description = self._describe(session)
            new = _Written(session, _comparable(description), now)
            if before is not None and before.session.epoch == session.epoch:
                if before.shown == new.shown:
                    written[session.birth] = replace(before, session=session)
                    continue
                if before.lasting == new.lasting and now - before.at < VOLATILE_S:
                    written[session.birth] = before
                    continue
            unused_s = 0.0 if session.in_use else max(now - session.last_used_mono, 0.0)
            changed.append((owner_of(session), unused_s, description))
            written[session.birth] = new
        self._ownership.describe(changed)
        self._written = written

    def _read(self) -> None:
        as_of = datetime.now(timezone.utc)
        before = self._copied
        found = self._ownership.summaries({one: copy.version for one, copy in before.items()}, LIMIT)
        self._lost = self._ownership.lost_nodes()
        self._copied = {
            one.session_id: replace(before[one.session_id], node=one.node)
            if one.description is None
            else _Copied(one.version, _readable(one.description), one.node)
            for one in found
        }
        self._as_of = as_of
        self._others = None
        self._read_at = time.monotonic()


def _comparable(description: Mapping[str, object]) -> Mapping[str, object]:
    health = description.get("health")
    if not isinstance(health, dict):
        return description
    return {**description, "health": {name: one for name, one in health.items() if name not in _MEASURED}}


def _readable(description: Mapping[str, object]) -> SessionObject | None:
    """Return a session as its owner has described it; None if this version cannot read it."""
    known = {name: value for name, value in description.items() if name in SessionObject.model_fields}
    try:
        return SessionObject.model_validate(known)
    except ValidationError:
        return None


def _shown(session: SessionObject, as_of: datetime, *, is_living: bool) -> SessionObject:
    if is_living:
        return session.model_copy(update={"as_of": as_of})
    reason = "its machine is gone; the next use restores it on another one"
    health = session.health.model_copy(update={"status": HealthStatus.DEAD, "reason": reason})
    return session.model_copy(update={"as_of": as_of, "health": health, "in_use": False})
