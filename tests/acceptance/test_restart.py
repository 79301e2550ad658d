"""The service ends in any way; the next start continues with every session that was answered."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.acceptance.cleanups import clean, main_pids, verdicts
from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import is_accounted_for, kill, renderers, stop
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import assert_saved_state, create_saved_state, wait_until_saved
from tests.acceptance.service import (
    Json,
    Service,
    assert_no_trace,
    expect,
    expect_error,
    folder_of,
    pids_of,
    running,
)
from tests.cases import first_or_all
from tests.machine import is_living, living, run_concurrently, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills and stops with POSIX signals")

LIVING: Final = ["living", "leased", "keyed"]
BEREFT: Final = {"driver_dead": "driver_gone", "driver_stopped": "driver_hung", "tab_dead": "tab_crashed"}
LOST: Final = {"browser_dead": "browser_gone", "all_dead": "browser_gone", "browser_stopped": "browser_hung"}
NAMES: Final = [*LIVING, *BEREFT, *LOST]
DATABASE: Final = "drover.db"


class Restart:
    """The sessions before the service was killed, and after the next start.

    Attributes:
        service: The service, started again.
        before: The sessions as they were, by id.
        after: The sessions in the list as soon as the service was healthy.
        token: The token of the lease.
        modes: The permissions of the database files.
    """

    def __init__(self, service: Service, pages: Pages) -> None:
        self.service = service
        sessions = run_concurrently([partial(self._create_session_with_state, name, pages) for name in NAMES])
        self.before: dict[str, Json] = dict(zip(NAMES, sessions, strict=True))
        lease = {"ttl": 600, "holder": "a robot"}
        self.token = expect(service.post("/sessions/leased/lease", json=lease))["lease"]["token"]
        wait_until_saved()
        self.modes = {
            path.name: stat.S_IMODE(path.stat().st_mode) for path in service.data_dir.glob(f"{DATABASE}*")
        }
        service.kill()
        self._inject_faults()
        service.start()
        self.after = service.listed()

    def _create_session_with_state(self, name: str, pages: Pages) -> Json:
        session = self.service.create(session_id=name, **({"key": "account-17"} if name == "keyed" else {}))
        create_saved_state(session, pages)
        Driver(session).run("window.left = 42")
        return session

    def _inject_faults(self) -> None:
        driver = {name: session["driver"]["pid"] for name, session in self.before.items()}
        browser = {name: session["browser"]["pid"] for name, session in self.before.items()}
        crashing = renderers(self.before["tab_dead"])
        kill(driver["driver_dead"], browser["browser_dead"], driver["all_dead"], browser["all_dead"])
        kill(*crashing)
        stop(driver["driver_stopped"], browser["browser_stopped"])


@pytest.fixture(scope="module")
def restart(pages: Pages) -> Iterator[Restart]:
    """Kill a service with sessions in every condition, and start it again."""
    with running(health_timeout=1, watch_interval=0) as service:
        yield Restart(service, pages)


def edit_record(service: Service, change: Callable[[dict[str, Any]], None], session_id: str) -> None:
    """Change the stored record of a session of a service that has ended."""
    connection = sqlite3.connect(service.data_dir / DATABASE)
    where = (session_id,)
    (text,) = connection.execute("SELECT document FROM sessions WHERE session_id = ?", where).fetchone()
    document = json.loads(text)
    change(document)
    connection.execute(
        "UPDATE sessions SET document = ? WHERE session_id = ?", (json.dumps(document), session_id)
    )
    connection.commit()
    connection.close()


def test_all_sessions_are_adopted_before_the_service_reports_healthy(restart: Restart) -> None:
    assert restart.after.keys() == restart.before.keys()
    assert {session["state"] for session in restart.after.values()} == {"ready"}
    created = {name: session["created_at"] for name, session in restart.before.items()}
    assert {name: session["created_at"] for name, session in restart.after.items()} == created


@pytest.mark.parametrize("name", LIVING)
def test_a_session_whose_processes_live_keeps_them(restart: Restart, name: str, pages: Pages) -> None:
    before, after = restart.before[name], restart.after[name]
    assert (after["driver"], after["browser"]) == (before["driver"], before["browser"])
    assert after["recoveries"] == 0
    assert Driver(before).run("return window.left") == 42
    answer = expect(restart.service.get(f"/sessions/{name}"))
    assert (answer["recovered"], answer["session"]["health"]["status"]) == (False, "healthy")
    assert_saved_state(answer["session"], pages)


@pytest.mark.parametrize("name", BEREFT)
def test_a_living_browser_gets_a_new_driver(restart: Restart, name: str, pages: Pages) -> None:
    expect(restart.service.get(f"/sessions/{name}"))
    before, after = restart.before[name], restart.service.report(name)
    assert after["browser"] == before["browser"]
    assert after["driver"]["pid"] != before["driver"]["pid"]
    assert after["last_recovery"]["method"] == "reattached"
    assert not is_living(before["driver"]["pid"])
    if name != "tab_dead":
        assert restart.after[name]["last_recovery"]["cause"] == BEREFT[name]
        assert Driver(after).run("return window.left") == 42
    assert_saved_state(after, pages)


@pytest.mark.parametrize("name", LOST)
def test_a_dead_browser_is_restored(restart: Restart, name: str, pages: Pages) -> None:
    before, after = restart.before[name], restart.after[name]
    assert after["last_recovery"]["method"] == "restored"
    assert after["last_recovery"]["cause"] in {LOST[name], "driver_gone"}
    assert after["browser"]["pid"] != before["browser"]["pid"]
    assert living([before["browser"]["pid"], before["driver"]["pid"]]) == set()
    assert_saved_state(after, pages)


def test_a_lease_survives_a_restart(restart: Restart) -> None:
    after = restart.after["leased"]
    assert (after["in_use"], after["lease"]["holder"]) == (True, "a robot")
    body = {"session_id": "leased"}
    expect_error(restart.service.post("/sessions", json=body), 409, "session_in_use")
    expect(restart.service.post("/sessions", json=body, headers={"Lease-Token": restart.token}))


def test_a_key_still_leads_to_the_same_session(restart: Restart) -> None:
    answer = expect(restart.service.post("/sessions", json={"key": "account-17"}))
    assert (answer["session_id"], answer["created"]) == ("keyed", False)


def test_nothing_without_an_owner_is_left(restart: Restart) -> None:
    assert is_accounted_for(restart.service)


def test_files_on_disk_are_private_to_the_service_user(restart: Restart) -> None:
    assert DATABASE in restart.modes
    assert set(restart.modes.values()) == {0o600}


def test_a_restart_leaves_no_stack_trace(restart: Restart) -> None:
    assert_no_trace(restart.service)


def test_adopted_sessions_are_closed_like_any_other(restart: Restart) -> None:
    session = restart.after["living"]
    pids = [session["driver"]["pid"], session["browser"]["pid"]]
    folder = folder_of(session)
    expect(restart.service.delete("/sessions/living"))
    assert living(pids) == set()
    assert not folder.exists()
    assert "living" not in restart.service.listed()


def test_deleted_sessions_stay_deleted(restart: Restart) -> None:
    restart.service.kill()
    restart.service.start()
    assert restart.service.listed().keys() == restart.before.keys() - {"living"}
    again = restart.service.create(session_id="living")
    assert Driver(again).cookies() == {}


@pytest.mark.parametrize("paths", first_or_all([("link", "d"), ("d", "link"), ("link", "folder/d")]))
@pytest.mark.exhaustive
def test_a_session_keeps_its_browser_under_each_path_of_the_data_folder(
    start_service: StartService, paths: tuple[str, str]
) -> None:
    service = start_service(watch_interval=0)
    assert service.stop() == 0
    (service.folder / "link").symlink_to(service.data_dir)
    (service.folder / "folder").symlink_to(service.folder)
    service.settings["data_dir"] = service.folder / paths[0]
    before = service.start().create(session_id="one")
    Driver(before).run("window.left = 42")
    service.kill()
    service.settings["data_dir"] = service.folder / paths[1]
    after = service.start().listed()["one"]
    assert (after["driver"], after["browser"]) == (before["driver"], before["browser"])
    rows = verdicts(service)
    assert {rows[pid]["session_id"] for pid in main_pids(after)} == {"one"}
    assert expect(service.get("/sessions/one"))["recovered"] is False
    assert Driver(after).run("return window.left") == 42
    kill(before["driver"]["pid"])
    again = expect(service.get("/sessions/one"))["session"]
    assert (again["last_recovery"]["method"], again["browser"]) == ("reattached", before["browser"])
    own = {*pids_of(again), *pids_of(after | {"driver": again["driver"]})}
    expect(service.delete("/sessions/one"))
    assert living(own) == set()
    assert service.session_folders() == []


@pytest.mark.exhaustive
def test_a_browser_whose_data_folder_was_moved_is_replaced_by_one_on_the_moved_profile(
    start_service: StartService, pages: Pages
) -> None:
    service = start_service(watch_interval=0)
    before = service.create(session_id="one")
    create_saved_state(before, pages)
    wait_until_saved()
    left = pids_of(before)
    service.kill()
    service.data_dir.rename(service.folder / "e")
    service.data_dir = service.folder / "e"
    service.settings["data_dir"] = service.data_dir
    after = service.start().listed()["one"]
    assert living(left) == set()
    assert after["last_recovery"]["method"] == "restored"
    assert folder_of(after).parent.parent == service.data_dir
    assert_saved_state(after, pages)
    assert is_accounted_for(service)
    service.close_all()


@pytest.mark.exhaustive
def test_a_copy_of_the_data_folder_leaves_the_browsers_of_the_original_alone(
    start_service: StartService,
) -> None:
    original = start_service(watch_interval=0)
    before = original.create(session_id="one")
    left = main_pids(before)
    copy = start_service(watch_interval=0)
    assert copy.stop() == 0
    shutil.rmtree(copy.data_dir)
    shutil.copytree(
        original.data_dir, copy.data_dir, symlinks=True, ignore=shutil.ignore_patterns("lock", "t")
    )
    copied = copy.start().listed()["one"]
    assert copied["last_recovery"]["method"] == "restored"
    clean(copy)
    expect(copy.delete("/sessions/one"))
    assert living(left) == left
    assert expect(original.get("/sessions/one"))["recovered"] is False
    original.close_all()


@pytest.mark.exhaustive
def test_browsers_kept_across_a_clean_stop_are_adopted(start_service: StartService, pages: Pages) -> None:
    service = start_service(keep_browsers=1, watch_interval=0)
    before = service.create(session_id="kept")
    create_saved_state(before, pages)
    Driver(before).run("window.left = 42")
    assert service.stop() == 0
    assert Driver(before).run("return window.left") == 42
    service.start()
    after = service.listed()["kept"]
    assert (after["driver"], after["browser"]) == (before["driver"], before["browser"])
    assert expect(service.get("/sessions/kept"))["recovered"] is False
    assert Driver(before).run("return window.left") == 42
    service.close_all()


def drive(service: Service) -> str:
    """Send a command to the session `driven`; return its last use."""
    assert service.get("/wd/hub/session/driven/title").json() == {"value": ""}
    return str(service.listed()["driven"]["last_used"])


def recorded_use(service: Service) -> str:
    """Return the last use of the session `driven` on disk, in milliseconds as in answers."""
    with closing(sqlite3.connect(service.data_dir / DATABASE)) as connection:
        (text,) = connection.execute("SELECT document FROM sessions WHERE session_id = 'driven'").fetchone()
    return str(json.loads(text)["last_used"])[:23]


@pytest.mark.exhaustive
def test_the_last_command_of_a_session_counts_as_use_after_a_restart(start_service: StartService) -> None:
    service = start_service(keep_browsers=1, watch_interval=0)
    service.create(session_id="driven")
    used = drive(service)
    assert service.stop() == 0
    service.start()
    assert service.listed()["driven"]["last_used"] == used
    used = drive(service)
    wait_until(lambda: recorded_use(service) == used[:23], "the last use is on disk", 20)
    service.kill()
    service.start()
    assert service.listed()["driven"]["last_used"] == used
    service.close_all()


def test_after_a_clean_stop_a_key_gets_its_state_restored(start_service: StartService, pages: Pages) -> None:
    service = start_service(watch_interval=0)
    before = expect(service.post("/sessions", json={"key": "account-17"}), 201)["session"]
    service.create(session_id="keyless")
    create_saved_state(before, pages)
    assert service.stop() == 0
    assert (service.processes(), service.session_folders()) == ([], [])
    service.start()
    assert "keyless" not in service.listed()
    answer = service.post("/sessions", json={"key": "account-17"})
    assert_saved_state(expect(answer, answer.status_code)["session"], pages)


def write_garbage(path: Path) -> None:
    path.write_bytes(b"this is no database\n" * 500)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])


def write_another_programs(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE sessions (other TEXT)")
    connection.execute("PRAGMA application_id = 77")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("damage", first_or_all([cut_in_half, write_garbage, write_another_programs]))
@pytest.mark.exhaustive
def test_an_unusable_database_is_set_aside_with_one_log_line(
    start_service: StartService, damage: Callable[[Path], None]
) -> None:
    service = start_service(watch_interval=0)
    service.create(session_id="old")
    assert service.stop() == 0
    for companion in ("-wal", "-shm"):
        (service.data_dir / (DATABASE + companion)).unlink(missing_ok=True)
    damage(service.data_dir / DATABASE)
    content = (service.data_dir / DATABASE).read_bytes()
    since = service.mark()
    service.start()
    warnings = [line for line in service.messages(since) if DATABASE in line]
    assert len(warnings) == 1, warnings
    assert warnings[0].startswith("WARNING: ")
    aside = [path for path in service.data_dir.iterdir() if f" was renamed to {path};" in warnings[0]]
    assert [path.read_bytes() for path in aside] == [content]
    service.create(session_id="new")
    service.kill()
    service.start()
    assert service.listed().keys() == {"new"}


@pytest.mark.exhaustive
def test_after_damage_to_the_database_no_browser_is_left_without_an_owner(
    start_service: StartService,
) -> None:
    service = start_service(watch_interval=0)
    before = service.create(session_id="old")
    service.kill()
    write_garbage(service.data_dir / DATABASE)
    service.start()
    assert service.listed() == {}
    assert living([before["driver"]["pid"], before["browser"]["pid"]]) == set()
    assert is_accounted_for(service)


@pytest.fixture
def unrelated_process() -> Iterator[psutil.Process]:
    """Yield a process that has nothing to do with the service."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield psutil.Process(process.pid)
    assert process.poll() is None, "an unrelated process was ended"
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def started(pid: int) -> float:
    """Return the start time that distinguishes a process from a later one with its pid."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(sys.platform != "linux", reason="start times are compared as Linux counts them")
@pytest.mark.exhaustive
def test_after_a_boot_or_pid_reuse_sessions_are_restored_and_no_other_process_is_signalled(
    start_service: StartService, pages: Pages, unrelated_process: psutil.Process
) -> None:
    service = start_service(watch_interval=0)
    sessions = [service.create(session_id=name) for name in ("booted", "reused")]
    for session in sessions:
        create_saved_state(session, pages)
    wait_until_saved()
    service.kill()
    for session in sessions:
        kill(session["driver"]["pid"], session["browser"]["pid"])

    def after_a_boot(document: dict[str, Any]) -> None:
        same_process = {"pid": unrelated_process.pid, "started": started(unrelated_process.pid)}
        document["running"] |= {"driver": same_process, "browser": same_process}
        document["boot_id"] = "00000000-0000-0000-0000-000000000000"

    def after_pid_reuse(document: dict[str, Any]) -> None:
        older = {"pid": unrelated_process.pid, "started": started(unrelated_process.pid) - 5}
        document["running"] |= {"driver": older, "browser": older}

    edit_record(service, after_a_boot, "booted")
    edit_record(service, after_pid_reuse, "reused")
    service.start()
    assert unrelated_process.status() != psutil.STATUS_ZOMBIE
    for session_id in ("booted", "reused"):
        after = service.listed()[session_id]
        assert after["last_recovery"]["method"] == "restored"
        assert unrelated_process.pid not in {after["driver"]["pid"], after["browser"]["pid"]}
        assert_saved_state(after, pages)


@pytest.mark.exhaustive
def test_a_profile_removed_while_the_service_was_dead_is_recreated(
    start_service: StartService, pages: Pages
) -> None:
    service = start_service(watch_interval=0)
    before = service.create(session_id="bare")
    create_saved_state(before, pages)
    wait_until_saved()
    folder, pids = folder_of(before), pids_of(before)
    service.kill()
    kill(*pids)
    shutil.rmtree(folder)
    service.start()
    after = expect(service.get("/sessions/bare"))["session"]
    assert_saved_state(after, pages)
