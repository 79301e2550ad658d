"""Where a new session goes; a pure decision."""

from __future__ import annotations

import random
from collections.abc import Collection

from drover.storage.cluster_values import Node, NodeState


def next_place(free: int, evictable: int, others: Collection[Node]) -> Node | None:
    """Return the node that should make a session; None if this node should, or the request has to wait here.

    In this order: a free place here, one elsewhere, a session that can be closed here, one elsewhere.

    Args:
        free: Free places of this node.
        evictable: Sessions of this node that can be closed to make room.
        others: The other nodes, as they were at the last sign of life.
    """
    if free:
        return None
    up = [node for node in others if node.state is NodeState.UP]
    most_free = max((node.load.free for node in up), default=0)
    if most_free > 0:
        return _any([node for node in up if node.load.free == most_free])
    if evictable:
        return None
    with_evictable = [node for node in up if node.load.evictable > 0]
    return _any(with_evictable) if with_evictable else None


def has_free_place(others: Collection[Node]) -> bool:
    """Return whether another node has a free place."""
    return any(node.load.free for node in others if node.state is NodeState.UP)


def place_to_wait(others: Collection[Node]) -> Node | None:
    """Return a node where a request may wait for a place, as this one accepts none; None if there is none."""
    up = [node for node in others if node.state is NodeState.UP]
    return _any(up) if up else None


def places(others: Collection[Node]) -> int:
    """Return how many sessions other nodes could make now: in free places, else by closing others."""
    up = [node for node in others if node.state is NodeState.UP]
    return sum(node.load.free for node in up) or sum(node.load.evictable for node in up)


def _any(nodes: list[Node]) -> Node:
    # Many nodes ask at the same moment: they must not all choose the first.
    return random.choice(nodes)  # noqa: S311 - not a secret
