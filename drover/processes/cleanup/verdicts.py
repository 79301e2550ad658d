"""The one place of judgement: which Chrome-like process is protected, an orphan, or foreign, and why.

Pure: a table and what is protected go in, a verdict with a reason for every Chrome-like process comes out. To
spare, a pid, an ancestor's pid, a process group or a folder on the command line is enough; to end a process,
there must be proof. What cannot be read is spared, and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from drover.processes.cleanup.chrome_names import Kind, Role, is_webdriver_test
from drover.processes.cleanup.process_tree import (
    ProcessTree,
    is_given_away,
    is_service_manager,
    takes_orphans_in,
)
from drover.processes.session_mark import OwnerState, SessionMark, session_mark
from drover.processes.table import ProcessRow, ProcessStatus, ProcessTable

__all__ = [
    "CleanupPlan",
    "Judgement",
    "ProtectedSession",
    "Protection",
    "Role",
    "Scope",
    "Verdict",
    "marked_data_dirs",
    "plan_cleanup",
]


class CleanupScope(Enum):
    """How far a cleanup may go.

    `OWNED`: a stranger's ChromeDriver is never touched. `ABANDONED`, for cleanups that start by themselves:
    it is an orphan only when the program that started it is gone. `SYSTEM`, for a person who asks: a
    ChromeDriver of no session is an orphan, whoever started it. `EVERYTHING`, for an emergency: every Chrome
    and ChromeDriver of the machine.
    """

    OWNED = "owned"
    ABANDONED = "abandoned"
    SYSTEM = "system"
    EVERYTHING = "everything"


class Verdict(str, Enum):
    """What a process is to a cleanup; only an orphan is ended."""

    PROTECTED = "protected"
    ORPHAN = "orphan"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class ProtectedSession:
    """A session in the list: its folder and the pids that are known to be its own."""

    session_id: str
    folder: str
    pids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Protection:
    """What must not be hurt.

    Attributes:
        own_data_dir: The data folder of this instance: a mark under it that names no session in the list
            is an orphan's. None where there is no list; then `owners` decides for every data folder.
        owners: The state of the instance behind each data folder that the table names.
    """

    sessions: tuple[ProtectedSession, ...]
    own_data_dir: str | None
    owners: Mapping[str, OwnerState]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one process, with the reason in words for an operator."""

    row: ProcessRow
    role: Role
    verdict: Verdict
    reason: str
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """A verdict for every Chrome-like process, each exactly once, sorted by pid."""

    judgements: tuple[Judgement, ...]

    @property
    def orphans(self) -> tuple[Judgement, ...]:
        """What is to be ended; nothing defunct is among it."""
        return tuple(found for found in self._doomed if found.row.status is not ProcessStatus.ZOMBIE)

    @property
    def reapable(self) -> tuple[Judgement, ...]:
        """Our own defunct children: to be reaped, not signalled."""
        return tuple(found for found in self._doomed if found.row.status is ProcessStatus.ZOMBIE)

    @property
    def _doomed(self) -> tuple[Judgement, ...]:
        return tuple(found for found in self.judgements if found.verdict is Verdict.ORPHAN)


def marked_data_dirs(table: ProcessTable) -> frozenset[str]:
    """Give the data folders that command lines in the table name: whose owners are to be read."""
    marks = (session_mark(row.cmdline) for row in table.rows.values())
    return frozenset(mark.data_dir for mark in marks if mark is not None)


def plan_cleanup(table: ProcessTable, protection: Protection, scope: CleanupScope) -> CleanupPlan:
    """Judge every Chrome-like process of the table.

    Args:
        table: Read *before* `protection`: the other way round, a session born in between would be an orphan.
    """
    return CleanupPlan(_Judge(table, protection, scope).judge_all())


@dataclass(frozen=True, slots=True)
class _Finding:
    """A verdict without the row that it is about, so that helpers can share their browser's."""

    verdict: Verdict
    reason: str
    session_id: str | None = None


class _Judge:
    """Holds what is computed once for a table; every method is pure."""

    def __init__(self, table: ProcessTable, protection: Protection, scope: CleanupScope) -> None:
        self._table = table
        self._kin = ProcessTree(table)
        self._protection = protection
        self._scope = scope
        self._untouchable = {0, 1, table.self_pid} | {row.pid for row in table.ancestors(table.self_pid)}
        self._session_of_pid = {
            pid: session.session_id
            for session in sorted(protection.sessions, key=lambda session: session.session_id, reverse=True)
            for pid in session.pids
        }
        self._session_of_folder = {
            self._key(session.folder): session.session_id for session in protection.sessions
        }
        self._owners = {self._key(path): state for path, state in protection.owners.items()}
        self._shields = self._protected_by_pid_or_mark()
        self._findings: dict[int, _Finding] = {}

    def judge_all(self) -> tuple[Judgement, ...]:
        # Parents before children, drivers before browsers before helpers: each is judged by those before it.
        ranked = sorted((pid for pid in self._kin.order if pid in self._kin.kinds), key=self._rank)
        for pid in ranked:
            self._findings[pid] = self._first_match(self._table.rows[pid])
        self._spare_below_protected()
        return tuple(self._judgement(pid) for pid in sorted(self._findings))

    def _rank(self, pid: int) -> int:
        return {Role.DRIVER: 0, Role.BROWSER: 1}.get(self._kin.role(pid), 2)

    def _judgement(self, pid: int) -> Judgement:
        found = self._findings[pid]
        return Judgement(
            self._table.rows[pid], self._kin.role(pid), found.verdict, found.reason, found.session_id
        )

    def _protected_by_pid_or_mark(self) -> dict[int, _Finding]:
        """Give what a pid, a process group or a mark protects, and everything below it."""
        direct = {pid: self._directly_protected(row) for pid, row in self._table.rows.items()}
        return self._kin.nearest({pid: found for pid, found in direct.items() if found is not None})

    def _directly_protected(self, row: ProcessRow) -> _Finding | None:
        if row.status is ProcessStatus.ZOMBIE:
            return None
        for pid, relation in ((row.pid, "process"), (row.pgid, "process group")):
            if pid in self._session_of_pid:
                session_id = self._session_of_pid[pid]
                return _protected(f"session {session_id}: {relation} {pid} is its own", session_id)
        by_mark = self._by_mark(row) if row.own_namespace is not False else None
        return by_mark if by_mark is not None and by_mark.verdict is Verdict.PROTECTED else None

    def _spare_below_protected(self) -> None:
        living = (pid for pid in self._findings if self._table.rows[pid].status is not ProcessStatus.ZOMBIE)
        kept = {
            pid: self._findings[pid] for pid in living if self._findings[pid].verdict is Verdict.PROTECTED
        }
        shields = self._kin.nearest(kept)
        for pid, found in self._findings.items():
            if found.verdict is Verdict.ORPHAN and self._table.rows[pid].status is not ProcessStatus.ZOMBIE:
                self._findings[pid] = shields.get(pid, found)

    def _first_match(self, row: ProcessRow) -> _Finding:
        return (
            self._never(row)
            or self._defunct(row)
            or self._no_chrome(row)
            or self._emergency(row)
            or self._shields.get(row.pid)
            or self._out_of_reach(row)
            or self._by_mark(row)
            or self._unreadable(row)
            or self._by_role(row)
        )

    def _never(self, row: ProcessRow) -> _Finding | None:
        if row.pid == self._table.self_pid:
            return _foreign("it is this service itself")
        if row.pid in self._untouchable:
            return _foreign("this service runs under it, or it is the system's first process")
        return None

    def _defunct(self, row: ProcessRow) -> _Finding | None:
        if row.status is not ProcessStatus.ZOMBIE:
            return None
        if row.pid in self._session_of_pid:
            session_id = self._session_of_pid[row.pid]
            return _protected(f"defunct, a process of session {session_id}", session_id)
        if row.ppid == self._table.self_pid:
            return _orphan("defunct, and a child of this service: to be reaped")
        return _foreign(f"defunct: its parent (PID {row.ppid}) must reap it")

    def _no_chrome(self, row: ProcessRow) -> _Finding | None:
        if self._kin.kinds[row.pid] is not None:
            return None
        if row.exe is None:
            return _foreign(
                f"its executable cannot be read, and the name {row.name!r} proves nothing: spared"
            )
        return _foreign(f"no Chrome in spite of its name: it runs {row.exe}")

    def _emergency(self, row: ProcessRow) -> _Finding | None:
        if self._scope is not CleanupScope.EVERYTHING:
            return None
        if row.started is None:
            return _foreign("its start time cannot be read: spared")
        kind = self._kin.kinds[row.pid]
        return _orphan(f"emergency: every {kind.value if kind else 'Chrome'} is ended")

    def _out_of_reach(self, row: ProcessRow) -> _Finding | None:
        if row.own_user is False:
            return _foreign("it belongs to another user")
        if row.own_namespace is not False:
            return None
        # Sandboxed helpers live in PID namespaces of their own, within their browser's.
        within = self._by_kin(row) if self._is_helper(row) else None
        if within is not None and within.verdict is Verdict.ORPHAN:
            return self._unreadable(row) or within
        return within or _foreign("it lives in another PID namespace, that of a container")

    def _unreadable(self, row: ProcessRow) -> _Finding | None:
        facts = {
            "executable": row.exe,
            "command line": row.cmdline,
            "start time": row.started,
            "user": row.own_user,
        }
        missing = [name for name, value in facts.items() if value is None]
        return _foreign(f"its {' and its '.join(missing)} cannot be read: spared") if missing else None

    def _by_mark(self, row: ProcessRow) -> _Finding | None:
        mark = self._kin.marks.get(row.pid)
        if mark is None:
            return None
        session_id = self._session_of_folder.get(self._key(mark.folder))
        if session_id is not None:
            return _protected(f"it uses {mark.folder}, the folder of session {session_id}", session_id)
        own = self._protection.own_data_dir
        if own is not None and self._key(own) == self._key(mark.data_dir):
            return self._ended_by_mark(row, f"its session's folder {mark.folder} is no longer in any list")
        return self._by_owner(row, mark)

    def _by_owner(self, row: ProcessRow, mark: SessionMark) -> _Finding:
        use = f"it uses {mark.folder}, and the service of {mark.data_dir}"
        state = self._owners.get(self._key(mark.data_dir), OwnerState.UNREADABLE)
        if state is OwnerState.LIVING:
            return _protected(f"{use} lives")
        if state is OwnerState.RECENT:
            return _protected(f"{use} stopped a moment ago and may come back")
        if state is OwnerState.UNREADABLE:
            return _foreign(f"{use} cannot be told to have ended, its lock cannot be read: spared")
        return self._ended_by_mark(row, f"{use} has ended")

    def _ended_by_mark(self, row: ProcessRow, reason: str) -> _Finding:
        return self._unreadable(row) or _orphan(reason)

    def _by_role(self, row: ProcessRow) -> _Finding:
        if self._kin.kinds[row.pid] is Kind.DRIVER:
            return self._driver(row)
        if self._is_helper(row):
            return self._by_kin(row) or _foreign(
                "which browser it serves cannot be told; it ends by itself with it"
            )
        return self._browser(row)

    def _is_helper(self, row: ProcessRow) -> bool:
        return self._kin.role(row.pid) not in (Role.DRIVER, Role.BROWSER)

    def _driver(self, row: ProcessRow) -> _Finding:
        if self._scope is CleanupScope.OWNED:
            return _foreign("a ChromeDriver that Drover did not start (the scope is `owned`)")
        if self._scope is CleanupScope.SYSTEM:
            return _orphan("a ChromeDriver of no session")
        parent, place = self._table.parent(row.pid), self._parent_place(row)
        if place is not None:
            return _foreign(f"a ChromeDriver whose program still runs: {place}")
        if parent is not None and is_service_manager(parent) and row.sid == row.pid:
            return _foreign(f"a ChromeDriver that may be a service of {_shown(parent)}: spared")
        return _orphan("a ChromeDriver of no session, and the program that started it is gone")

    def _browser(self, row: ProcessRow) -> _Finding:
        if self._table.system != "windows" and row.pgid == row.pid:
            return _foreign(_own_group_reason(row))
        driver = self._kin.driver_of(row)
        if driver is not None:
            return _share(self._findings[driver], f"started by ChromeDriver (PID {driver})")
        return self._by_kin(row) or self._browser_alone(row)

    def _browser_alone(self, row: ProcessRow) -> _Finding:
        missing = self._missing_proof(row)
        if missing is not None:
            return _foreign(missing)
        return _orphan(f"its ChromeDriver is gone: the leader of its process group (PID {row.pgid}) is dead")

    def _missing_proof(self, row: ProcessRow) -> str | None:
        if not is_webdriver_test(row.cmdline):
            return "Chrome that was not started by a ChromeDriver"
        if self._scope is CleanupScope.OWNED:
            return "Chrome that Drover did not start (the scope is `owned`)"
        if self._table.system == "windows":
            return "Windows has no process groups: it cannot be proven that its ChromeDriver is gone, spared"
        place = None if self._was_given_away(row) else self._parent_place(row)
        return self._living_leader(row) if place is None else f"Chrome whose program still runs: {place}"

    def _was_given_away(self, row: ProcessRow) -> bool:
        # Its new parent may be the very program that started the driver: only a person may overlook that.
        parent = self._table.parent(row.pid)
        return self._scope is CleanupScope.SYSTEM and parent is not None and is_given_away(row, parent)

    def _living_leader(self, row: ProcessRow) -> str | None:
        """Give in words who leads the process group, or None if its leader is dead."""
        if not row.pgid:
            return "its process group cannot be read: spared"
        leader = self._table.rows.get(row.pgid)
        if leader is None or leader.status is ProcessStatus.ZOMBIE:
            return None
        return f"the leader of its process group, {_shown(leader)}, still runs"

    def _parent_place(self, row: ProcessRow) -> str | None:
        """Give in words where the program that started it lives, or None if that program is gone."""
        if row.ppid == 0 and self._table.system != "windows":
            return "it was started from outside this container"
        parent = self._table.parent(row.pid)
        if parent is None or parent.status is ProcessStatus.ZOMBIE:
            return None
        return None if takes_orphans_in(parent, self._table.system) else f"its parent is {_shown(parent)}"

    def _by_kin(self, row: ProcessRow) -> _Finding | None:
        """Give the verdict of the browser that a process belongs to, the most sparing one of several."""
        browsers = [pid for pid in self._kin.browsers_of(row) if pid in self._findings]
        found = [_share(self._findings[pid], f"belongs to the browser (PID {pid})") for pid in browsers]
        return min(found, key=lambda finding: _SPARING.index(finding.verdict), default=None)

    def _key(self, path: str) -> str:
        return path.replace("/", "\\").lower() if self._table.system == "windows" else path


_SPARING = (Verdict.PROTECTED, Verdict.FOREIGN, Verdict.ORPHAN)


def _foreign(reason: str) -> _Finding:
    return _Finding(Verdict.FOREIGN, reason)


def _orphan(reason: str) -> _Finding:
    return _Finding(Verdict.ORPHAN, reason)


def _protected(reason: str, session_id: str | None = None) -> _Finding:
    return _Finding(Verdict.PROTECTED, reason, session_id)


def _share(finding: _Finding, relation: str) -> _Finding:
    return _Finding(finding.verdict, f"{relation}: {finding.reason}", finding.session_id)


def _shown(row: ProcessRow) -> str:
    return f"{row.name} (PID {row.pid})"


def _own_group_reason(row: ProcessRow) -> str:
    if is_webdriver_test(row.cmdline):
        return "its ChromeDriver was told to leave it behind (`detach`): it has a process group of its own"
    return "Chrome in a process group of its own: no ChromeDriver looks after it"
