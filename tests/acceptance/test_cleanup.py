"""The cleanup ends orphans, and nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from tests.acceptance.cleanups import (
    CLEANUP,
    ENDS_LEFTOVERS,
    ENDS_LEFTOVERS_ALONE,
    abandon,
    assert_judged,
    clean,
    killed_pids,
    main_pids,
    proves_orphans,
    verdicts,
)
from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Gate
from tests.acceptance.service import Json, Service, expect, expect_error, pids_of, running
from tests.acceptance.unrelated_processes import (
    ForeignScript,
    start_look_alikes,
    start_own_chrome,
    start_script,
)
from tests.machine import is_living, kill, living, marked, run_both, run_concurrently, wait_gone, wait_until

pytestmark = [
    ENDS_LEFTOVERS_ALONE,
    pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals"),
]


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that ends what a long-dead instance left."""
    with running(**ENDS_LEFTOVERS) as service:
        yield service


class StartForeignScript(Protocol):
    """Start a foreign script; what is left of it ends with the test."""

    def __call__(self, *, own_group: bool = False) -> ForeignScript:
        """Return the running script."""
        ...


@pytest.fixture
def start_foreign_script(folder: Path) -> Iterator[StartForeignScript]:
    """Yield a function that starts foreign scripts."""
    foreign_scripts: list[ForeignScript] = []

    def start(*, own_group: bool = False) -> ForeignScript:
        home = folder / str(len(foreign_scripts))
        home.mkdir()
        foreign_scripts.append(start_script(home, own_group=own_group))
        return foreign_scripts[-1]

    yield start
    for foreign_script in foreign_scripts:
        foreign_script.leave()
    kill(marked(folder))


@pytest.fixture
def unrelated_processes(folder: Path) -> Iterator[set[int]]:
    """Run a person's own Chrome and many look-alikes; yield their pids."""
    home = folder / "unrelated"
    home.mkdir()
    started = [start_own_chrome(home), *start_look_alikes(home)]
    yield {process.pid for process in started}
    kill([*marked(home), *(psutil.Process(process.pid) for process in started if process.poll() is None)])
    for process in started:
        process.wait()


def test_a_cleanup_spares_every_session(service: Service) -> None:
    sessions = [service.create(), service.create()]
    Driver(sessions[0]).run("window.left = 42")
    pids = main_pids(*sessions)
    answer = clean(service)
    assert answer["active_sessions"] == 2
    assert living(pids) == pids
    assert Driver(sessions[0]).run("return window.left") == 42
    assert expect(service.get(f"/sessions/{sessions[1]['session_id']}"))["recovered"] is False


def test_a_cleanup_without_orphans_reports_zero(service: Service) -> None:
    session = service.create()
    since = service.mark()
    answer = clean(service)
    found = rf"Killed {answer['killed_count']} orphaned Chrome/ChromeDriver processes"
    service.expect_log(
        [
            r"INFO: 🔧 Orphaned process cleanup triggered",
            rf"INFO: Active ChromeDriver PIDs: \{{{session['driver']['pid']}\}}",
            rf"INFO: ✅ {found if answer['killed_count'] else 'No orphaned processes found'}",
        ],
        since,
    )


def test_a_cleanup_refuses_bodies_and_misspelt_parameters(service: Service) -> None:
    expect_error(service.post(f"{CLEANUP}?dry_run=perhaps"), 400, "invalid_request")
    expect_error(service.get(CLEANUP), 405, "method_not_allowed")


def test_a_browser_whose_driver_just_died_survives_a_cleanup(service: Service) -> None:
    session = service.create(session_id="bereft")
    Driver(session).run("window.left = 42")
    psutil.Process(session["driver"]["pid"]).kill()
    wait_gone([session["driver"]["pid"]])
    answer = clean(service)
    assert answer["active_sessions"] == 1
    assert session["browser"]["pid"] not in killed_pids(answer)
    assert verdicts(service)[session["browser"]["pid"]]["verdict"] == "protected"
    recovered = expect(service.get("/sessions/bereft"))
    assert recovered["recovery"]["method"] == "reattached"
    assert Driver(recovered["session"]).run("return window.left") == 42


def test_a_starting_session_survives_a_cleanup(service: Service, slow_page: Gate) -> None:
    def clean_while_it_loads() -> Json:
        with slow_page.while_it_loads():
            answer = clean(service)
            assert not killed_pids(answer) & {process.pid for process in service.processes()}
        return answer

    created, _ = run_both(
        lambda: expect(service.post("/sessions", json={"url": slow_page.url}), 201), clean_while_it_loads
    )
    assert Driver(created["session"]).address() == slow_page.url


def test_sessions_that_start_and_end_during_a_cleanup_are_not_affected(service: Service) -> None:
    def open_and_close() -> list[int]:
        pids = []
        for _ in range(2):
            session = service.create()
            answer = expect(service.get(f"/sessions/{session['session_id']}"))
            assert answer["recovered"] is False
            pids.append(answer["session"]["browser"]["pid"])
            expect(service.delete(f"/sessions/{session['session_id']}"))
        return pids

    def keep_cleaning() -> list[int]:
        return [pid for _ in range(10) for pid in killed_pids(clean(service))]

    pids, killed = run_both(open_and_close, keep_cleaning)
    assert not set(pids) & set(killed)


def test_every_process_of_a_session_is_protected_with_a_reason(service: Service) -> None:
    session = service.create(session_id="mine")
    rows = verdicts(service)
    pids = pids_of(session) & rows.keys()
    assert_judged(service, pids_of(session), "protected")
    assert {rows[pid]["verdict"] for pid in pids} == {"protected"}
    assert {rows[pid]["session_id"] for pid in pids} == {"mine"}
    assert rows[session["driver"]["pid"]]["role"] == "driver"
    assert rows[session["browser"]["pid"]]["role"] == "browser"
    assert rows[session["browser"]["pid"]]["ppid"] == session["driver"]["pid"]
    assert {"renderer", "zygote", "utility", "crashpad"} <= {rows[pid]["role"] for pid in pids}


def test_unrelated_processes_are_foreign_and_survive(service: Service, unrelated_processes: set[int]) -> None:
    rows = verdicts(service)
    assert {rows[pid]["verdict"] for pid in unrelated_processes & rows.keys()} == {"foreign"}
    assert not [
        row for row in rows.values() if row["ppid"] in unrelated_processes and row["verdict"] != "foreign"
    ]
    assert not unrelated_processes & killed_pids(clean(service, "?dry_run=true"))
    clean(service)
    assert living(unrelated_processes) == unrelated_processes


def test_a_persons_files_in_the_data_folder_stay(service: Service, folder: Path) -> None:
    home = service.data_dir / "s"
    service.create()
    precious = home / "precious1"
    precious.mkdir()
    (precious / "thesis.txt").write_text("ten years of work", encoding="utf-8")
    (folder / "thesis.txt").write_text("ten more", encoding="utf-8")
    link = home / "abcd1234"
    link.symlink_to(folder)
    try:
        clean(service)
        assert (precious / "thesis.txt").exists()
        assert (folder / "thesis.txt").exists()
    finally:
        link.unlink(missing_ok=True)
        (precious / "thesis.txt").unlink()
        precious.rmdir()


def test_sessions_of_a_living_instance_are_protected(service: Service, start_service: StartService) -> None:
    session = start_service().create()
    theirs = pids_of(session)
    assert_judged(service, theirs, "protected")
    assert not theirs & killed_pids(clean(service))
    assert living(main_pids(session)) == main_pids(session)


def test_sessions_of_an_instance_that_just_died_are_spared(
    service: Service, start_service: StartService
) -> None:
    other = start_service()
    left = main_pids(other.create())
    other.kill()
    assert_judged(service, left, "protected")
    assert not left & killed_pids(clean(service))
    assert living(left) == left


@pytest.mark.exhaustive
def test_sessions_of_an_instance_that_died_long_ago_are_orphans(
    service: Service, start_service: StartService
) -> None:
    mine = service.create()
    other = start_service()
    stay = main_pids(other.create())
    left = abandon(other)
    assert_judged(service, left, "orphan")
    planned = clean(service, "?dry_run=true")
    assert stay <= killed_pids(planned)
    assert living(stay) == stay
    since = service.mark()
    answer = clean(service)
    assert stay <= killed_pids(answer)
    assert living(left) == set()
    assert answer["freed_mb"] > 0
    driver = next(e["pid"] for e in answer["killed"] if e["role"] == "driver" and e["pid"] in left)
    service.expect_log(
        [
            r"INFO: 🔧 Orphaned process cleanup triggered",
            rf"INFO: Active ChromeDriver PIDs: \{{{mine['driver']['pid']}\}}",
            rf"INFO: Killing orphaned ChromeDriver process: PID {driver}",
            rf"INFO: ✅ Killed {answer['killed_count']} orphaned Chrome/ChromeDriver processes",
        ],
        since,
    )
    assert is_living(mine["browser"]["pid"])


def test_a_stopped_orphan_is_ended_too(service: Service, start_service: StartService) -> None:
    other = start_service()
    session = other.create()
    psutil.Process(session["browser"]["pid"]).suspend()
    left = abandon(other)
    assert main_pids(session) <= killed_pids(clean(service))
    assert living(left) == set()


def test_two_concurrent_cleanups_kill_nothing_twice(service: Service, start_service: StartService) -> None:
    other = start_service()
    stay = main_pids(other.create())
    left = abandon(other)
    one, two = run_concurrently([lambda: clean(service)] * 2)
    assert stay <= killed_pids(one) | killed_pids(two)
    assert living(left) == set()


def test_cleanups_run_automatically_at_an_interval(start_service: StartService) -> None:
    start_service(cleanup_interval=1, **ENDS_LEFTOVERS)
    other = start_service()
    other.create()
    wait_gone(abandon(other))


def test_orphans_are_killed_before_a_dead_driver_is_replaced(
    service: Service, start_service: StartService
) -> None:
    other = start_service()
    other.create()
    left = abandon(other)
    session = service.create(session_id="session")
    psutil.Process(session["driver"]["pid"]).kill()
    wait_gone([session["driver"]["pid"]])
    answer = expect(service.get("/sessions/session"))
    assert answer["recovery"]["orphans_killed"] >= 2
    assert living(left) == set()
    assert answer["session"]["browser"]["pid"] == session["browser"]["pid"]


def test_with_scope_owned_a_foreign_scripts_driver_is_foreign(
    service: Service, start_foreign_script: StartForeignScript
) -> None:
    foreign_script = start_foreign_script()
    foreign_script.leave()
    assert_judged(service, foreign_script.pids(), "foreign")
    assert not foreign_script.pids() & killed_pids(clean(service))
    assert living(foreign_script.main_pids) == foreign_script.main_pids


@pytest.mark.system_wide  # its start also cleans up
def test_a_dry_run_reports_orphans_and_kills_nothing(
    start_service: StartService, start_foreign_script: StartForeignScript
) -> None:
    service = start_service(cleanup_scope="system")
    foreign_script = start_foreign_script()
    answer = clean(service, "?dry_run=true")
    assert foreign_script.main_pids <= killed_pids(answer)
    assert living(foreign_script.main_pids) == foreign_script.main_pids


@pytest.mark.system_wide
@pytest.mark.parametrize("leaves", [True, False], ids=["its script has died", "its script still runs"])
def test_a_driver_without_a_session_is_an_orphan(
    start_service: StartService,
    start_foreign_script: StartForeignScript,
    unrelated_processes: set[int],
    leaves: bool,
) -> None:
    service = start_service(cleanup_scope="system")
    session = service.create()
    foreign_script = start_foreign_script()
    if leaves:
        foreign_script.leave()
    pids = foreign_script.pids()
    assert_judged(service, pids, "orphan")
    since = service.mark()
    answer = clean(service)
    assert foreign_script.main_pids <= killed_pids(answer)
    assert answer["active_sessions"] == 1
    assert living(pids) == set()
    service.wait_for_log(f"Killing orphaned ChromeDriver process: PID {foreign_script.driver}", since)
    assert living(unrelated_processes) == unrelated_processes
    assert expect(service.get(f"/sessions/{session['session_id']}"))["recovered"] is False


@pytest.mark.system_wide
@pytest.mark.parametrize("proven", [True, False], ids=["a group of its driver", "a group of another program"])
def test_chrome_that_lost_its_driver_is_an_orphan_if_that_can_be_proven(
    start_service: StartService, start_foreign_script: StartForeignScript, proven: bool
) -> None:
    service = start_service(cleanup_scope="system")
    foreign_script = start_foreign_script(own_group=proven)
    rest = foreign_script.pids() - {foreign_script.driver}
    psutil.Process(foreign_script.driver).kill()
    wait_gone([foreign_script.driver])
    expected = "orphan" if proven else "foreign"
    wait_until(lambda: verdicts(service)[foreign_script.browser]["verdict"] == expected, expected)
    clean(service)
    assert is_living(foreign_script.browser) is not proven
    assert not proven or living(rest) == set()


@pytest.mark.system_wide
def test_the_start_ends_orphans_of_foreign_scripts(
    start_service: StartService, start_foreign_script: StartForeignScript
) -> None:
    working, left = start_foreign_script(), start_foreign_script()
    left.leave()
    orphans = left.pids()
    start_service(cleanup_scope="system")
    if proves_orphans():
        wait_gone(orphans)
    else:
        assert living(left.main_pids) == left.main_pids
    assert living(working.main_pids) == working.main_pids


@pytest.mark.system_wide
def test_an_automatic_cleanup_ends_a_driver_only_if_its_script_has_ended(
    start_service: StartService, start_foreign_script: StartForeignScript
) -> None:
    service = start_service(cleanup_scope="system")
    working, left = start_foreign_script(), start_foreign_script()
    left.leave()
    orphans = left.pids()
    session = service.create(session_id="session")
    psutil.Process(session["driver"]["pid"]).kill()
    wait_gone([session["driver"]["pid"]])
    answer = expect(service.get("/sessions/session"))
    if proves_orphans():
        assert answer["recovery"]["orphans_killed"] >= 2
        assert living(orphans) == set()
    else:
        assert answer["recovery"]["orphans_killed"] == 0
        assert living(left.main_pids) == left.main_pids
    assert living(working.main_pids) == working.main_pids
