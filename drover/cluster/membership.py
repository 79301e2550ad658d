"""Membership of this node: name, signs of life, what it hears of others, and what it has to give up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Final
from uuid import UUID

from drover.cluster import clock
from drover.cluster.fence import Fence, SilenceWatch, compare
from drover.cluster.own_sessions import OwnSessions
from drover.core import events
from drover.core.errors import DroverError, SessionNotFound, StorageUnavailable
from drover.core.events import Emit
from drover.core.threads import start_thread
from drover.sessions.persistence.cluster_repository import UNCLAIMED, ClusterRepository
from drover.sessions.pool.admission import Room
from drover.sessions.pool.session import Session, SessionState
from drover.storage.changes import Owner, owner_of
from drover.storage.cluster_values import Answer, Load, Node
from drover.storage.postgres.database import ClusterDatabase, NameTaken
from drover.storage.postgres.ownership import Ownership

BEAT_S: Final = 2.0
RETRY_S: Final = 0.5
FENCE_TICK_S: Final = 0.25
POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Shared:
    """The database of a node, seen from its three sides."""

    database: ClusterDatabase
    ownership: Ownership
    repository: ClusterRepository


class Membership:
    """Keeps this node a member of the cluster.

    Args:
        obey: Begins this node's part of the emergency of the whole cluster with this number.

    Attributes:
        leave: Stops the service, because another living node has the name of this one.
    """

    def __init__(self, shared: Shared, own: OwnSessions, obey: Callable[[int], None], emit: Emit) -> None:
        self.fence = Fence()
        self._shared = shared
        self._registry = own.registry
        self._closer = own.closer
        self._obstacle = own.obstacle
        self._obey = obey
        self.leave: Callable[[str], None] = _nowhere
        self._emit = emit
        self._silence = SilenceWatch()
        self._freeze = clock.FreezeWatch()
        self._stopping = threading.Event()
        self._due = threading.Event()
        self._threads: list[threading.Thread] = []
        self._strays: set[Owner] = set()
        self._paused_at: float | None = None
        self._error = "it has not answered yet"
        self._nodes: tuple[Node, ...] = ()
        self._listeners: list[Callable[[], None]] = []

    @property
    def incarnation(self) -> UUID:
        """This life of the node as a member of the cluster."""
        return self._shared.database.incarnation

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that were up or draining at the last answer, this one included."""
        return self._nodes

    @property
    def other_nodes(self) -> tuple[Node, ...]:
        """All nodes that were up or draining at the last answer, but this one."""
        return tuple(node for node in self._nodes if node.incarnation != self.incarnation)

    def is_living(self, incarnation: UUID | None) -> bool:
        """Return whether a node was up or draining at the last answer."""
        return any(node.incarnation == incarnation for node in self._nodes)

    @property
    def trouble(self) -> str | None:
        """Why this node serves nothing at present, or None."""
        return None if self.fence.may_serve() else f"the database does not answer ({self._error})"

    def call_after_beats(self, listener: Callable[[], None]) -> None:
        """Have a function called after every answer, and when the right to serve has ended."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to give signs of life."""
        self._threads = [
            start_thread(self._run, "beat"),
            start_thread(self._watch_fence, "fence"),
        ]

    def stop(self) -> None:
        """Leave the cluster: what other nodes may take is theirs from now on."""
        self._stopping.set()
        self._due.set()
        for thread in self._threads:
            thread.join(BEAT_S)
        self.fence.leave()
        self._shared.ownership.leave()

    def beat_now(self) -> None:
        """Send a sign of life at once, and wait for some time until this node may serve again."""
        self._due.set()
        over = clock.now() + BEAT_S
        while not self.fence.may_serve() and clock.now() < over:
            time.sleep(POLL_S)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            self._due.wait(pause)
            if self._stopping.is_set():
                return
            self._due.clear()
            try:
                pause = self._beat()
            except StorageUnavailable as error:
                self._error = error.message
                pause = RETRY_S
            except Exception as error:  # noqa: BLE001 - without signs of life the node would be lost
                self._error = f"{error}; report this defect"
                pause = RETRY_S

    def _watch_fence(self) -> None:
        """Say when the right to serve ends, and when it is back."""
        while not self._stopping.wait(FENCE_TICK_S):
            if self.fence.may_serve():
                if self._paused_at is not None:
                    self._emit(events.ServingResumed(round(clock.now() - self._paused_at)))
                    self._paused_at = None
            elif self._paused_at is None:
                self._paused_at = clock.now()
                self._emit(events.ServingPaused(self._error))
                self._tell()

    def _beat(self) -> float:
        """Send a sign of life, and act upon the answer; return the seconds until the next sign."""
        if self._freeze.has_jumped():
            self.fence.close()
        held = self._held()
        sent = clock.now()
        answer = self._shared.ownership.beat(self._load())
        received = clock.now()
        if answer.beat is None:
            # A node that has left by itself, as its stop did not wait for this answer, stays away.
            if not self._stopping.is_set():
                self._join_again()
            return 0.0
        if answer.emergency > self._shared.database.emergency:
            # What other nodes have ended must not be served here, however long this node was away.
            self.fence.close()
            self._obey(answer.emergency)
        else:
            self.fence.extend(sent)
        self._nodes = answer.nodes
        self._declare_lost(received)
        self._settle(held, answer)
        self._tell()
        return BEAT_S

    def _held(self) -> dict[str, Session]:
        """Return the sessions of this node that have a row and do not close, by id."""
        return {one.session_id: one for one in self._registry.sessions() if _is_claimed(one)}

    @property
    def room(self) -> Room:
        """What this node could do now for a request that needs a new session."""
        return self._registry.room if self._obstacle() is None else Room()

    def _load(self) -> Load:
        registry, room = self._registry, self.room
        available_mb = registry.memory.available_mb
        return Load(
            room.free,
            room.evictable,
            len(registry.sessions()),
            round(available_mb) if isfinite(available_mb) else None,
            is_draining=registry.draining or registry.stopping,
        )

    def _declare_lost(self, received: float) -> None:
        for node, seconds in self._silence.hear(self.other_nodes, received):
            if self._shared.ownership.declare_lost(node.incarnation, node.beat):
                self._emit(events.NodeLost(node.name, round(seconds)))

    def _settle(self, held: dict[str, Session], answer: Answer) -> None:
        """Make memory and database agree about this node's sessions."""
        now_held = {
            one.session_id: one.epoch if _is_claimed(one) else UNCLAIMED for one in self._registry.sessions()
        }
        epochs = {session_id: session.epoch for session_id, session in held.items()}
        difference = compare(epochs, now_held, answer.owned)
        for session_id in difference.missing:
            epoch = self._shared.repository.insert(held[session_id])
            if epoch is None:
                self._give_away(held[session_id])
            else:
                self._move(held[session_id], epoch)
        # The database had forgotten the key of a session, and another one has got it.
        without_key = [
            one for one in held if epochs[one] == answer.owned.get(one) and self._has_lost_key(held[one])
        ]
        for session_id in (*difference.given_away, *without_key):
            self._give_away(held[session_id])
        self._release(Owner(one, answer.owned[one]) for one in difference.strays)

    def _has_lost_key(self, session: Session) -> bool:
        return self._shared.database.has_lost_key(owner_of(session))

    def _release(self, found: Iterable[Owner]) -> None:
        """Release rows that this node has had in two answers, without a session in memory or on its way."""
        strays = {one for one in found if not self._shared.repository.knows(one)}
        for owner in strays & self._strays:
            self._shared.ownership.release(owner)
        self._strays = strays

    def _join_again(self) -> None:
        """Begin anew after this node was declared lost: go on with what no other node has taken."""
        self.fence.close()
        # What is claimed from now on is claimed by the new incarnation, or not at all.
        known = [one for one in self._registry.sessions() if one.epoch != UNCLAIMED]
        try:
            with self._shared.repository.paused():
                rows = self._shared.database.join()
                epochs = {row.owner.session_id: row.owner.epoch for row in rows}
                # The end of a session that closes has to name its new epoch too.
                for session in known:
                    if session.session_id in epochs:
                        self._move(session, epochs[session.session_id])
        except NameTaken as error:
            self._stopping.set()
            self.leave(error.message)
            return
        for session in known:
            if _is_claimed(session) and session.session_id not in epochs:
                self._give_away(session)
        self._emit(events.ClusterJoined(self._shared.database.identity.name, len(rows)))

    def _move(self, session: Session, epoch: int) -> None:
        self._shared.repository.moved(session, epoch)
        with suppress(SessionNotFound):
            self._registry.update(session.session_id, lambda known: replace(known, epoch=epoch))

    def _give_away(self, session: Session) -> None:
        self._emit(events.SessionGivenAway(session.session_id))
        try:
            self._closer.give_away(session)
        except DroverError as error:
            self._emit(events.SessionCloseIncomplete(session.session_id, error.message))

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


@dataclass(eq=False, repr=False)
class NameWatch:
    """Declares silent nodes lost for a node that cannot join, because one of them has its name.

    Living nodes do so as well, but there may be none: after a power cut all names are taken.
    """

    _ownership: Ownership
    _silence: SilenceWatch = field(default_factory=SilenceWatch, init=False)

    def look(self) -> None:
        """Count the silence of all nodes; call this about every second.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        # A node that has not joined has no row: this is no sign of life, it only reads.
        nodes = self._ownership.beat(Load(0, 0, 0)).nodes
        for node, _ in self._silence.hear(nodes, clock.now()):
            self._ownership.declare_lost(node.incarnation, node.beat)


def _nowhere(_: str) -> None:
    raise AssertionError("what leaves the cluster must be set before the start")


def _is_claimed(session: Session) -> bool:
    return session.epoch != UNCLAIMED and session.state is not SessionState.CLOSING
