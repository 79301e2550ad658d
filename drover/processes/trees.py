"""A process with everything below it, whatever the names are."""

from __future__ import annotations

import psutil

from drover.processes.table import Liveness, ProcessIdentity, identify, liveness


def tree_of(root: ProcessIdentity) -> tuple[ProcessIdentity, ...]:
    """Return a process and all its descendants, parents first; empty if it is gone.

    Costs one scan of all processes. A descendant that has lost its parent is not found.
    """
    if liveness(root) is Liveness.GONE:
        return ()
    try:
        below = psutil.Process(root.pid).children(recursive=True)
    except psutil.Error:
        below = []
    # The identity is read before the comparison of psutil, so it belongs to the process that was found.
    identified = ((child, identify(child.pid)) for child in below)
    children = tuple(one for child, one in identified if one is not None and child.is_running())
    return (root, *children) if liveness(root) is not Liveness.GONE else children
