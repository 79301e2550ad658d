"""One node's part of the cluster, put together; imported only if `DROVER_DATABASE_URL` is set."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from drover.api.session_answers import SessionObject
from drover.cluster.emergency import EMERGENCY_S, NodeEmergency
from drover.cluster.failover import Failover
from drover.cluster.forwarding import Forwarder
from drover.cluster.guard import refusal_of
from drover.cluster.identity import identity_of, name_of, url_of
from drover.cluster.locations import Locations
from drover.cluster.membership import Membership, NameWatch, Shared
from drover.cluster.own_sessions import OwnSessions
from drover.cluster.places import places
from drover.cluster.routed_request import Parts
from drover.cluster.router import ClusterRouter
from drover.cluster.shared_list import SharedList
from drover.core.deadline import Deadline
from drover.core.errors import DroverError, SentAway
from drover.core.events import Emit
from drover.core.settings import Settings
from drover.core.threads import ThreadPool
from drover.net.access import AccessPolicy
from drover.net.addresses import Addresses
from drover.net.asgi import Application
from drover.net.request_threads import RequestThreads
from drover.processes.cleanup.reports import EmergencyReport
from drover.sessions.persistence.cluster_repository import ClusterRepository
from drover.sessions.pool.registry import RECORDED
from drover.sessions.pool.session import Session
from drover.storage.cluster_values import Node
from drover.storage.postgres.database import ClusterDatabase
from drover.storage.postgres.ownership import Ownership

LOOK_UP_THREADS: Final = 4
EMERGENCY_POLL_S: Final = 0.5


def shared_of(settings: Settings, boot_id: str, emit: Emit) -> Shared:
    """Return the database of this node; nothing is connected yet.

    Raises:
        StartRefused: A setting is invalid.
    """
    assert settings.database_url is not None
    url_of(settings)
    database = ClusterDatabase(settings.database_url.get_secret_value(), partial(identity_of, settings), emit)
    ownership = Ownership(database)
    database.call_while_name_is_taken(NameWatch(ownership).look)
    return Shared(database, ownership, ClusterRepository(database, ownership, boot_id, emit))


class Cluster:
    """This node's part of the cluster."""

    def __init__(self, shared: Shared, settings: Settings, own: OwnSessions, emit: Emit) -> None:
        self._shared = shared
        self._own = own
        self._emit = emit
        self._threads = ThreadPool("cluster", LOOK_UP_THREADS)
        self.addresses = Addresses.of_node(name_of(settings), url_of(settings))
        """The addresses of this node, as other machines reach it."""
        self._emergency = NodeEmergency(shared, own.emergency, emit)
        self.membership = Membership(shared, own, self._emergency.obey, emit)
        self._losses = 0
        self.membership.call_after_beats(self._write_again)
        self._list = SharedList(own.registry, self.membership, shared, self._describe)
        self._forwarder = Forwarder(lambda: shared.database.incarnation)

    @property
    def trouble(self) -> str | None:
        """Why this node serves nothing at present, or None."""
        return self.membership.trouble

    def leave_with(self, leave: Callable[[str], None]) -> None:
        """Set what stops the service if another living node has the name of this one."""
        self.membership.leave = leave

    def start(self) -> None:
        """Begin to give signs of life."""
        self.membership.start()

    def begin_to_obey(self) -> None:
        """Do this node's part of emergencies from now on: its sessions of the last run are in the list."""
        self._emergency.begin_to_obey()

    def stop(self) -> None:
        """Leave the cluster."""
        self.membership.stop()
        self._forwarder.close()
        self._threads.shutdown(wait=False)

    def share(self) -> None:
        """Write this node's sessions for others, and read theirs."""
        self._list.tick()

    def tidy(self) -> None:
        """End what is idle and has no living node, and set profiles aside that other nodes have outdated.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        self._shared.ownership.tidy()
        self._own.kept.retire_outdated_profiles()

    def when_serving(self, work: Callable[[], object]) -> Callable[[], None]:
        """Return work of the background that is left out while this node serves nothing."""

        def guarded() -> None:
            if self.membership.fence.may_serve():
                work()

        return guarded

    def around(self, local: Application, policy: AccessPolicy, threads: RequestThreads) -> Application:
        """Return the application of this node that also answers for other nodes."""
        registry = self._own.registry
        self.membership.call_after_beats(self._serve_queue)
        return ClusterRouter(
            Parts(
                local,
                policy,
                registry,
                self.membership,
                Locations(
                    registry, self._shared, self.membership.is_living, self._list.locate, self._threads
                ),
                self._forwarder,
                Failover(self._own.pool, self._shared, self._own.state_saver, self._emit),
                threads.waiting,
            )
        )

    def refusal(self) -> DroverError | None:
        """Return why this node may not serve its sessions now; None if it may."""
        return refusal_of(self.membership.fence)

    @property
    def others(self) -> tuple[SessionObject, ...]:
        """The sessions of all other nodes as clients see them, from memory."""
        return self._list.others

    @property
    def is_complete(self) -> bool:
        """Whether what is known of other nodes' sessions is recent."""
        return self._list.is_complete and self.trouble is None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that live or are lost."""
        return self._list.nodes

    def order_emergency(self, deadline: Deadline) -> tuple[EmergencyReport, tuple[str, ...]]:
        """End the sessions of all nodes; return what was done here, and which nodes did not do it in time.

        Raises:
            Overloaded: Another emergency or cleanup of this node did not end before the deadline.
            StorageUnavailable: The database does not answer.
        """
        number, report = self._emergency.order(deadline)
        # This node serves nothing in between, and is ready for new sessions when it says that it is done.
        self.membership.beat_now()
        return report, self._await_emergency(number, deadline)

    def _await_emergency(self, number: int, deadline: Deadline) -> tuple[str, ...]:
        """Wait until all other living nodes have ended their sessions; return the names of the rest."""
        asked = {node.name for node in self.membership.other_nodes}
        limit = deadline.within(EMERGENCY_S)
        while asked and limit.remaining():
            asked -= {node.name for node in self.membership.nodes if node.emergency >= number}
            time.sleep(EMERGENCY_POLL_S if asked else 0)
        return tuple(sorted(asked))

    def _serve_queue(self) -> None:
        """Send those who wait here for a place to nodes that have one by now, or the session itself."""
        registry = self._own.registry
        if not registry.waiting:
            return
        # Who waits to restore a session that no living node has keeps the place in the queue.
        served = self._list.served
        ids = {one.session_id for one in served}
        keys = {one.key for one in served} - {None}
        registry.send_away(
            SentAway("Another node has the session, or a place for it"),
            lambda claim: claim.session_id in ids or claim.key in keys,
            places(self.membership.other_nodes),
        )

    def _write_again(self) -> None:
        """Write all sessions of this node again if the database may have lost changes of them."""
        losses = self._shared.database.losses
        if losses == self._losses:
            return
        self._losses = losses
        for session in self._own.registry.sessions():
            if session.state in RECORDED:
                self._shared.repository.write_again(session, self._own.state_saver.state_of(session))

    def _describe(self, session: Session) -> Mapping[str, object]:
        return SessionObject.of(session, self.addresses).json_object()
