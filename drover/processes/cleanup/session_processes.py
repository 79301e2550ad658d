"""The processes of each session in a process table, by their marks. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from drover.processes.cleanup.process_tree import ProcessTree
from drover.processes.folders import FolderId
from drover.processes.session_mark import SessionMark
from drover.processes.table import ProcessIdentity, ProcessTable

MarkedSession = tuple[FolderId | None, str]
"""The data folder of a session, None if it cannot be found, and the name of the session's folder in it."""


def pids_by_session(table: ProcessTable) -> Mapping[MarkedSession, frozenset[int]]:
    """Return the pids of each session that the table has; a mark whose data folder was not found has none."""
    found: dict[MarkedSession, set[int]] = {}
    for pid, mark in ProcessTree(table).marks.items():
        if mark.home is not None:
            found.setdefault((mark.home, mark.name), set()).add(pid)
    return {session: frozenset(pids) for session, pids in found.items()}


def marks_by_process(table: ProcessTable) -> Mapping[ProcessIdentity, SessionMark]:
    """Return the session folder that each process uses, if its data folder was found."""
    marks = ((table.rows[pid], mark) for pid, mark in ProcessTree(table).marks.items())
    return {row.identity: mark for row, mark in marks if row.started is not None and mark.home is not None}
