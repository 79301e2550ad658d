from __future__ import annotations

from dataclasses import replace

import pytest

from drover.processes.cleanup.chrome_names import Role
from drover.processes.cleanup.cleanup_plan import CleanupScope, ProtectedSession, Protection, Verdict
from drover.processes.cleanup.verdicts import plan_cleanup
from drover.processes.folders import FolderId
from drover.processes.session_mark import OwnerState
from drover.processes.table import ProcessRow, ProcessTable
from drover.processes.values import ProcessStatus
from tests.unit.tables import (
    CRASHPAD,
    DATA,
    DEBIAN,
    DRIVER,
    FOLDER,
    GOOGLE,
    NO_SESSIONS,
    PROFILE,
    SELF,
    WEBDRIVER,
    all_are,
    debian_tree,
    home,
    judged,
    mac,
    orphan_pids,
    proc,
    protect,
    rewritten,
    table,
    verdicts,
    windows,
    zombie,
)

EVERY_USUAL_SCOPE = [CleanupScope.OWNED, CleanupScope.ABANDONED, CleanupScope.SYSTEM]


# Sessions of this instance


@pytest.mark.parametrize("scope", EVERY_USUAL_SCOPE)
@pytest.mark.parametrize("sandboxed", [False, True])
def test_a_session_in_the_list_is_protected_with_all_its_helpers(
    scope: CleanupScope, sandboxed: bool
) -> None:
    tree = debian_tree(1000, SELF, PROFILE, sandboxed=sandboxed)
    assert all_are(Verdict.PROTECTED, tree, protect(folder=FOLDER), scope)


@pytest.mark.parametrize("scope", EVERY_USUAL_SCOPE)
def test_a_session_is_protected_when_its_driver_has_died_unnoticed(scope: CleanupScope) -> None:
    tree = debian_tree(1000, SELF, PROFILE, browser_parent=1)[1:]
    found = judged(tree, protect(1000, folder=FOLDER), scope)
    assert {judgement.verdict for judgement in found.values()} == {Verdict.PROTECTED}
    assert {judgement.session_id for judgement in found.values()} == {"one"}


def test_a_browser_without_a_mark_is_protected_by_its_drivers_pid() -> None:
    tree = debian_tree(1000, SELF)
    crashpad = 1007
    assert {
        pid
        for pid, verdict in verdicts(tree, protect(1000), CleanupScope.SYSTEM).items()
        if verdict == "protected"
    } == {*range(1000, crashpad)}


def test_a_process_group_of_a_protected_driver_protects_what_was_re_parented() -> None:
    browser = proc(1001, 1, DEBIAN, WEBDRIVER, pgid=1000)
    assert verdicts([browser], protect(1000), CleanupScope.SYSTEM) == {1001: "protected"}


def test_a_wrapper_between_a_protected_process_and_a_browser_changes_nothing() -> None:
    rows = [proc(1000, SELF, "sh"), proc(1001, 1000, DRIVER), proc(1002, 1001, DEBIAN, WEBDRIVER)]
    assert verdicts(rows, protect(1000), CleanupScope.SYSTEM) == {1001: "protected", 1002: "protected"}


def test_protection_by_pid_ignores_start_times() -> None:
    assert verdicts([proc(1000, 1, DRIVER, started=5e9)], protect(1000), CleanupScope.SYSTEM) == {
        1000: "protected"
    }


@pytest.mark.parametrize("scope", EVERY_USUAL_SCOPE)
def test_a_mark_of_ours_without_a_session_is_an_orphans(scope: CleanupScope) -> None:
    tree = debian_tree(1000, SELF, PROFILE)
    found = judged(tree, NO_SESSIONS, scope)
    assert {judgement.verdict for judgement in found.values()} == {Verdict.ORPHAN}
    assert found[1001].reason == f"uses {FOLDER}, which no longer belongs to a session"


@pytest.mark.parametrize("scope", EVERY_USUAL_SCOPE)
@pytest.mark.parametrize(
    ("state", "verdict", "words"),
    [
        (OwnerState.LIVING, "protected", "the Drover instance of /other is running"),
        (OwnerState.RECENT, "protected", "stopped recently and may restart"),
        (OwnerState.DEAD, "orphan", "the Drover instance of /other has stopped"),
        (OwnerState.UNREADABLE, "foreign", "may be running (its lock is not readable); left alone"),
        (None, "foreign", "may be running (its lock is not readable); left alone"),
    ],
)
def test_another_instance_decides_over_its_own_marks(
    scope: CleanupScope, state: OwnerState | None, verdict: str, words: str
) -> None:
    rows = [proc(1000, 1, DRIVER, "--log-path=/other/s/abcd1234/chromedriver.log")]
    owners = {"/other": state} if state else {}
    found = judged(rows, protect(owners=owners), scope)[1000]
    assert (found.verdict.value, words in found.reason) == (verdict, True)


def test_without_a_running_instance_the_owner_of_our_own_folder_decides_too() -> None:
    tree = debian_tree(1000, 1, PROFILE)
    alone = Protection((), None, {home("/data"): OwnerState.RECENT})
    assert all_are(Verdict.PROTECTED, tree, alone, CleanupScope.SYSTEM)
    dead = replace(alone, owners={home("/data"): OwnerState.DEAD})
    assert all_are(Verdict.ORPHAN, tree, dead, CleanupScope.OWNED)


# One data folder with two names, and one name of two data folders


def at(row: ProcessRow, folder: FolderId | None) -> ProcessRow:
    """Let the path of a row's mark lead to a folder."""
    return replace(row, mark=row.mark and replace(row.mark, home=folder))


LINKED = "--user-data-dir=/link/s/abcd1234/p"


@pytest.mark.parametrize("scope", EVERY_USUAL_SCOPE)
def test_a_session_is_protected_when_its_mark_names_our_data_folder_by_another_path(
    scope: CleanupScope,
) -> None:
    browser = at(proc(1001, 1, DEBIAN, LINKED, WEBDRIVER, pgid=1000), home(DATA))
    found = judged([browser], protect(folder=FOLDER), scope)[1001]
    assert (found.verdict, found.session_id) == (Verdict.PROTECTED, "one")


@pytest.mark.parametrize("scope", EVERY_USUAL_SCOPE)
def test_what_names_our_data_folder_by_another_path_and_has_no_session_is_an_orphan(
    scope: CleanupScope,
) -> None:
    browser = at(proc(1001, 1, DEBIAN, LINKED, WEBDRIVER, pgid=1000), home(DATA))
    found = judged([browser], protect(), scope)[1001]
    assert found.verdict is Verdict.ORPHAN
    assert found.reason == "uses /link/s/abcd1234, which no longer belongs to a session"


@pytest.mark.parametrize("scope", EVERY_USUAL_SCOPE)
@pytest.mark.parametrize(
    ("state", "verdict"), [(OwnerState.LIVING, "protected"), (OwnerState.DEAD, "orphan"), (None, "foreign")]
)
def test_a_path_like_ours_that_leads_to_another_folder_belongs_to_the_instance_there(
    scope: CleanupScope, state: OwnerState | None, verdict: str
) -> None:
    private = (2, 7)
    browser = at(proc(1001, 1, DEBIAN, PROFILE, WEBDRIVER, pgid=1000), private)
    owners = {private: state} if state else {}
    assert verdicts([browser], replace(protect(), owners=owners), scope) == {1001: verdict}


@pytest.mark.parametrize("scope", EVERY_USUAL_SCOPE)
def test_a_mark_whose_data_folder_cannot_be_found_is_no_proof(scope: CleanupScope) -> None:
    browser = at(proc(1001, 1, DEBIAN, PROFILE, WEBDRIVER, pgid=1000), None)
    assert verdicts([browser], protect(), scope) == {1001: "foreign"}
    assert verdicts([browser], protect(folder=FOLDER), scope) == {1001: "protected"}
    assert verdicts([browser], replace(protect(), own_home=None), scope) == {1001: "foreign"}


# The text of a client that reads like a switch


OTHERS_PROFILE = "--user-data-dir=/data/s/ffffffff/p"
OTHERS_FOLDER = "/data/s/ffffffff"


@pytest.mark.parametrize("scope", EVERY_USUAL_SCOPE)
@pytest.mark.parametrize(
    "text",
    [
        f"--user-agent=X {OTHERS_PROFILE}",
        f"--log-path={OTHERS_FOLDER}/chromedriver.log",
        f"--database={OTHERS_FOLDER}/c",
        f"--lang=de\n{OTHERS_PROFILE}",
    ],
)
def test_a_browser_belongs_to_its_own_session_whatever_its_client_wrote(
    scope: CleanupScope, text: str
) -> None:
    browser = proc(1001, 1, DEBIAN, text, PROFILE, WEBDRIVER, pgid=1000)
    renderer = rewritten(
        proc(1002, 1001, DEBIAN, pgid=1000), f"{DEBIAN} --type=renderer {text} {PROFILE} --lang=en"
    )
    only_other = rewritten(proc(1003, 1001, DEBIAN, pgid=1000), f"{DEBIAN} --type=renderer {text}")
    rows = [browser, renderer, only_other]
    ours = judged(rows, protect(folder=FOLDER), scope)
    assert {(found.verdict, found.session_id) for found in ours.values()} == {(Verdict.PROTECTED, "one")}
    assert all_are(Verdict.ORPHAN, rows, protect(folder=OTHERS_FOLDER), scope)


def test_a_helper_without_its_browser_has_a_mark_only_if_nothing_else_reads_like_one() -> None:
    sure = rewritten(proc(1002, 1, DEBIAN, pgid=1000), f"{DEBIAN} --type=renderer {PROFILE} --lang=en")
    unsure = rewritten(
        proc(1003, 1, DEBIAN, pgid=1000),
        f"{DEBIAN} --type=renderer --user-agent=X {OTHERS_PROFILE} {PROFILE}",
    )
    assert verdicts([sure, unsure], scope=CleanupScope.SYSTEM) == {1002: "orphan", 1003: "foreign"}


@pytest.mark.parametrize("text", ["--user-agent=X --type=renderer", "--lang=x --type=gpu-process --y"])
def test_no_text_of_a_client_makes_its_browser_a_helper(text: str) -> None:
    found = judged([proc(1001, 1, DEBIAN, text, WEBDRIVER, pgid=1000)])[1001]
    assert (found.role, found.verdict) == (Role.BROWSER, Verdict.ORPHAN)


def test_no_text_of_a_client_makes_a_chrome_look_driven() -> None:
    chrome = proc(1001, 1, DEBIAN, "--user-agent=X --test-type=webdriver", pgid=1000)
    assert judged([chrome])[1001].reason == "Chrome not started by a ChromeDriver"


def test_what_cannot_be_read_is_spared_in_spite_of_a_dead_owners_mark() -> None:
    browser = replace(proc(1000, 1, DEBIAN, PROFILE), started=None)
    found = judged([browser], NO_SESSIONS, CleanupScope.SYSTEM)[1000]
    assert (found.verdict, found.reason) == (Verdict.FOREIGN, "not readable: start time; left alone")


# ChromeDriver of another program


def test_a_foreign_programs_driver_is_foreign_while_its_program_runs() -> None:
    rows = [proc(1000, 1, "pytest"), *debian_tree(1100, 1000)]
    assert all_are(Verdict.FOREIGN, rows, NO_SESSIONS, CleanupScope.ABANDONED)
    assert (
        judged(rows)[1100].reason
        == "ChromeDriver whose starting program may still run: its parent is pytest (PID 1000)"
    )


def test_a_foreign_programs_driver_is_an_orphan_in_a_manual_cleanup() -> None:
    rows = [proc(1000, 1, "pytest"), *debian_tree(1100, 1000)]
    assert orphan_pids(plan_cleanup(table(*rows), NO_SESSIONS, CleanupScope.SYSTEM)) == {*range(1100, 1107)}


def test_a_foreign_programs_driver_is_never_ended_in_scope_owned() -> None:
    assert all_are(Verdict.FOREIGN, debian_tree(1100, 1), NO_SESSIONS, CleanupScope.OWNED)


INITS = [
    *("/usr/lib/systemd/systemd", "/sbin/init", "/sbin/launchd", "/sbin/openrc-init", "/sbin/runit"),
    *("/usr/bin/tini", "/tini-static", "/usr/bin/dumb-init", "/usr/local/bin/dumb-init_1.2.5_x86_64"),
    *("/sbin/docker-init", "/run/podman-init", "/usr/libexec/podman/catatonit", "/bin/s6-svscan", "/pause"),
]
PROGRAMS = [
    *("/usr/bin/python3.11", "/usr/bin/node", "/usr/bin/java", "/bin/bash", "/usr/bin/dash", "/usr/bin/perl"),
    *("/usr/bin/supervisord", "/usr/local/bin/pm2", "/usr/bin/circusd", "/bin/busybox", "/app/process_api"),
    *("/opt/init-scripts", "/usr/bin/systemd-run", "/usr/bin/initdb"),
]


@pytest.mark.parametrize("init", INITS)
def test_a_driver_that_an_init_adopted_has_lost_its_program(init: str) -> None:
    driver = proc(1100, 1, DRIVER, pgid=1050, sid=1040)
    assert verdicts(table(driver, init=init)) == {1100: "orphan"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_driver_under_a_first_process_that_is_no_known_init_is_spared_with_the_reason(program: str) -> None:
    driver = proc(1100, 1, DRIVER, pgid=1050, sid=1040)
    found = judged(table(driver, init=program))[1100]
    assert found.verdict is Verdict.FOREIGN
    assert found.reason.startswith("ChromeDriver whose starting program may still run: its parent is ")
    assert "(PID 1)" in found.reason


def test_a_first_process_whose_executable_cannot_be_read_proves_nothing() -> None:
    whole = table(proc(1100, 1, DRIVER, pgid=1050, sid=1040))
    hidden = replace(whole.rows[1], exe=None, cmdline=None)
    assert verdicts(replace(whole, rows={**whole.rows, 1: hidden})) == {1100: "foreign"}


def test_busybox_is_an_init_when_it_runs_as_one() -> None:
    whole = table(proc(1100, 1, DRIVER, pgid=1050, sid=1040), init="/bin/busybox")
    as_init = replace(whole.rows[1], cmdline=("/sbin/init",))
    assert verdicts(replace(whole, rows={**whole.rows, 1: as_init})) == {1100: "orphan"}


def test_a_driver_under_a_users_systemd_has_lost_its_program() -> None:
    rows = [proc(50, 1, "/usr/lib/systemd/systemd"), proc(1100, 50, DRIVER, pgid=1050, sid=1040)]
    assert verdicts(rows) == {1100: "orphan"}


def test_a_process_that_only_took_the_name_of_an_init_is_a_program() -> None:
    named = replace(proc(50, 1, "/usr/bin/python3"), name="systemd")
    assert verdicts([named, proc(1100, 50, DRIVER, pgid=1050, sid=1040)]) == {1100: "foreign"}


@pytest.mark.parametrize(
    ("pgid", "sid", "relation"), [(1050, 1040, "process group"), (1100, 1050, "session")]
)
def test_a_driver_is_spared_while_the_leader_of_its_group_or_session_lives(
    pgid: int, sid: int, relation: str
) -> None:
    script = proc(1050, 1, "python3", pgid=1050, sid=1050)
    found = judged(table(script, proc(1100, 1, DRIVER, pgid=pgid, sid=sid), init="/usr/bin/tini"))[1100]
    assert found.verdict is Verdict.FOREIGN
    assert f"the leader of its {relation} is python3 (PID 1050)" in found.reason


def test_a_driver_is_spared_while_another_program_of_its_process_group_lives() -> None:
    script = proc(1060, 1, "python3", pgid=1050, sid=1040)
    found = judged([script, proc(1100, 1, DRIVER, pgid=1050, sid=1040)])[1100]
    assert found.reason.endswith("python3 (PID 1060) is in its process group or session")


def test_a_driver_is_spared_while_another_program_of_its_session_lives() -> None:
    script = proc(1060, 1, "python3", pgid=1060, sid=1040)
    found = judged([script, proc(1100, 1, DRIVER, pgid=1100, sid=1040)])[1100]
    assert found.reason.endswith("python3 (PID 1060) is in its process group or session")


def test_what_a_driver_and_its_chrome_have_started_is_not_its_program() -> None:
    rows = [
        proc(1100, 1, DRIVER, pgid=1050, sid=1040),
        proc(1101, 1100, DEBIAN, WEBDRIVER, pgid=1050, sid=1040),
        proc(1102, 1101, "/usr/bin/cat", pgid=1050, sid=1040),
    ]
    assert verdicts(rows) == {1100: "orphan", 1101: "orphan"}


def test_processes_without_a_session_are_not_in_the_session_of_a_driver() -> None:
    other = replace(proc(1060, 1, "python3", pgid=1060), sid=None)
    driver = replace(proc(1100, 1, DRIVER, pgid=1050), sid=None)
    assert verdicts([other, driver]) == {1100: "orphan"}


def test_neither_this_service_nor_chrome_in_the_group_of_a_driver_is_its_program() -> None:
    rows = [
        proc(SELF, 1, "python", pgid=1050, sid=1040),
        proc(1100, 1, DRIVER, pgid=1050, sid=1040),
        proc(1101, 1100, DEBIAN, WEBDRIVER, pgid=1050, sid=1040),
    ]
    assert verdicts(rows) == {1100: "orphan", 1101: "orphan"}


def test_a_dead_leader_is_nobodys_program() -> None:
    rows = [zombie(1050, 40, "python3"), proc(1100, 1, DRIVER, pgid=1050, sid=1050)]
    assert verdicts(rows) == {1100: "orphan"}


@pytest.mark.parametrize("scope", [CleanupScope.ABANDONED, CleanupScope.SYSTEM])
def test_chrome_that_lost_its_driver_is_an_orphan_whatever_the_first_process_is(scope: CleanupScope) -> None:
    browser = proc(1001, 1, DEBIAN, WEBDRIVER, pgid=1000)
    assert verdicts(table(browser, init="/usr/bin/python3.11"), scope=scope) == {1001: "orphan"}


@pytest.mark.parametrize("init", ["/usr/lib/systemd/systemd", "/usr/bin/tini", "/bin/s6-svscan"])
def test_a_driver_that_leads_its_session_may_be_of_any_program(init: str) -> None:
    alone = table(proc(1100, 1, DRIVER, pgid=1100, sid=1100), init=init)
    found = judged(alone)[1100]
    assert "it leads a session of its own, as a service or a daemon below" in found.reason
    assert found.verdict is Verdict.FOREIGN
    assert verdicts(alone, scope=CleanupScope.SYSTEM) == {1100: "orphan"}


def test_a_driver_whose_parent_cannot_be_read_or_is_outside_the_container_is_spared() -> None:
    assert verdicts([proc(1100, 1050, DRIVER), proc(1200, 0, DRIVER)]) == {1100: "foreign", 1200: "foreign"}


DRIVER_NAMES = [
    *(
        "chromedriver-156.0.8078.79",
        "chromedriver-114.0.5735.90",
        "chromedriver-linux64",
        "chromedriver_linux64",
    ),
    *("chromedriver_mac_arm64", "chromedriver-v2.46", "msedgedriver", "uc_driver", "operadriver"),
    *("electron-chromedriver", "chromedriver.real", "chromedriver-bin", "chromedriver_1234567890"),
]


@pytest.mark.parametrize("name", DRIVER_NAMES)
def test_a_driver_is_known_under_the_names_that_images_and_tools_give_it(name: str) -> None:
    found = judged([proc(1100, 1, f"/opt/selenium/{name}", "--port=9515", pgid=1050, sid=1040)])[1100]
    assert (found.role, found.verdict) == (Role.DRIVER, Verdict.ORPHAN)


@pytest.mark.parametrize(
    "name", ["chromedriver-manager", "webdriver-update", "chromedriver_proxy", "mydriver"]
)
def test_other_programs_with_driver_in_their_name_are_no_drivers(name: str) -> None:
    assert (
        verdicts([proc(1100, 1, f"/usr/bin/{name}", pgid=1050, sid=1040)]).get(1100, "foreign") == "foreign"
    )


# Browsers under other names


DRIVEN = ["chromium-headless-shell", "brave", "vivaldi-bin", "msedge", "electron", "my-electron-app"]
PORT = "--remote-debugging-port=0"


@pytest.mark.parametrize("name", DRIVEN)
@pytest.mark.parametrize("scope", [CleanupScope.ABANDONED, CleanupScope.SYSTEM, CleanupScope.EVERYTHING])
def test_what_a_doomed_driver_drives_ends_with_it_under_whatever_name(name: str, scope: CleanupScope) -> None:
    program = f"/opt/{name}/{name}"
    rows = [
        proc(1100, 1, DRIVER, pgid=1050, sid=1040),
        proc(1101, 1100, program, PORT, "--user-data-dir=/tmp/x", pgid=1050, sid=1040),
        proc(1102, 1101, program, "--type=renderer", pgid=1050, sid=1040),
        proc(1103, 1101, program, "--type=zygote", pgid=1050, sid=1040),
    ]
    assert verdicts(rows, scope=scope) == dict.fromkeys(range(1100, 1104), "orphan")


def test_a_browser_behind_a_wrapper_that_stays_ends_with_its_driver() -> None:
    rows = [
        proc(1100, 1, DRIVER, pgid=1050, sid=1040),
        proc(1101, 1100, "/bin/bash", "/usr/bin/brave-wrapper", pgid=1050, sid=1040),
        proc(1102, 1101, "/opt/brave.com/brave/brave", PORT, pgid=1050, sid=1040),
    ]
    assert verdicts(rows, scope=CleanupScope.SYSTEM) == {1100: "orphan", 1102: "orphan"}


@pytest.mark.parametrize("scope", list(CleanupScope))
def test_a_persons_own_brave_or_electron_program_is_no_part_of_any_plan(scope: CleanupScope) -> None:
    rows = [
        proc(1101, 50, "/opt/brave.com/brave/brave", "--user-data-dir=/home/me/x"),
        proc(1102, 1101, "/opt/brave.com/brave/brave", "--type=renderer"),
        proc(1103, 50, "/usr/share/code/code", "--type=renderer"),
    ]
    assert orphan_pids(plan_cleanup(table(*rows), NO_SESSIONS, scope)) == set()


def test_brave_that_lost_its_driver_is_an_orphan_by_the_same_proof_as_chrome() -> None:
    brave = "/opt/brave.com/brave/brave"
    rows = [
        proc(1001, 1, brave, WEBDRIVER, pgid=1000),
        proc(1002, 1001, brave, "--type=gpu-process", pgid=1000),
    ]
    assert verdicts(rows) == {1001: "orphan", 1002: "orphan"}


@pytest.mark.parametrize("scope", [CleanupScope.ABANDONED, CleanupScope.SYSTEM])
def test_a_driver_is_spared_when_the_browser_that_it_drives_may_not_be_ended(scope: CleanupScope) -> None:
    driver = proc(1100, 1, DRIVER, pgid=1050, sid=1040)
    browser = proc(1101, 1100, DEBIAN, WEBDRIVER, pgid=1050, sid=1040)
    for changes in ({"own_user": False}, {"started": None}, {"own_namespace": False}):
        rows = [driver, replace(browser, **changes)]
        assert verdicts(rows, scope=scope) == {1100: "foreign", 1101: "foreign"}, changes


@pytest.mark.parametrize("name", ["undetected_chromedriver", "0f1e2d3c4b5a6978_chromedriver"])
def test_undetected_chromedrivers_renamed_program_is_a_driver(name: str) -> None:
    found = judged([proc(1100, 1, f"/root/.local/share/undetected_chromedriver/{name}")])[1100]
    assert (found.role, found.verdict) == (Role.DRIVER, Verdict.ORPHAN)


# Chrome whose ChromeDriver has ended


@pytest.mark.parametrize("scope", [CleanupScope.ABANDONED, CleanupScope.SYSTEM])
@pytest.mark.parametrize("sandboxed", [False, True])
def test_chrome_of_a_dead_driver_is_an_orphan_with_its_helpers(scope: CleanupScope, sandboxed: bool) -> None:
    tree = debian_tree(1000, 1, browser_parent=1, sandboxed=sandboxed)[1:]
    plan = plan_cleanup(table(*tree), NO_SESSIONS, scope)
    assert orphan_pids(plan) == {*range(1001, 1007)}
    assert plan.orphans[0].reason == "its ChromeDriver, the leader of its process group (PID 1000), has ended"


def test_a_defunct_leader_of_the_group_is_a_dead_one() -> None:
    tree = [zombie(1000, 50, "chromedriver"), *debian_tree(1000, 1, browser_parent=1)[1:]]
    assert orphan_pids(plan_cleanup(table(*tree), NO_SESSIONS, CleanupScope.ABANDONED)) == {
        *range(1001, 1007)
    }


def test_a_stopped_browser_is_an_orphan_like_any_other() -> None:
    browser = proc(1001, 1, DEBIAN, WEBDRIVER, pgid=1000, status=ProcessStatus.STOPPED)
    assert verdicts([browser]) == {1001: "orphan"}


def test_a_subreaper_that_took_chrome_in_proves_as_much_as_init() -> None:
    rows = [proc(50, 1, "/usr/lib/systemd/systemd"), proc(1001, 50, DEBIAN, WEBDRIVER, pgid=1000)]
    assert verdicts(rows) == {1001: "orphan"}


def test_chrome_re_parented_across_sessions_is_ended_only_in_a_manual_cleanup() -> None:
    rows = [proc(50, 1, "python3", pgid=50, sid=50), proc(1001, 50, DEBIAN, WEBDRIVER, pgid=1000, sid=1000)]
    assert verdicts(rows, scope=CleanupScope.SYSTEM) == {1001: "orphan"}
    assert verdicts(rows, scope=CleanupScope.ABANDONED) == {1001: "foreign"}
    assert verdicts(rows, scope=CleanupScope.OWNED) == {1001: "foreign"}


@pytest.mark.parametrize("sid", [50, None, 1001])
def test_chrome_in_its_parents_session_or_leading_one_may_be_its_own_child(sid: int | None) -> None:
    rows = [proc(50, 1, "python3", pgid=50, sid=50), proc(1001, 50, DEBIAN, WEBDRIVER, pgid=1000, sid=sid)]
    assert verdicts(rows, scope=CleanupScope.SYSTEM) == {1001: "foreign"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            proc(1001, 1, DEBIAN, "--enable-automation", pgid=1000),
            "Chrome not started by a ChromeDriver",
        ),
        (
            proc(1001, 800, DEBIAN, WEBDRIVER, pgid=1000),
            "Chrome whose starting program is still running: bash (PID 800)",
        ),
        (proc(1001, 1, DEBIAN, WEBDRIVER, pgid=None), "not readable: process group; left alone"),
        (
            proc(1001, 1, DEBIAN, WEBDRIVER, pgid=800),
            "the leader of its process group, bash (PID 800), is still running",
        ),
        (
            proc(1001, 1, DEBIAN, WEBDRIVER, pgid=1001),
            "its ChromeDriver was told to leave it running (`detach`); it has its own process group",
        ),
        (
            proc(1001, 1, GOOGLE, pgid=1001),
            "Chrome in its own process group; no ChromeDriver manages it",
        ),
    ],
)
def test_without_one_part_of_the_proof_chrome_is_spared_and_the_part_is_named(
    row: ProcessRow, words: str
) -> None:
    found = judged([proc(800, 1, "bash"), row], scope=CleanupScope.SYSTEM)[1001]
    assert (found.verdict, found.reason) == (Verdict.FOREIGN, words)


def test_a_browser_left_behind_on_purpose_outlives_the_end_of_its_driver() -> None:
    rows = [proc(1000, 1, DRIVER, pgid=1000), proc(1001, 1000, DEBIAN, WEBDRIVER, pgid=1001)]
    assert verdicts(rows, scope=CleanupScope.SYSTEM) == {1000: "orphan", 1001: "foreign"}


def test_a_browser_that_was_re_parented_while_its_driver_lives_shares_the_drivers_verdict() -> None:
    rows = [
        proc(800, 1, "pytest"),
        proc(1000, 800, DRIVER, pgid=1000),
        proc(1001, 1, GOOGLE, WEBDRIVER, pgid=1000),
    ]
    assert verdicts(rows) == {1000: "foreign", 1001: "foreign"}
    assert verdicts(rows, scope=CleanupScope.SYSTEM) == {1000: "orphan", 1001: "orphan"}


def test_a_fork_of_a_browser_shares_its_verdict() -> None:
    rows = [proc(1001, 1, DEBIAN, WEBDRIVER, pgid=1000), proc(1002, 1001, DEBIAN, WEBDRIVER, pgid=1000)]
    assert verdicts(rows) == {1001: "orphan", 1002: "orphan"}


# Helpers and crash handlers


def test_helpers_outside_the_tree_follow_the_browser_of_their_profile() -> None:
    browser = proc(1001, 1, "/app/extra/chrome", WEBDRIVER, "--user-data-dir=/tmp/x y", pgid=1000)
    renderer = proc(1100, 1, "/app/extra/chrome", pgid=1090)
    renderer = rewritten(renderer, "/app/extra/chrome --type=renderer --user-data-dir=/tmp/x y --lang=en")
    assert verdicts([browser, renderer]) == {1001: "orphan", 1100: "orphan"}
    assert verdicts([renderer]) == {1100: "foreign"}


def test_a_profile_of_two_browsers_spares_its_helpers() -> None:
    profile = "--user-data-dir=/tmp/x"
    rows = [
        proc(1001, 1, GOOGLE, WEBDRIVER, profile, pgid=1000),
        proc(1002, 1, GOOGLE, profile, pgid=1002),
        proc(1100, 1, GOOGLE, "--type=renderer", profile),
    ]
    assert verdicts(rows) == {1001: "orphan", 1002: "foreign", 1100: "foreign"}


def test_a_crash_handler_follows_its_database_and_is_spared_without_one() -> None:
    rows = [
        proc(1001, 1, GOOGLE, WEBDRIVER, "--user-data-dir=/tmp/x", pgid=1000),
        proc(1002, 1, "/opt/google/chrome/chrome_crashpad_handler", "--database=/tmp/x/Crashpad"),
        proc(1003, 1, "/opt/google/chrome/chrome_crashpad_handler", "--database=/root/.config/google-chrome"),
        proc(1004, 1, CRASHPAD, f"--database={FOLDER}/c"),
    ]
    assert verdicts(rows) == {1001: "orphan", 1002: "orphan", 1003: "foreign", 1004: "orphan"}


# Unrelated processes


UNRELATED = {
    "a person's Chrome": proc(1001, 1, GOOGLE, pgid=1001, sid=1001),
    "one with a debugging port": proc(1001, 700, GOOGLE, "--remote-debugging-port=9222", pgid=1001),
    "Debian's wrapped in a terminal": proc(1001, 700, DEBIAN, pgid=1001),
    "Playwright's": proc(
        1001, 1, "/root/.cache/ms-playwright/chromium-1/chrome-linux/chrome", "--enable-automation"
    ),
    "Puppeteer's": proc(
        1001, 1, "/x/chrome-linux64/chrome", "--enable-automation", "--remote-debugging-port=0", pgid=1000
    ),
    "chrome-launcher's": proc(1001, 1, GOOGLE, "--user-data-dir=/tmp/lighthouse.abc", pgid=1001),
    "chromedp's": proc(1001, 700, "/headless-shell/headless_shell", "--user-data-dir=/tmp/chromedp-runner1"),
    "Ubuntu snap's": proc(1001, 700, "/snap/chromium/2/usr/lib/chromium-browser/chrome", pgid=1001),
    "flatpak's": proc(1001, 700, "/app/extra/chrome", WEBDRIVER, own_namespace=False),
    "a container's driver": proc(1001, 700, DRIVER, own_namespace=False),
    "a container's browser with our mark": proc(1001, 700, DEBIAN, PROFILE, own_namespace=False),
    "another user's driver": proc(1001, 1, DRIVER, own_user=False),
    "another user's browser with our mark": proc(1001, 1, DEBIAN, PROFILE, own_user=False),
    "an unreadable driver": replace(proc(1001, 1, DRIVER), exe=None, cmdline=None, own_user=None),
    "Visual Studio Code's crash handler": proc(1001, 1, "/usr/share/code/chrome_crashpad_handler"),
    "Brave's crash handler": proc(1001, 1, "/opt/brave.com/brave/chrome_crashpad_handler"),
    "chrome-gnome-shell": replace(proc(1001, 1, "/usr/bin/python3.11"), name="chrome-gnome-sh"),
    "node with a title": replace(proc(1001, 1, "/usr/bin/node"), name="chrome-thing"),
    "a native messaging host": proc(1001, 1, "/opt/x/chrome-native-host", WEBDRIVER),
    "Chrome Remote Desktop": proc(1001, 1, "/opt/google/chrome-remote-desktop/chrome-remote-desktop-host"),
    "a script that names it": replace(proc(1001, 1, "/usr/bin/bash", "chromedriver"), name="chrome_metrics."),
    "an editor of its sources": replace(proc(1001, 1, "/usr/bin/vim"), name="chromedriver"),
}


@pytest.mark.parametrize("scope", [CleanupScope.OWNED, CleanupScope.ABANDONED, CleanupScope.SYSTEM])
@pytest.mark.parametrize("who", UNRELATED)
def test_unrelated_processes_are_foreign(who: str, scope: CleanupScope) -> None:
    found = judged([proc(700, 1, "node"), UNRELATED[who]], scope=scope)[1001]
    assert found.verdict is Verdict.FOREIGN
    assert found.reason


def test_processes_without_chrome_in_their_name_are_not_listed() -> None:
    rows = [proc(1001, 1, "/usr/share/code/code", "--type=renderer"), proc(1002, 1, "/usr/bin/cat")]
    assert verdicts(rows) == {}


def test_helpers_in_a_container_follow_their_own_browser_and_not_a_mark_that_reads_like_ours() -> None:
    rows = [proc(700, 1, "containerd-shim"), *debian_tree(1000, 700, PROFILE)]
    rows = [replace(row, own_namespace=False if row.exe else None) for row in rows]
    assert all_are(Verdict.FOREIGN, rows, NO_SESSIONS, CleanupScope.SYSTEM)


# The service itself, and defunct processes


@pytest.mark.parametrize("scope", CleanupScope)
def test_the_service_its_ancestors_and_the_first_process_are_never_ended(scope: CleanupScope) -> None:
    rows = [
        replace(proc(1, 0, DRIVER), started=0.0),
        replace(proc(800, 1, GOOGLE, WEBDRIVER, pgid=799)),
        proc(SELF, 800, "/usr/bin/chromium"),
    ]
    assert verdicts(rows, scope=scope) == {1: "foreign", 800: "foreign", SELF: "foreign"}


def test_our_defunct_children_are_reaped_and_others_are_left_to_their_parent() -> None:
    rows = [
        zombie(1001, SELF, "chromedriver"),
        zombie(1002, 700, "chrome_crashpad_handler"),
        zombie(1003, SELF, "x"),
    ]
    plan = plan_cleanup(table(*rows), NO_SESSIONS, CleanupScope.SYSTEM)
    assert [found.row.pid for found in plan.reapable] == [1001]
    assert plan.orphans == ()
    assert judged(rows)[1002].reason == "defunct; its parent (PID 700) must reap it"


def test_a_defunct_driver_of_a_session_is_left_to_the_session() -> None:
    plan = plan_cleanup(table(zombie(1001, SELF, "chromedriver")), protect(1001), CleanupScope.SYSTEM)
    assert (plan.reapable, plan.judgements[0].verdict) == ((), Verdict.PROTECTED)


# Docker


def test_in_docker_without_init_the_service_is_the_first_process_and_finds_its_strays() -> None:
    rows = [*debian_tree(100, 1, PROFILE), *debian_tree(200, 1)[1:], zombie(300, 1, "chromium")]
    rows = [replace(row, ppid=1) if row.pid == 201 else row for row in rows]
    found = table(*rows, self_pid=1, init="python")
    plan = plan_cleanup(found, protect(folder=FOLDER), CleanupScope.ABANDONED)
    assert orphan_pids(plan) == {*range(201, 207)}
    assert [judgement.row.pid for judgement in plan.reapable] == [300]
    assert {
        pid for pid, verdict in verdicts(found, protect(folder=FOLDER)).items() if verdict == "protected"
    } == {*range(100, 108)}


def test_in_docker_with_init_orphans_hang_on_tini() -> None:
    rows = debian_tree(100, 1, browser_parent=1)[1:]
    assert orphan_pids(plan_cleanup(table(*rows, init="tini"), NO_SESSIONS, CleanupScope.ABANDONED)) == {
        *range(101, 107)
    }


# Google Chrome's package for Debian


def test_google_chrome_is_recognised_by_its_executable_and_not_its_first_argument() -> None:
    browser = replace(
        proc(1001, 1, GOOGLE, pgid=1000), cmdline=("/usr/bin/google-chrome-stable", WEBDRIVER), name="chrome"
    )
    rows = [browser, proc(1002, 1001, "/usr/bin/cat", pgid=1000)]
    assert verdicts(rows) == {1001: "orphan"}


def test_an_executable_that_an_update_replaced_is_still_known() -> None:
    helper = proc(1002, 1001, "/opt/google/chrome/nacl_helper", pgid=1000)
    assert verdicts([proc(1001, 1, GOOGLE, WEBDRIVER, pgid=1000), helper]) == {1001: "orphan", 1002: "orphan"}


# Windows

CHROME_EXE = r"C:\Program Files\Google\Chrome\Application\chrome.exe"
DRIVER_EXE = r"C:\tools\ChromeDriver.exe"
WIN_PROFILE = r"--user-data-dir=C:\Benutzer\Jörg Müller\s\abcd1234\p"


def test_on_windows_a_stale_parent_id_shows_that_the_program_is_gone() -> None:
    rows = [
        windows(proc(4000, 3000, DRIVER_EXE)),
        windows(proc(4001, 4000, CHROME_EXE, WEBDRIVER)),
        windows(proc(4002, 4001, CHROME_EXE, "--type=crashpad-handler")),
        windows(proc(5000, 700, DRIVER_EXE)),
        windows(proc(700, 4, "python.exe")),
    ]
    assert verdicts(table(*rows, system="windows")) == {
        4000: "orphan",
        4001: "orphan",
        4002: "orphan",
        5000: "foreign",
    }


def test_on_windows_a_reused_parent_id_is_not_a_parent() -> None:
    rows = [
        windows(proc(4000, 3000, DRIVER_EXE)),
        windows(proc(3000, 4, CHROME_EXE, started=9000)),
        windows(proc(3001, 3000, CHROME_EXE, "--type=renderer", started=100)),
    ]
    assert verdicts(table(*rows, system="windows")) == {3000: "foreign", 3001: "foreign", 4000: "orphan"}


HEADLESS = "--headless=new"
MADE_BY_4000 = r"--user-data-dir=C:\Users\José Müller\AppData\Local\Temp\scoped_dir4000_212578755"


def on_windows(*rows: ProcessRow) -> ProcessTable:
    return table(*(windows(row) for row in rows), system="windows")


@pytest.mark.parametrize("scope", [CleanupScope.SYSTEM, CleanupScope.ABANDONED])
@pytest.mark.parametrize("parent", [[], [proc(4000, 3000, DRIVER_EXE, started=9000)]])
def test_on_windows_chrome_whose_driver_is_gone_is_an_orphan_with_its_helpers(
    scope: CleanupScope, parent: list[ProcessRow]
) -> None:
    browser = proc(4001, 4000, CHROME_EXE, WEBDRIVER, HEADLESS, MADE_BY_4000)
    helper = proc(4002, 4001, CHROME_EXE, "--type=gpu-process", MADE_BY_4000)
    found = judged(on_windows(browser, helper, *parent), scope=scope)
    assert found[4001].verdict is found[4002].verdict is Verdict.ORPHAN
    assert found[4001].reason == "its ChromeDriver (PID 4000) has ended"


def test_on_windows_a_visible_chrome_without_its_driver_is_ended_upon_request_only() -> None:
    rows = on_windows(proc(4001, 4000, CHROME_EXE, WEBDRIVER))
    assert verdicts(rows, scope=CleanupScope.SYSTEM) == {4001: "orphan"}
    found = judged(rows, scope=CleanupScope.ABANDONED)[4001]
    assert found.verdict is Verdict.FOREIGN
    assert "detach" in found.reason


def test_on_windows_chrome_behind_a_launcher_that_ended_is_spared_while_its_driver_runs() -> None:
    rows = on_windows(
        proc(4000, 700, DRIVER_EXE),
        proc(700, 4, "python.exe"),
        proc(4002, 4001, CHROME_EXE, WEBDRIVER, HEADLESS, MADE_BY_4000),
    )
    assert verdicts(rows, scope=CleanupScope.ABANDONED)[4002] == "foreign"


def test_on_windows_chrome_that_another_program_runs_is_spared() -> None:
    rows = on_windows(proc(700, 4, "node.exe"), proc(4001, 700, CHROME_EXE, WEBDRIVER, HEADLESS))
    assert verdicts(rows, scope=CleanupScope.SYSTEM) == {4001: "foreign"}


def test_on_windows_a_helper_that_outlived_a_drivers_browser_is_an_orphan() -> None:
    rows = on_windows(
        proc(4002, 4001, CHROME_EXE, "--type=renderer", WEBDRIVER),
        proc(4003, 4001, CHROME_EXE, "--type=utility", MADE_BY_4000),
        proc(5002, 5001, CHROME_EXE, "--type=renderer"),
    )
    assert verdicts(rows) == {4002: "orphan", 4003: "orphan", 5002: "foreign"}
    assert set(verdicts(rows, scope=CleanupScope.OWNED).values()) == {"foreign"}


@pytest.mark.parametrize(
    "own", [r"C:\Benutzer\Jörg Müller", r"c:\benutzer\jörg müller", "C:/Benutzer/Jörg Müller"]
)
def test_on_windows_paths_are_compared_as_windows_does(own: str) -> None:
    rows = table(windows(proc(4001, 4000, CHROME_EXE, WIN_PROFILE)), system="windows")
    listed = Protection((ProtectedSession("one", own + r"\s\abcd1234", frozenset()),), None, {})
    assert verdicts(rows, listed) == {4001: "protected"}
    assert verdicts(rows, Protection((), home(own), {})) == {4001: "orphan"}
    assert verdicts(rows, Protection((), None, {home(own): OwnerState.LIVING})) == {4001: "protected"}


def test_on_windows_an_elevated_process_is_spared_and_in_an_emergency_at_least_tried() -> None:
    row = replace(windows(proc(4001, 4000, CHROME_EXE)), exe=None, cmdline=None, own_user=None)
    rows = table(row, system="windows")
    assert verdicts(rows, scope=CleanupScope.SYSTEM) == {4001: "foreign"}
    assert verdicts(rows, scope=CleanupScope.EVERYTHING) == {4001: "orphan"}


# macOS

MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
MAC_FRAMEWORK = "/Applications/Google Chrome.app/Contents/Frameworks/Google Chrome Framework.framework"
MAC_HELPERS = f"{MAC_FRAMEWORK}/Versions/156/Helpers"
MAC_RENDERER = "Google Chrome Helper (Renderer)"


def test_on_macos_helpers_with_spaces_in_their_names_follow_their_browser() -> None:
    rows = [
        mac(proc(1001, 1, MAC_CHROME, WEBDRIVER, "--user-data-dir=/var/x", pgid=1000)),
        mac(
            proc(
                1002,
                1001,
                f"{MAC_HELPERS}/{MAC_RENDERER}.app/Contents/MacOS/{MAC_RENDERER}",
                "--type=renderer",
                pgid=1000,
            )
        ),
        mac(proc(1003, 1, f"{MAC_HELPERS}/chrome_crashpad_handler", "--database=/var/x/Crashpad", pgid=1003)),
    ]
    found = judged(table(*rows, system="darwin", init="launchd"))
    assert [(judgement.role.value, judgement.verdict.value) for judgement in found.values()] == [
        ("browser", "orphan"),
        ("renderer", "orphan"),
        ("crashpad", "orphan"),
    ]


def test_on_macos_a_persons_browser_under_launchd_is_foreign() -> None:
    rows = table(mac(proc(1001, 1, MAC_CHROME, pgid=1001)), system="darwin", init="launchd")
    assert verdicts(rows, scope=CleanupScope.SYSTEM) == {1001: "foreign"}


def test_on_macos_an_electron_programs_crash_handler_is_foreign() -> None:
    electron = "/Applications/Slack.app/Contents/Frameworks/Electron Framework.framework"
    slack = f"{electron}/Helpers/chrome_crashpad_handler"
    rows = table(mac(proc(1001, 1, slack)), system="darwin")
    assert verdicts(rows, scope=CleanupScope.EVERYTHING) == {1001: "foreign"}


# Emergency recovery


def test_an_emergency_ends_every_chrome_and_no_look_alike() -> None:
    targets = [
        *debian_tree(2000, SELF, PROFILE),
        proc(2101, 1, GOOGLE, pgid=2101),
        proc(2102, 1, DRIVER, own_user=False),
        proc(2103, 1, DRIVER, own_namespace=False),
    ]
    lookalikes = ["Visual Studio Code's crash handler", "chrome-gnome-shell", "a native messaging host"]
    unrelated = [replace(UNRELATED[who], pid=3000 + number) for number, who in enumerate(lookalikes)]
    plan = plan_cleanup(table(*targets, *unrelated), protect(2000, folder=FOLDER), CleanupScope.EVERYTHING)
    assert orphan_pids(plan) == {row.pid for row in targets}


def test_an_emergency_spares_processes_without_a_start_time() -> None:
    assert verdicts([proc(1001, 1, DRIVER, started=None)], scope=CleanupScope.EVERYTHING) == {1001: "foreign"}


def test_a_path_that_is_no_utf_8_is_told_apart_by_its_bytes_and_shown_as_text() -> None:
    one, other = "/data\udcff/s/abcd1234", "/data\udcfe/s/abcd1234"
    rows = [
        proc(1000, 1, DEBIAN, f"--user-data-dir={one}/p"),
        proc(1001, 1, DEBIAN, f"--user-data-dir={other}/p"),
    ]
    found = judged(rows, protect(folder=one, own=None), CleanupScope.SYSTEM)
    assert [found[pid].verdict for pid in (1000, 1001)] == [Verdict.PROTECTED, Verdict.FOREIGN]
    for judgement in found.values():
        assert judgement.reason.encode("utf-8")
        assert "\ufffd" in judgement.reason


def test_a_look_alike_with_bytes_that_are_no_utf_8_in_its_path_is_shown() -> None:
    found = judged([proc(1000, 1, "/opt/\udcff/chrome-thing")])[1000]
    assert found.reason == "not Chrome despite its name; it runs /opt/\ufffd/chrome-thing"
