"""The name of a node that died: free again when that node has been silent for long enough."""

from __future__ import annotations

from drover.cluster import clock
from drover.cluster.fence import SilenceWatch
from drover.storage.cluster_values import Load
from drover.storage.postgres.ownership import Ownership


class NameWatch:
    """Declares silent nodes lost for a node that cannot join, because one of them has its name.

    Living nodes do so as well, but there may be none: after a power cut all names are taken.
    """

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._silence = SilenceWatch()

    def look(self) -> None:
        """Count the silence of all nodes; call this about every second.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        # A node that has not joined has no row: this is no sign of life, it only reads.
        nodes = self._ownership.beat(Load(0, 0, 0)).nodes
        for silent in self._silence.hear(nodes, clock.now()):
            self._ownership.declare_lost(silent.node.incarnation, silent.node.beat)
