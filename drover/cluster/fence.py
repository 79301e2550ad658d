"""The right to serve, and who is silent: values and pure decisions of one node, by its own clock.

A node serves for 8 s after it has *sent* a sign of life that was answered. Others count the silence of a node
from the first answer that showed its last sign, which is later than that, and wait 10 s. So no two nodes ever
serve one session, without a comparison of two clocks; 2 s are left for clocks that run at different speeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from drover.cluster import clock
from drover.storage.cluster_values import Node

SERVE_S: Final = 8.0
LOST_S: Final = 10.0
GAP_S: Final = 4.0
"""After a longer pause between two answers, in which no node could be heard, all silences count anew."""


class Fence:
    """Whether this node may serve its sessions now: one comparison of clocks.

    Attributes:
        has_left: Whether this node has left the cluster, and will serve nothing any more.
    """

    def __init__(self) -> None:
        self.has_left = False
        self._serve_until = float("-inf")

    def may_serve(self) -> bool:
        """Return whether the last answered sign of life is recent enough."""
        return clock.now() < self._serve_until and not self.has_left

    def extend(self, sent: float) -> None:
        """Note that the sign of life that was sent at this time has been answered."""
        self._serve_until = sent + SERVE_S

    def close(self) -> None:
        """Serve nothing until the next answer."""
        self._serve_until = float("-inf")

    def leave(self) -> None:
        """Serve nothing any more, whatever is answered to the last sign of life: this node leaves."""
        self.has_left = True


class SilenceWatch:
    """Counts the silence of the other nodes by this node's clock."""

    def __init__(self) -> None:
        self._heard: dict[UUID, tuple[int, float]] = {}
        self._last: float | None = None

    def hear(self, nodes: Iterable[Node], received: float) -> tuple[tuple[Node, float], ...]:
        """Note the nodes of an answer, received at this time; return those that have been silent too long.

        With the last sign of life of each, and for how many seconds it has been silent.
        """
        if self._last is not None and received - self._last > GAP_S:
            self._heard = {}
        self._last = received
        known = self._heard
        self._heard = {
            node.incarnation: known[node.incarnation]
            if known.get(node.incarnation, (None, 0.0))[0] == node.beat
            else (node.beat, received)
            for node in nodes
        }
        silences = ((node, received - self._heard[node.incarnation][1]) for node in nodes)
        return tuple((node, seconds) for node, seconds in silences if seconds >= LOST_S)


@dataclass(frozen=True, slots=True)
class Difference:
    """How memory and database differ about the sessions of this node.

    Attributes:
        missing: In memory only: insert them again, or end them if another node has them.
        given_away: The database has them under another epoch.
        strays: In the database only: a claim whose answer was lost.
    """

    missing: tuple[str, ...]
    given_away: tuple[str, ...]
    strays: tuple[str, ...]


def compare(held: Mapping[str, int], now_held: Mapping[str, int], owned: Mapping[str, int]) -> Difference:
    """Return how memory and database differ.

    Args:
        held: The epochs of the sessions in memory that were claimed before the question was sent, by id.
        now_held: The epochs of all sessions in memory when the answer has come, by id. One that has closed
            and was made anew in the meantime has another epoch: the answer says nothing of it.
        owned: The epochs of this node's sessions in the database, by id.
    """
    same = {one: epoch for one, epoch in held.items() if now_held.get(one) == epoch}
    return Difference(
        tuple(one for one in same if one not in owned),
        tuple(one for one, epoch in same.items() if owned.get(one, epoch) != epoch),
        tuple(one for one in owned if one not in now_held and one not in held),
    )
