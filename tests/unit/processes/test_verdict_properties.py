from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from drover.processes.cleanup.chrome_names import may_be_chrome
from drover.processes.cleanup.cleanup_plan import (
    CleanupPlan,
    CleanupScope,
    ProtectedSession,
    Protection,
    Verdict,
)
from drover.processes.cleanup.verdicts import plan_cleanup
from drover.processes.session_mark import OwnerState
from drover.processes.table import ProcessRow, ProcessTable
from drover.processes.values import ProcessStatus
from tests.unit.tables import CRASHPAD, DEBIAN, DRIVER, GOOGLE, home, mark_of

PIDS = st.integers(0, 14)
SELF = 7
FOLDERS = ["/data/s/aaaaaaaa", "/data/s/bbbbbbbb", "/other/s/aaaaaaaa"]
PROGRAMS = [
    DRIVER,
    DEBIAN,
    GOOGLE,
    CRASHPAD,
    "/usr/bin/node",
    "/usr/share/code/chrome_crashpad_handler",
    None,
]
SWITCHES = [
    "--test-type=webdriver",
    "--type=renderer",
    "--type=zygote",
    "--user-data-dir=/tmp/x",
    "--database=/tmp/x/c",
    *(f"--user-data-dir={folder}/p" for folder in FOLDERS),
    *(f"--log-path={folder}/chromedriver.log" for folder in FOLDERS),
    *(f"--database={folder}/c" for folder in FOLDERS),
]
NAMES = ["chrome", "chromedriver", "chromium", "python", "systemd", "chrome-thing", "0123456789abcde"]
MAYBE = st.sampled_from([True, True, True, False, None])


@st.composite
def rows(draw: st.DrawFn, pid: int) -> ProcessRow:
    program = draw(st.sampled_from(PROGRAMS))
    args = tuple(draw(st.lists(st.sampled_from(SWITCHES), max_size=3)))
    status = draw(
        st.sampled_from([ProcessStatus.RUNNING] * 3 + [ProcessStatus.STOPPED, ProcessStatus.ZOMBIE])
    )
    read = program is not None and status is not ProcessStatus.ZOMBIE
    cmdline = (program, *args) if read and program else None
    if cmdline is not None and draw(st.booleans()):
        cmdline = (" ".join(cmdline),)
    mark = mark_of(cmdline)
    if mark is not None and draw(st.sampled_from([False, False, True])):
        mark = replace(mark, home=draw(st.sampled_from([None, home("/data"), home("/other")])))
    return ProcessRow(
        pid=pid,
        ppid=draw(PIDS),
        started=draw(st.sampled_from([1.0, 1.0, 1.0, 2.0, None])),
        name=program.rsplit("/", 1)[1] if read and program else draw(st.sampled_from(NAMES)),
        exe=program if read else None,
        cmdline=cmdline,
        status=status,
        own_user=draw(MAYBE),
        pgid=draw(st.one_of(st.none(), PIDS)),
        sid=draw(st.one_of(st.none(), PIDS)),
        own_namespace=draw(MAYBE),
        mark=mark,
    )


@st.composite
def tables(draw: st.DrawFn) -> ProcessTable:
    pids = draw(st.sets(PIDS, max_size=12)) | {SELF}
    found = {pid: draw(rows(pid)) for pid in sorted(pids)}
    return ProcessTable(found, SELF, draw(st.sampled_from(["linux", "windows", "darwin"])))


@st.composite
def protections(draw: st.DrawFn) -> Protection:
    sessions = draw(
        st.lists(st.tuples(st.sampled_from(FOLDERS), st.frozensets(PIDS, max_size=2)), max_size=2)
    )
    homes = st.sampled_from([home("/data"), home("/other")])
    owners = draw(st.dictionaries(homes, st.sampled_from(OwnerState)))
    listed = tuple(ProtectedSession(f"session_{number}", *entry) for number, entry in enumerate(sessions))
    return Protection(listed, draw(st.sampled_from([None, home("/data")])), owners)


SCOPES = st.sampled_from(CleanupScope)
USUAL_SCOPES = st.sampled_from([CleanupScope.OWNED, CleanupScope.ABANDONED, CleanupScope.SYSTEM])


def ended(plan: CleanupPlan) -> set[int]:
    return {found.row.pid for found in plan.orphans}


@given(tables(), protections(), SCOPES)
def test_every_candidate_is_judged_exactly_once_and_with_a_reason(
    table: ProcessTable, protection: Protection, scope: CleanupScope
) -> None:
    plan = plan_cleanup(table, protection, scope)
    judged = [found.row.pid for found in plan.judgements]
    assert judged == sorted(set(judged))
    assert {pid for pid, row in table.rows.items() if may_be_chrome(row.name)} <= set(judged)
    assert all(found.reason for found in plan.judgements)


@given(tables(), protections(), SCOPES)
def test_the_service_its_ancestors_and_the_first_processes_are_never_ended(
    table: ProcessTable, protection: Protection, scope: CleanupScope
) -> None:
    untouchable = {0, 1, SELF} | {row.pid for row in table.ancestors(SELF)}
    assert not ended(plan_cleanup(table, protection, scope)) & untouchable


@given(tables(), protections(), USUAL_SCOPES)
def test_nothing_protected_or_below_something_protected_is_ended(
    table: ProcessTable, protection: Protection, scope: CleanupScope
) -> None:
    plan = plan_cleanup(table, protection, scope)
    protected = {found.row.pid for found in plan.judgements if found.verdict is Verdict.PROTECTED}
    living = {pid for pid, row in table.rows.items() if row.status is not ProcessStatus.ZOMBIE}
    shields = (protected | {pid for session in protection.sessions for pid in session.pids}) & living
    for pid in ended(plan):
        assert not ({pid} | {row.pid for row in table.ancestors(pid)}) & shields


@given(tables(), protections(), protections(), USUAL_SCOPES)
def test_more_protection_never_means_more_ends(
    table: ProcessTable, protection: Protection, more: Protection, scope: CleanupScope
) -> None:
    further = tuple(replace(session, session_id=f"more_{session.session_id}") for session in more.sessions)
    living = {path: OwnerState.LIVING for path, state in more.owners.items() if state is OwnerState.LIVING}
    wider = replace(
        protection, sessions=(*protection.sessions, *further), owners={**protection.owners, **living}
    )
    before, after = plan_cleanup(table, protection, scope), plan_cleanup(table, wider, scope)
    assert ended(after) <= ended(before)
    assert {found.row.pid for found in after.reapable} <= {found.row.pid for found in before.reapable}


@given(tables(), protections(), SCOPES, st.randoms())
def test_a_table_in_another_order_gives_the_same_plan(
    table: ProcessTable, protection: Protection, scope: CleanupScope, chance: random.Random
) -> None:
    shuffled = list(table.rows.items())
    chance.shuffle(shuffled)
    other = replace(table, rows=dict(shuffled))
    assert plan_cleanup(other, protection, scope) == plan_cleanup(table, protection, scope)


@given(tables(), protections(), SCOPES)
def test_orphans_have_an_identity_are_not_defunct_and_a_wider_scope_ends_no_fewer(
    table: ProcessTable, protection: Protection, scope: CleanupScope
) -> None:
    plan = plan_cleanup(table, protection, scope)
    assert all(found.row.identity.pid == found.row.pid for found in plan.orphans)
    assert all(found.row.status is not ProcessStatus.ZOMBIE for found in plan.orphans)
    wider = {
        CleanupScope.OWNED: CleanupScope.ABANDONED,
        CleanupScope.ABANDONED: CleanupScope.SYSTEM,
        CleanupScope.SYSTEM: CleanupScope.EVERYTHING,
    }
    if scope in wider:
        assert ended(plan) <= ended(plan_cleanup(table, protection, wider[scope]))


@given(tables(), protections(), USUAL_SCOPES)
def test_only_what_is_readable_and_our_own_users_is_ended(
    table: ProcessTable, protection: Protection, scope: CleanupScope
) -> None:
    for found in plan_cleanup(table, protection, scope).orphans:
        assert found.row.own_user is True
        assert found.row.exe is not None
        assert found.row.cmdline is not None
