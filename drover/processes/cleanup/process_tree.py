"""Relations of drivers, browsers and helpers in a process table. Pure, in linear time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from drover.processes.cleanup.chrome_names import (
    Kind,
    Role,
    base_name,
    folder_of,
    init_name,
    is_branded,
    is_driven,
    is_webdriver_test,
    kind_of_cut_name,
    kind_of_name,
    lies_in_chrome_folder,
    may_be_chrome,
    role_of,
)
from drover.processes.command_line import is_rewritten, switch_value
from drover.processes.session_mark import MarkedSession, SessionMark
from drover.processes.table import ProcessIdentity, ProcessRow, ProcessTable

_Mapped = TypeVar("_Mapped")


def is_init(row: ProcessRow) -> bool:
    """Return whether a process is an init: being its child says nothing about who started a process."""
    return init_name(row.exe, row.cmdline) is not None


def is_reparented(row: ProcessRow, parent: ProcessRow) -> bool:
    """Return whether the kernel re-parented an orphan to this parent, a subreaper (Linux).

    A child starts in the session of its parent. If it is in another session and does not lead it, another
    process started it.
    """
    return bool(row.sid and parent.sid) and row.sid not in (parent.sid, row.pid)


class ProcessTree:
    """The relations in one process table, computed once.

    Attributes:
        candidates: The pids of all Chrome-like processes, including look-alikes.
        kinds: The kind of each candidate's executable; None for a look-alike.
        roles: The role of each candidate.
        marks: The session mark of each candidate that has one. In rewritten arguments the text of a client
            cannot be told from a mark, so there the mark of the browser above counts, if there is one.
        order: All pids of the table, parents before their children.
    """

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        self._parents = self._valid_parents()
        self.order = self._parents_first()
        self._driven = self._driven_by_a_driver()
        self.candidates = sorted(pid for pid, row in table.rows.items() if self._is_candidate(row))
        rows = [table.rows[pid] for pid in self.candidates]
        self._chrome_folders = {
            folder_of(row.exe) for row in rows if row.exe and self._raw_kind(row) is Kind.CHROME
        }
        self.kinds = {row.pid: self._kind(row) for row in rows}
        self.roles = {pid: self._role(table.rows[pid]) for pid in self.candidates}
        self._driver_above = self.nearest({pid: pid for pid in self._living(Role.DRIVER)})
        self._browser_above = self.nearest({pid: pid for pid in self._living(Role.BROWSER)})
        self.marks = self._find_marks(rows)
        self._browsers_by_profile = self._by_profile()

    def nearest(self, values: Mapping[int, _Mapped]) -> dict[int, _Mapped]:
        """Return for each process its own value, or else that of its nearest ancestor with one."""
        found = dict(values)
        # In a cycle of parents, the second pass carries a value from the last member to the first.
        for _ in range(2):
            for pid in self.order:
                parent = self._parents.get(pid)
                if pid not in found and parent in found:
                    found[pid] = found[parent]
        return found

    def driver_of(self, row: ProcessRow) -> int | None:
        """Return the running ChromeDriver of a browser: an ancestor, or the leader of its process group."""
        above = self._above(self._driver_above, row.pid)
        if above is not None:
            return above
        leader = self._table.rows.get(row.pgid) if row.pgid is not None else None
        led = leader is not None and self.roles.get(leader.pid) is Role.DRIVER and not leader.is_zombie
        return leader.pid if leader is not None and led else None

    def started_by(self, driver: ProcessRow) -> tuple[int, ...]:
        """Return the living browsers that a driver started: those below it, or in the group it leads."""
        rows = (self._table.rows[pid] for pid in self._living(Role.BROWSER))
        return tuple(row.pid for row in rows if self.driver_of(row) == driver.pid)

    def companions(self, row: ProcessRow) -> tuple[ProcessRow, ...]:
        """Return the other living processes of its group or session, without what it has started."""
        started = {row.pid, *(below.pid for below in self._table.descendants(row.pid))}
        return tuple(
            other
            for other in self._table.rows.values()
            if ((row.pgid and other.pgid == row.pgid) or (row.sid and other.sid == row.sid))
            and other.pid not in started
            and not self.kinds.get(other.pid)
            and not other.is_zombie
        )

    def browsers_of(self, row: ProcessRow) -> tuple[int, ...]:
        """Return the running browsers that a process may belong to: its ancestor, or those with its profile.

        In another PID namespace a path means another folder, so only the ancestor counts there.
        """
        above = self._above(self._browser_above, row.pid)
        if above is not None:
            return (above,)
        if row.own_namespace is False:
            return ()
        if row.cmdline is None or self.roles[row.pid] is Role.BROWSER:
            return ()
        if self.kinds[row.pid] is Kind.CRASH_HANDLER:
            return self._browsers_with_database(_path(row, "database"))
        return tuple(self._browsers_by_profile.get(_path(row, "user-data-dir") or "", ()))

    def _above(self, nearest: Mapping[int, int], pid: int) -> int | None:
        parent = self._parents.get(pid)
        found = nearest.get(parent) if parent is not None else None
        return found if found != pid else None

    def _browsers_with_database(self, database: str | None) -> tuple[int, ...]:
        if database is None:
            return ()
        found = self._browsers_by_profile.items()
        matching = (pids for profile, pids in found if database.startswith((profile + "/", profile + "\\")))
        return tuple(pid for pids in matching for pid in pids)

    def _find_marks(self, rows: Iterable[ProcessRow]) -> dict[int, SessionMark]:
        deciding = {}
        for row in rows:
            above = self._above(self._browser_above, row.pid) if is_rewritten(row.cmdline or ()) else None
            deciding[row.pid] = row.mark if above is None else self._table.rows[above].mark
        return {pid: mark for pid, mark in deciding.items() if mark is not None}

    def _by_profile(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for pid in self._living(Role.BROWSER):
            profile = _path(self._table.rows[pid], "user-data-dir")
            if profile is not None:
                found.setdefault(profile, []).append(pid)
        return found

    def _living(self, role: Role) -> list[int]:
        return [
            pid for pid in self.candidates if self.roles[pid] is role and not self._table.rows[pid].is_zombie
        ]

    def _driven_by_a_driver(self) -> frozenset[int]:
        """Return browsers that drivers started under other names than Chrome's, with their helpers.

        Brave, Edge, Vivaldi, Debian's headless shell and Electron programs are Chrome to a ChromeDriver.
        """
        rows = self._table.rows
        drivers = {pid: pid for pid, row in rows.items() if self._kind_of_executable(row) is Kind.DRIVER}
        below = self.nearest(drivers) if drivers else {}
        browsers = {
            pid: pid
            for pid, row in rows.items()
            if not _is_helper_process(row)
            and (
                (pid in below and below[pid] != pid and is_driven(row.cmdline))
                or (row.exe is not None and is_branded(base_name(row.exe)) and is_webdriver_test(row.cmdline))
            )
        }
        helpers = (pid for pid in self.nearest(browsers) if _is_helper_process(rows[pid])) if browsers else ()
        return frozenset(browsers).union(helpers)

    def _is_candidate(self, row: ProcessRow) -> bool:
        return may_be_chrome(row.name) or row.pid in self._driven or self._kind_of_executable(row) is not None

    def _raw_kind(self, row: ProcessRow) -> Kind | None:
        kind = self._kind_of_names(row)
        return Kind.CHROME if kind is None and row.pid in self._driven else kind

    def _kind_of_names(self, row: ProcessRow) -> Kind | None:
        if row.exe is not None:
            return self._kind_of_executable(row)
        if row.is_zombie:
            return kind_of_cut_name(row.name, self._table.system)
        return kind_of_name(row.name, self._table.system)

    def _kind_of_executable(self, row: ProcessRow) -> Kind | None:
        return kind_of_name(base_name(row.exe), self._table.system) if row.exe is not None else None

    def _kind(self, row: ProcessRow) -> Kind | None:
        kind = self._raw_kind(row)
        if kind in (None, Kind.DRIVER, Kind.CHROME) or row.is_zombie or row.mark is not None:
            return kind
        # Electron programs have a crash handler with the same name; only the folder differs.
        exe = row.exe or ""
        return kind if folder_of(exe) in self._chrome_folders or lies_in_chrome_folder(exe) else None

    def _role(self, row: ProcessRow) -> Role:
        kind = self.kinds[row.pid]
        return Role.OTHER if kind is None else role_of(kind, row.cmdline)

    def _valid_parents(self) -> dict[int, int]:
        pairs = ((pid, self._table.parent(pid)) for pid in self._table.rows)
        return {pid: parent.pid for pid, parent in pairs if parent is not None}

    def _parents_first(self) -> list[int]:
        order: dict[int, None] = {}
        for pid in sorted(self._table.rows):
            path: dict[int, None] = {}
            step: int | None = pid
            while step is not None and step not in order and step not in path:
                path[step] = None
                step = self._parents.get(step)
            order.update(dict.fromkeys(reversed(path)))
        return list(order)


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


def _is_helper_process(row: ProcessRow) -> bool:
    return row.cmdline is not None and role_of(Kind.CHROME, row.cmdline) is not Role.BROWSER


def _path(row: ProcessRow, switch: str) -> str | None:
    found = switch_value(row.cmdline, switch)
    return found.rstrip("/\\") if found else None
