"""Process tables as data: one line a process, as they look on each system."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace

from drover.processes.cleanup.chrome_names import System, base_name
from drover.processes.cleanup.cleanup_plan import (
    CleanupPlan,
    CleanupScope,
    Judgement,
    ProtectedSession,
    Protection,
    Verdict,
)
from drover.processes.cleanup.verdicts import plan_cleanup
from drover.processes.folders import FolderId
from drover.processes.session_mark import OwnerState, SessionMark, session_mark
from drover.processes.table import ProcessRow, ProcessTable
from drover.processes.values import ProcessStatus

SELF = 900
DATA = "/data"
FOLDER = "/data/s/abcd1234"
PROFILE = f"--user-data-dir={FOLDER}/p"
WEBDRIVER = "--test-type=webdriver"

DEBIAN = "/usr/lib/chromium/chromium"
GOOGLE = "/opt/google/chrome/chrome"
DRIVER = "/usr/bin/chromedriver"
CRASHPAD = "/usr/lib/chromium/chrome_crashpad_handler"


def proc(
    pid: int,
    ppid: int,
    program: str,
    *args: str,
    pgid: int | None = 0,
    sid: int | None = 0,
    started: float | None = -1.0,
    status: ProcessStatus = ProcessStatus.RUNNING,
    own_user: bool | None = True,
    own_namespace: bool | None = True,
) -> ProcessRow:
    """Build a row; a program with a path is Chrome-like and read in full, a bare name is kin and only named.

    Left out, group and session are those of the first process, and the start time is the pid.
    """
    known = "/" in program or "\\" in program
    cmdline = (program, *args) if known else None
    return ProcessRow(
        pid=pid,
        ppid=ppid,
        started=float(pid) if started == -1.0 else started,
        name=base_name(program),
        exe=program if known else None,
        cmdline=cmdline,
        status=status,
        own_user=own_user if known else None,
        pgid=1 if pgid == 0 else pgid,
        sid=1 if sid == 0 else sid,
        own_namespace=own_namespace if known else None,
        mark=mark_of(cmdline),
    )


def rewritten(row: ProcessRow, text: str) -> ProcessRow:
    """Return a row with the arguments of a helper on Linux, which are one string."""
    return replace(row, cmdline=(text,), mark=mark_of((text,)))


def mark_of(cmdline: tuple[str, ...] | None) -> SessionMark | None:
    """Return the mark on a command line, with the folder that its path leads to."""
    mark = session_mark(cmdline)
    return mark and replace(mark, home=home(mark.data_dir))


def home(path: str) -> FolderId:
    """Return the identity of the folder at a path; the same for all paths that mean the same on Windows."""
    return (1, zlib.crc32(path.replace("/", "\\").lower().encode("utf-8", "surrogateescape")))


def zombie(pid: int, ppid: int, name: str) -> ProcessRow:
    """Build the row of a defunct process: a name, cut to 15 characters, and a parent, no more."""
    return ProcessRow(pid, ppid, float(pid), name[:15], status=ProcessStatus.ZOMBIE, pgid=pid, sid=pid)


def windows(row: ProcessRow) -> ProcessRow:
    """Take from a row what Windows does not know."""
    return replace(row, pgid=None, sid=None, own_namespace=None)


def mac(row: ProcessRow) -> ProcessRow:
    """Take from a row what macOS does not know."""
    return replace(row, own_namespace=None)


def table(
    *rows: ProcessRow, system: System = "linux", self_pid: int = SELF, init: str = "/usr/lib/systemd/systemd"
) -> ProcessTable:
    """Build a table with the first process and this service in it; `init` is the first one's executable."""
    base = [
        ProcessRow(1, 0, 0.0, base_name(init), init, (init,), pgid=1, sid=1),
        ProcessRow(self_pid, 1 if self_pid != 1 else 0, 1.0, "python", pgid=self_pid, sid=self_pid),
    ]
    return ProcessTable({row.pid: row for row in [*base, *rows]}, self_pid, system)


def protect(
    *pids: int,
    folder: str = "/data/s/00000000",
    own: str | None = DATA,
    owners: dict[str, OwnerState] | None = None,
) -> Protection:
    """Build a protection with one session in the list."""
    listed = (ProtectedSession("one", folder, frozenset(pids)),)
    states = {home(path): state for path, state in (owners or {}).items()}
    return Protection(listed, home(own) if own is not None else None, states)


NO_SESSIONS = Protection((), home(DATA), {})


def judged(
    rows: ProcessTable | Iterable[ProcessRow],
    protection: Protection = NO_SESSIONS,
    scope: CleanupScope = CleanupScope.ABANDONED,
) -> dict[int, Judgement]:
    """Judge a table; the verdict of each process by pid."""
    whole = rows if isinstance(rows, ProcessTable) else table(*rows)
    return {found.row.pid: found for found in plan_cleanup(whole, protection, scope).judgements}


def verdicts(
    rows: ProcessTable | Iterable[ProcessRow],
    protection: Protection = NO_SESSIONS,
    scope: CleanupScope = CleanupScope.ABANDONED,
) -> dict[int, str]:
    """Judge a table; only the verdicts' names by pid."""
    return {pid: found.verdict.value for pid, found in judged(rows, protection, scope).items()}


def orphan_pids(plan: CleanupPlan) -> set[int]:
    """Return the pids that a plan would end."""
    return {found.row.pid for found in plan.orphans}


def all_are(
    verdict: Verdict, rows: Iterable[ProcessRow], protection: Protection, scope: CleanupScope
) -> bool:
    """Return whether every Chrome-like process of a table has one verdict."""
    return {found.verdict for found in judged(rows, protection, scope).values()} == {verdict}


def debian_tree(
    driver: int, parent: int, *marks: str, browser_parent: int | None = None, sandboxed: bool = False
) -> list[ProcessRow]:
    """Build ChromeDriver with Debian's Chromium as recorded; helpers have their arguments in one string."""
    browser = driver + 1
    helper = " ".join(marks)
    nested = not sandboxed

    def child(pid: int, above: int, kind: str) -> ProcessRow:
        row = proc(pid, above, DEBIAN, pgid=driver, sid=driver, own_namespace=nested)
        return rewritten(row, f"{DEBIAN} --type={kind} {helper} --lang=en")

    log = [mark.replace("--user-data-dir", "--log-path").replace("/p", "/chromedriver.log") for mark in marks]
    return [
        proc(driver, parent, DRIVER, "--port=0", *log, pgid=driver, sid=driver),
        proc(browser, browser_parent or driver, DEBIAN, WEBDRIVER, *marks, pgid=driver, sid=driver),
        child(driver + 2, browser, "zygote"),
        child(driver + 3, browser, "zygote"),
        child(driver + 4, driver + 2, "gpu-process"),
        child(driver + 5, browser, "utility"),
        child(driver + 6, driver + 3, "renderer"),
        proc(
            driver + 7,
            1,
            CRASHPAD,
            f"--database={FOLDER}/c" if marks else "--database=/root/.config/chromium/Crash Reports",
            pgid=driver + 7,
        ),
    ]
