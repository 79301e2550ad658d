"""What nodes know of each other and of their sessions, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from uuid import UUID

from drover.storage.store import SessionRow, StoredState


class NodeState(str, Enum):
    """The state of one incarnation of a node; the last two are final."""

    UP = "up"
    DRAINING = "draining"
    LOST = "lost"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """A node as it joins.

    Attributes:
        name: Its name, which no two living nodes share.
        data_id: Identifies its data folder on its machine: whose sessions it may reclaim at once.
        url: The address at which other nodes reach it.
    """

    name: str
    data_id: str
    url: str
    version: str
    max_sessions: int


@dataclass(frozen=True, slots=True)
class Load:
    """What a node says of itself with every sign of life.

    Attributes:
        free: Its free places.
        evictable: Sessions that it could close to make room.
        sessions: How many sessions it has.
        memory_available_mb: Memory that new browsers can have, in units of 1,000,000 bytes; None if it is not
            known.
        is_draining: Whether it accepts no new sessions.
    """

    free: int
    evictable: int
    sessions: int
    memory_available_mb: int | None = None
    is_draining: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One incarnation of a node as others see it.

    Attributes:
        beat: Counts its signs of life.
        seen_at: When it gave the last one, by the clock of the database: for people only.
        emergency: The number of the last emergency of the whole cluster that it has obeyed.
    """

    incarnation: UUID
    name: str
    url: str
    state: NodeState
    beat: int
    load: Load
    max_sessions: int
    version: str
    seen_at: datetime
    emergency: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a sign of life.

    Attributes:
        beat: The number of the sign; None if this incarnation was declared lost.
        emergency: How many emergencies of the whole cluster there were.
        nodes: All nodes that are up or draining.
        owned: The epoch of every session of this incarnation, by its id.
    """

    beat: int | None
    emergency: int
    nodes: tuple[Node, ...]
    owned: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Located:
    """Where a session is.

    Attributes:
        epoch: The number of its present ownership.
        owner: The incarnation that has it; None if it is parked.
        url: The address of that node.
        node: The name of that node.
        revision: 0 if it was never ready.
    """

    session_id: str
    key: str | None
    epoch: int
    owner: UUID | None
    owner_state: NodeState | None
    url: str | None
    node: str | None
    revision: int

    @property
    def is_free(self) -> bool:
        """Whether any node may take it: it is parked, or its owner never lives again."""
        return self.owner is None or self.owner_state in {NodeState.LOST, NodeState.LEFT, None}


@dataclass(frozen=True, slots=True)
class TakenRow:
    """A session that was taken from a node that is lost, or that was parked.

    Attributes:
        row: The session under its new epoch.
        state: What was saved from its browser.
        unused_s: Seconds since its last use.
        lease_s: Seconds that are left of its lease, if it has one.
    """

    row: SessionRow
    state: StoredState | None
    unused_s: float
    lease_s: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A session of another node in the list.

    Attributes:
        version: Changes whenever its owner describes it anew.
        node: The name of its owner, if it has one.
        description: What its owner says of it; None if this version is known.
    """

    session_id: str
    version: int
    node: str | None
    description: Mapping[str, object] | None = field(hash=False)
