"""Events of several machines: membership, the right to serve, sessions that change hands."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from drover.core.events.event import Event


@dataclass(frozen=True)
class DatabaseAwaited(Event):
    """The database of the cluster does not answer at the start; no session is judged until it does."""

    level = logging.WARNING
    text = "The service waits for the database before it looks at any session: {error}"
    error: str


@dataclass(frozen=True)
class ClusterJoined(Event):
    """This node has joined the cluster, at its start or after it was declared lost."""

    level = logging.INFO
    text = "Node {name} joined the cluster; its sessions from before: {reclaimed}"
    name: str
    reclaimed: int


@dataclass(frozen=True)
class ServingPaused(Event):
    """The database has not answered for too long: another node may have this node's sessions soon."""

    level = logging.ERROR
    text = "This node serves no session until the database answers again: {error}"
    error: str


@dataclass(frozen=True)
class ServingResumed(Event):
    """The database has answered again, and this node serves what is still its own."""

    level = logging.INFO
    text = "The database answers again after {seconds} s; this node serves its sessions"
    seconds: int


@dataclass(frozen=True)
class NodeLost(Event):
    """Another node has given no sign of life for too long; any node may take its sessions now."""

    level = logging.WARNING
    text = "Node {name} is lost: no sign of life for {seconds} s. Its sessions are restored on demand"
    name: str
    seconds: int


@dataclass(frozen=True)
class SessionTaken(Event):
    """A session whose node is lost, or that was parked, now belongs to this node."""

    level = logging.WARNING
    text = "Session {session_id} of node {node} is restored on this node"
    session_id: str
    node: str


@dataclass(frozen=True)
class SessionGivenAway(Event):
    """Another node has this session now; its browser here is ended, and nothing is saved from it."""

    level = logging.WARNING
    text = "Session {session_id} was given to another node; its browser on this node is ended"
    session_id: str
