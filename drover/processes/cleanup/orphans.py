"""Which living program may have started a ChromeDriver or Chrome: it is an orphan if none can have. Pure.

Absence of proof is no proof. Being a child of process 1 says nothing unless that is an init: in a container
it is often the program itself (python, node, java, a shell) or supervisord, which adopts nothing. And
`os.system("chromedriver &")` is re-parented to the init at once, while the script that ran it lives on and
leads the process group. With `setsid` before it nothing is left that leads to the script.

Windows has no process groups, but it never re-parents: a parent that is missing, or younger than its child,
has ended. And ChromeDriver puts its own pid into the name of the profile that it makes. Only a
browser that was told to outlive its ChromeDriver (`detach`) looks the same; it has windows, so it is seen.
"""

from __future__ import annotations

from drover.processes.cleanup.chrome_names import Kind, is_headless, profile_maker
from drover.processes.cleanup.process_tree import ProcessTree, is_init
from drover.processes.table import ProcessRow, ProcessTable


def possible_program(table: ProcessTable, tree: ProcessTree, row: ProcessRow) -> str | None:
    """Return text about a living process that may have started this one, or None if none can have.

    The parent, the leaders of its process group and session, and the other members of both are examined.
    """
    parent = _parent_that_may_be_it(table, row)
    if parent is not None:
        return parent
    for relation, pid in (("process group", row.pgid), ("session", row.sid)):
        leader = table.rows.get(pid) if pid is not None else None
        if leader is not None and _may_have_started(table, leader, row):
            return f"the leader of its {relation} is {shown(leader)}"
    companions = (one for one in tree.companions(row) if _may_have_started(table, one, row))
    companion = next(companions, None)
    return f"{shown(companion)} is in its process group or session" if companion is not None else None


def doubt_about_browser(
    table: ProcessTable, tree: ProcessTree, row: ProcessRow, *, requested: bool
) -> str | None:
    """Return why a browser of a ChromeDriver may not be ended on Windows; None if it is an orphan.

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
    """Return whether a helper on Windows has outlived the browser that a ChromeDriver had started."""
    if not started_by_driver and profile_maker(row.cmdline) is None:
        return False
    return table.parent(row.pid) is None and _running_starter(table, tree, row) is None


def shown(row: ProcessRow) -> str:
    """Return a process as reasons name it."""
    return f"{row.name} (PID {row.pid})"


def _may_have_started(table: ProcessTable, other: ProcessRow, row: ProcessRow) -> bool:
    alive = not other.is_zombie
    return alive and other.pid not in (row.pid, table.self_pid) and not is_init(other)


def _parent_that_may_be_it(table: ProcessTable, row: ProcessRow) -> str | None:
    """Return why a parent does not prove that the program is gone, or None if it does."""
    parent = table.parent(row.pid)
    if table.system == "windows":
        # Windows never re-parents: a parent that is missing, or younger, is dead.
        return None if parent is None else f"its parent is {shown(parent)}"
    if row.ppid == 0:
        return "it was started from outside this container"
    if parent is None or parent.is_zombie:
        return f"its parent (PID {row.ppid}) cannot be read"
    if not is_init(parent):
        return f"its parent is {shown(parent)}"
    if row.sid == row.pid:
        return f"it leads a session of its own, as a service or a daemon below {shown(parent)} does"
    return None


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
