"""The processes of each session in a process table, by their marks. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from drover.processes.cleanup.process_tree import ProcessTree
from drover.processes.session_mark import MarkedSession, SessionMark
from drover.processes.table import ProcessIdentity, ProcessTable


def pids_by_session(table: ProcessTable) -> Mapping[MarkedSession, frozenset[int]]:
    """Return the pids of each session that the table has; a mark whose data folder was not found has none."""
    found: dict[MarkedSession, set[int]] = {}
    for pid, mark in ProcessTree(table).marks.items():
        if mark.home is not None:
            found.setdefault(mark.session, set()).add(pid)
    return {session: frozenset(pids) for session, pids in found.items()}


def marks_by_process(table: ProcessTable) -> Mapping[ProcessIdentity, SessionMark]:
    """Return the session folder that each process uses, if its data folder was found."""
    marks = ((table.rows[pid], mark) for pid, mark in ProcessTree(table).marks.items())
    return {row.identity: mark for row, mark in marks if row.started is not None and mark.home is not None}
