"""Verdicts: which Chrome-like process is protected, an orphan or foreign, and the reason.

Pure: the input is a process table and the protected sessions, the result is a verdict with a reason for every
Chrome-like process. A pid, the pid of an ancestor, a process group or a folder on the command line is enough
to protect a process; to end one, there must be proof. A process that is not readable is left alone, and the
reason says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.processes.cleanup.chrome_names import Kind, Role, base_name, is_webdriver_test, profile_maker
from drover.processes.cleanup.cleanup_plan import CleanupPlan, CleanupScope, Judgement, Protection, Verdict
from drover.processes.cleanup.orphans import doubt_about_browser, is_left_helper, possible_program, shown
from drover.processes.cleanup.process_tree import ProcessTree, is_init, is_reparented
from drover.processes.session_mark import OwnerState, SessionMark
from drover.processes.table import ProcessRow, ProcessTable
from drover.processes.values import readable


def plan_cleanup(table: ProcessTable, protection: Protection, scope: CleanupScope) -> CleanupPlan:
    """Judge every Chrome-like process of the table.

    Args:
        table: Read *before* `protection`; otherwise a session that starts in between would be an orphan.
    """
    return CleanupPlan(_Judge(table, protection, scope).judge_all())


@dataclass(frozen=True, slots=True)
class _Finding:
    """A verdict without its row, so that helpers can share that of their browser."""

    verdict: Verdict
    reason: str
    session_id: str | None = None


class _Judge:
    """The judge of one table; holds what is computed once, and every method is pure."""

    def __init__(self, table: ProcessTable, protection: Protection, scope: CleanupScope) -> None:
        self._table = table
        self._tree = ProcessTree(table)
        self._protection = protection
        self._scope = scope
        self._never_ended = {0, 1, table.self_pid} | {row.pid for row in table.ancestors(table.self_pid)}
        self._session_of_pid = {
            pid: session.session_id
            for session in sorted(protection.sessions, key=lambda session: session.session_id, reverse=True)
            for pid in session.pids
        }
        self._session_of_folder = {
            self._key(session.folder): session.session_id for session in protection.sessions
        }
        self._session_of_name = {
            base_name(session.folder): session.session_id for session in protection.sessions
        }
        self._protected_by_relation = self._find_protected()
        self._findings: dict[int, _Finding] = {}

    def judge_all(self) -> tuple[Judgement, ...]:
        # Drivers, then browsers, then helpers, each parents first: a verdict may depend on earlier ones.
        ranked = sorted((pid for pid in self._tree.order if pid in self._tree.kinds), key=self._rank)
        for pid in ranked:
            self._findings[pid] = self._first_match(self._table.rows[pid])
        self._protect_descendants()
        return tuple(self._judgement(pid) for pid in sorted(self._findings))

    def _rank(self, pid: int) -> int:
        return {Role.DRIVER: 0, Role.BROWSER: 1}.get(self._tree.roles[pid], 2)

    def _judgement(self, pid: int) -> Judgement:
        row, role, found = self._table.rows[pid], self._tree.roles[pid], self._findings[pid]
        return Judgement(row, role, found.verdict, readable(found.reason), found.session_id)

    def _find_protected(self) -> dict[int, _Finding]:
        """Return the processes that a pid, a process group or a mark protects, and their descendants."""
        direct = {pid: self._directly_protected(row) for pid, row in self._table.rows.items()}
        return self._tree.nearest({pid: found for pid, found in direct.items() if found is not None})

    def _directly_protected(self, row: ProcessRow) -> _Finding | None:
        if row.is_zombie:
            return None
        for pid, relation in ((row.pid, "process"), (row.pgid, "process group")):
            if pid in self._session_of_pid:
                session_id = self._session_of_pid[pid]
                return _protected(f"{relation} {pid} belongs to session {session_id}", session_id)
        by_mark = self._by_mark(row) if row.own_namespace is not False else None
        return by_mark if by_mark is not None and by_mark.verdict is Verdict.PROTECTED else None

    def _protect_descendants(self) -> None:
        living = (pid for pid in self._findings if not self._table.rows[pid].is_zombie)
        protected = {
            pid: self._findings[pid] for pid in living if self._findings[pid].verdict is Verdict.PROTECTED
        }
        inherited = self._tree.nearest(protected)
        for pid, found in self._findings.items():
            if found.verdict is Verdict.ORPHAN and not self._table.rows[pid].is_zombie:
                self._findings[pid] = inherited.get(pid, found)

    def _first_match(self, row: ProcessRow) -> _Finding:
        return (
            self._never(row)
            or self._defunct(row)
            or self._not_chrome(row)
            or self._emergency(row)
            or self._protected_by_relation.get(row.pid)
            or self._out_of_reach(row)
            or self._by_mark(row)
            or self._unreadable(row)
            or self._by_role(row)
        )

    def _never(self, row: ProcessRow) -> _Finding | None:
        if row.pid == self._table.self_pid:
            return _foreign("the Drover service itself")
        if row.pid in self._never_ended:
            return _foreign("an ancestor of the Drover service, or the system's first process")
        return None

    def _defunct(self, row: ProcessRow) -> _Finding | None:
        if not row.is_zombie:
            return None
        if row.pid in self._session_of_pid:
            session_id = self._session_of_pid[row.pid]
            return _protected(f"defunct process of session {session_id}", session_id)
        if row.ppid == self._table.self_pid:
            return _orphan("defunct child of the Drover service; it can be reaped")
        return _foreign(f"defunct; its parent (PID {row.ppid}) must reap it")

    def _not_chrome(self, row: ProcessRow) -> _Finding | None:
        if self._tree.kinds[row.pid] is not None:
            return None
        if row.exe is None:
            return _foreign(
                f"its executable is not readable, and the name {row.name!r} alone is not proof; left alone"
            )
        return _foreign(f"not Chrome despite its name; it runs {row.exe}")

    def _emergency(self, row: ProcessRow) -> _Finding | None:
        if self._scope is not CleanupScope.EVERYTHING:
            return None
        if row.started is None:
            return _foreign("its start time is not readable; left alone")
        kind = self._tree.kinds[row.pid]
        return _orphan(f"emergency recovery ends every {kind.value if kind else 'Chrome'}")

    def _out_of_reach(self, row: ProcessRow) -> _Finding | None:
        if row.own_user is False:
            return _foreign("belongs to another user")
        if row.own_namespace is not False:
            return None
        # Sandboxed helpers have their own PID namespaces inside that of their browser.
        within = self._by_browser(row) if self._is_helper(row) else None
        if within is not None and within.verdict is Verdict.ORPHAN:
            return self._unreadable(row) or within
        return within or _foreign("runs in another PID namespace, such as a container")

    def _unreadable(self, row: ProcessRow) -> _Finding | None:
        attributes = {
            "executable": row.exe,
            "command line": row.cmdline,
            "start time": row.started,
            "user": row.own_user,
        }
        missing = [name for name, value in attributes.items() if value is None]
        return _foreign(f"not readable: {', '.join(missing)}; left alone") if missing else None

    def _by_mark(self, row: ProcessRow) -> _Finding | None:
        mark = self._tree.marks.get(row.pid)
        if mark is None:
            return None
        is_own = mark.home is not None and mark.home == self._protection.own_home
        # The text of a path can only protect: it may lead to another folder, and ours may have several paths.
        session_id = self._session_of_folder.get(self._key(mark.folder))
        if session_id is None and is_own:
            session_id = self._session_of_name.get(mark.name)
        if session_id is not None:
            return _protected(f"uses {mark.folder}, the folder of session {session_id}", session_id)
        if is_own:
            return self._ended_by_mark(row, f"uses {mark.folder}, which no longer belongs to a session")
        return self._by_owner(row, mark)

    def _by_owner(self, row: ProcessRow, mark: SessionMark) -> _Finding:
        use = f"uses {mark.folder}, and the Drover instance of {mark.data_dir}"
        unreadable = OwnerState.UNREADABLE
        state = unreadable if mark.home is None else self._protection.owners.get(mark.home, unreadable)
        if state is OwnerState.LIVING:
            return _protected(f"{use} is running")
        if state is OwnerState.RECENT:
            return _protected(f"{use} stopped recently and may restart")
        if state is OwnerState.UNREADABLE:
            return _foreign(f"{use} may be running (its lock is not readable); left alone")
        return self._ended_by_mark(row, f"{use} has stopped")

    def _ended_by_mark(self, row: ProcessRow, reason: str) -> _Finding:
        return self._unreadable(row) or _orphan(reason)

    def _by_role(self, row: ProcessRow) -> _Finding:
        if self._tree.kinds[row.pid] is Kind.DRIVER:
            return self._driver(row)
        if self._is_helper(row):
            return self._by_browser(row) or self._helper_without_browser(row)
        return self._browser(row)

    def _helper_without_browser(self, row: ProcessRow) -> _Finding:
        by_driver = is_webdriver_test(row.cmdline)
        if (
            self._table.system == "windows"
            and self._scope is not CleanupScope.OWNED
            and is_left_helper(self._table, self._tree, row, started_by_driver=by_driver)
        ):
            return _orphan("its browser, which a ChromeDriver had started, has ended")
        return _foreign("its browser is unknown; it ends together with its browser")

    def _is_helper(self, row: ProcessRow) -> bool:
        return self._tree.roles[row.pid] not in (Role.DRIVER, Role.BROWSER)

    def _driver(self, row: ProcessRow) -> _Finding:
        if self._scope is CleanupScope.OWNED:
            return _foreign("ChromeDriver not started by Drover (cleanup scope `owned`)")
        spared = self._browser_that_may_not_be_ended(row)
        if spared is not None:
            return spared
        if self._scope is CleanupScope.SYSTEM:
            return _orphan("ChromeDriver without a session")
        program = possible_program(self._table, self._tree, row)
        if program is not None:
            return _foreign(f"ChromeDriver whose starting program may still run: {program}")
        return _orphan("ChromeDriver without a session; the program that started it has ended")

    def _browser_that_may_not_be_ended(self, driver: ProcessRow) -> _Finding | None:
        """Return the finding that spares a driver because the browser that it drives is spared."""
        for pid in self._tree.started_by(driver):
            row = self._table.rows[pid]
            found = self._protected_by_relation.get(pid) or self._out_of_reach(row) or self._unreadable(row)
            if found is not None:
                return _share(found, f"it drives the browser (PID {pid})")
        return None

    def _browser(self, row: ProcessRow) -> _Finding:
        if self._table.system != "windows" and row.pgid == row.pid:
            return _foreign(_own_group_reason(row))
        driver = self._tree.driver_of(row)
        if driver is not None:
            return _share(self._findings[driver], f"started by ChromeDriver (PID {driver})")
        return self._by_browser(row) or self._browser_without_driver(row)

    def _browser_without_driver(self, row: ProcessRow) -> _Finding:
        missing = self._missing_proof(row)
        if missing is not None:
            return _foreign(missing)
        if self._table.system == "windows":
            return _orphan(f"its ChromeDriver (PID {profile_maker(row.cmdline) or row.ppid}) has ended")
        return _orphan(f"its ChromeDriver, the leader of its process group (PID {row.pgid}), has ended")

    def _missing_proof(self, row: ProcessRow) -> str | None:
        if not is_webdriver_test(row.cmdline):
            return "Chrome not started by a ChromeDriver"
        if self._scope is CleanupScope.OWNED:
            return "Chrome not started by Drover (cleanup scope `owned`)"
        if self._table.system == "windows":
            requested = self._scope is CleanupScope.SYSTEM
            return doubt_about_browser(self._table, self._tree, row, requested=requested)
        running = None if self._was_reparented(row) else self._running_parent(row)
        if running is not None:
            return f"Chrome whose starting program is still running: {running}"
        return self._running_leader(row)

    def _was_reparented(self, row: ProcessRow) -> bool:
        # Its new parent may be the program that started the driver: only a requested cleanup ignores that.
        parent = self._table.parent(row.pid)
        return self._scope is CleanupScope.SYSTEM and parent is not None and is_reparented(row, parent)

    def _running_leader(self, row: ProcessRow) -> str | None:
        """Return text about the leader of the process group, or None if the leader has ended."""
        if not row.pgid:
            return "not readable: process group; left alone"
        leader = self._table.rows.get(row.pgid)
        if leader is None or leader.is_zombie:
            return None
        return f"the leader of its process group, {shown(leader)}, is still running"

    def _running_parent(self, row: ProcessRow) -> str | None:
        """Return text about the program that started the process, or None if that program has ended.

        Not for Windows.
        """
        if row.ppid == 0:
            return "it is outside this container"
        parent = self._table.parent(row.pid)
        if parent is None or parent.is_zombie:
            return None
        return None if parent.pid == 1 or is_init(parent) else shown(parent)

    def _by_browser(self, row: ProcessRow) -> _Finding | None:
        """Return the verdict on the browser of a process; if there are several, the most protective one."""
        browsers = [pid for pid in self._tree.browsers_of(row) if pid in self._findings]
        found = [_share(self._findings[pid], f"belongs to the browser (PID {pid})") for pid in browsers]
        return min(found, key=lambda finding: _MOST_PROTECTIVE_FIRST.index(finding.verdict), default=None)

    def _key(self, path: str) -> str:
        return path.replace("/", "\\").lower() if self._table.system == "windows" else path


_MOST_PROTECTIVE_FIRST = (Verdict.PROTECTED, Verdict.FOREIGN, Verdict.ORPHAN)


def _foreign(reason: str) -> _Finding:
    return _Finding(Verdict.FOREIGN, reason)


def _orphan(reason: str) -> _Finding:
    return _Finding(Verdict.ORPHAN, reason)


def _protected(reason: str, session_id: str | None = None) -> _Finding:
    return _Finding(Verdict.PROTECTED, reason, session_id)


def _share(finding: _Finding, relation: str) -> _Finding:
    return _Finding(finding.verdict, f"{relation}: {finding.reason}", finding.session_id)


def _own_group_reason(row: ProcessRow) -> str:
    if is_webdriver_test(row.cmdline):
        return "its ChromeDriver was told to leave it running (`detach`); it has its own process group"
    return "Chrome in its own process group; no ChromeDriver manages it"
