"""Whether a Chrome on Windows has lost its ChromeDriver. Pure.

Windows has no process groups, but it never re-parents: a parent that is missing, or younger than its child,
has ended. And ChromeDriver puts its own pid into the name of the profile that it makes. Only a
browser that was told to outlive its ChromeDriver (`detach`) looks the same; it has windows, so it is seen.
"""

from __future__ import annotations

from drover.processes.cleanup.chrome_names import Kind, is_headless, profile_maker
from drover.processes.cleanup.process_tree import ProcessTree
from drover.processes.cleanup.starting_program import shown
from drover.processes.table import ProcessRow, ProcessTable


def doubt_about_browser(
    table: ProcessTable, tree: ProcessTree, row: ProcessRow, *, requested: bool
) -> str | None:
    """Return why a browser that a ChromeDriver started may not be ended; None if it is an orphan.

    Args:
        requested: Whether a person asked for the cleanup; then a visible browser is no exception.
    """
    running = _running_starter(table, tree, row)
    if running is not None:
        return running
    if not requested and not is_headless(row.cmdline):
        return "a visible Chrome that may have been left running on purpose (`detach`); left alone"
    return None


def is_left_helper(
    table: ProcessTable, tree: ProcessTree, row: ProcessRow, *, started_by_driver: bool
) -> bool:
    """Return whether a helper has outlived the browser that a ChromeDriver had started."""
    if not started_by_driver and profile_maker(row.cmdline) is None:
        return False
    return table.parent(row.pid) is None and _running_starter(table, tree, row) is None


def _running_starter(table: ProcessTable, tree: ProcessTree, row: ProcessRow) -> str | None:
    maker = profile_maker(row.cmdline)
    if maker is None:
        parent = table.parent(row.pid)
        return None if parent is None else f"Chrome whose starting program is still running: {shown(parent)}"
    driver = table.rows.get(maker)
    if driver is None or tree.kinds.get(maker) is not Kind.DRIVER or _is_younger(driver, row):
        return None
    return f"the ChromeDriver that made its profile, {shown(driver)}, is still running"


def _is_younger(one: ProcessRow, other: ProcessRow) -> bool:
    return one.started is not None and other.started is not None and one.started > other.started
