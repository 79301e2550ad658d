"""The processes of each session in a process table, by their marks. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from drover.processes.cleanup.process_tree import ProcessTree
from drover.processes.folders import FolderId
from drover.processes.table import ProcessTable

MarkedSession = tuple[FolderId | None, str]
"""The data folder of a session, None if it cannot be found, and the name of the session's folder in it."""


def pids_by_session(table: ProcessTable) -> Mapping[MarkedSession, frozenset[int]]:
    """Return the pids of each session that the table has; a mark whose data folder was not found has none."""
    found: dict[MarkedSession, set[int]] = {}
    for pid, mark in ProcessTree(table).marks.items():
        if mark.home is not None:
            found.setdefault((mark.home, mark.name), set()).add(pid)
    return {session: frozenset(pids) for session, pids in found.items()}
