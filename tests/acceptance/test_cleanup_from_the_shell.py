"""The cleanup for cron: `app.py cleanup` and `app.py processes`, with and without a running instance."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from drover.storage.instance_lock import InstanceLock
from tests.acceptance.cleanups import (
    ENDS_LEFTOVERS,
    ENDS_LEFTOVERS_ALONE,
    LONG_AGO_S,
    abandon,
    killed_pids,
    main_pids,
)
from tests.acceptance.conftest import StartService
from tests.acceptance.foreign_programs import start_automation, start_chrome
from tests.acceptance.service import APP, Json, Service, running, variables
from tests.cases import first_or_all
from tests.machine import free_port, is_living, kill, living, marked

pytestmark = [
    ENDS_LEFTOVERS_ALONE,
    pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals"),
]

DONE, INCOMPLETE, REFUSED, NO_ANSWER = range(4)
TIMEOUT_S: Final = 30.0
LEFT: Final = {
    "success": False,
    "message": "Cleaned up 0 orphaned processes",
    "error": "These processes could not be ended: PID 4711. "
    "See `failed` for the reasons, then end them manually.",
    "code": "cleanup_incomplete",
    "killed_count": 0,
    "active_sessions": 0,
    "killed": [],
    "failed": [{"pid": 4711, "name": "chromedriver", "role": "driver", "reason": "it is still there"}],
    "removed_profiles": 0,
    "freed_mb": 0.0,
    "duration_ms": 1,
    "dry_run": False,
}


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that ends what a long-dead instance left."""
    with running(**ENDS_LEFTOVERS) as service:
        yield service


class Shell:
    """Runs `app.py` as cron does, for one data folder."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.settings = {
            "port": free_port(),
            "data_dir": folder / "d",
            "cleanup_scope": "owned",
        } | settings

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run it to its end, and return its exit code and output."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DROVER_")}
        return subprocess.run(
            [sys.executable, str(APP), *arguments],
            env=clean | variables(**(self.settings | settings)),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=TIMEOUT_S,
            check=False,
        )

    def json(self, *arguments: str, **settings: object) -> Json:
        """Run it with --json, assert success, and return its output."""
        done = self.run(*arguments, "--json", **settings)
        assert done.returncode == DONE, done.stderr
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        assert answer["success"] is True
        return answer


@pytest.fixture
def without_instance(folder: Path) -> Shell:
    """Return a shell whose data folder no instance uses."""
    return Shell(folder)


@pytest.fixture
def with_instance(service: Service) -> Shell:
    """Return a shell whose data folder a running instance uses."""
    return Shell(service.folder, port=service.port, data_dir=service.data_dir)


@contextlib.contextmanager
def instance_with_fixed_response(shell: Shell, status: int, body: Mapping[str, object]) -> Iterator[None]:
    """Hold the lock of a data folder, and give every request the same answer."""
    data_dir = shell.folder / "d"
    data_dir.mkdir()

    class FixedResponse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            return

    port = shell.settings["port"]
    assert isinstance(port, int)
    lock = InstanceLock(data_dir)
    lock.acquire()
    with ThreadingHTTPServer(("127.0.0.1", port), FixedResponse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()
    lock.release()


def test_with_a_running_instance_sessions_stay_and_orphans_end(
    service: Service, with_instance: Shell, start_service: StartService
) -> None:
    session = service.create()
    other = start_service()
    stay = main_pids(other.create())
    left = abandon(other)
    planned = with_instance.json("cleanup", "--dry-run")
    assert stay <= killed_pids(planned)
    assert (planned["dry_run"], planned["active_sessions"], planned["killed_count"]) == (True, 1, 0)
    assert living(stay) == stay
    done = with_instance.json("cleanup")
    assert stay <= killed_pids(done)
    assert (done["dry_run"], done["active_sessions"]) == (False, 1)
    assert living(left) == set()
    assert living(main_pids(session)) == main_pids(session)
    service.wait_for_log("Orphaned process cleanup triggered")


@pytest.mark.exhaustive
def test_with_a_running_instance_processes_are_listed_with_their_sessions(
    service: Service, with_instance: Shell
) -> None:
    session = service.create(session_id="mine")
    rows = {row["pid"]: row for row in with_instance.json("processes")["processes"]}
    assert {rows[pid]["session_id"] for pid in main_pids(session)} == {"mine"}
    table = with_instance.run("processes")
    assert table.returncode == DONE
    head, *lines = table.stdout.splitlines()
    assert head.split() == ["PID", "VERDICT", "ROLE", "NAME", "MEMORY_MB", "WHY"]
    line = next(line for line in lines if line.startswith(f"{session['driver']['pid']} "))
    assert line.split()[1:4] == ["protected", "driver", "chromedriver"]
    assert "session mine" in line


def test_without_an_instance_leftovers_of_a_dead_one_are_ended(
    without_instance: Shell, start_service: StartService
) -> None:
    other = start_service()
    stay = main_pids(other.create())
    left = abandon(other)
    planned = without_instance.json("cleanup", "--dry-run")
    assert stay <= killed_pids(planned)
    assert living(stay) == stay
    done = without_instance.json("cleanup")
    assert stay <= killed_pids(done)
    assert (done["killed_count"], done["active_sessions"]) == (len(done["killed"]), 0)
    assert living(left) == set()


@pytest.mark.exhaustive
def test_without_an_instance_sessions_of_the_data_folder_are_spared(start_service: StartService) -> None:
    service = start_service()
    session = service.create(session_id="kept")
    service.kill()
    long_ago = time.time() - LONG_AGO_S
    os.utime(service.data_dir / "lock", (long_ago, long_ago))
    shell = Shell(service.folder, data_dir=service.data_dir)
    folders = service.session_folders()
    done = shell.json("cleanup")
    assert not main_pids(session) & killed_pids(done)
    assert done["removed_profiles"] == 0
    assert living(main_pids(session)) == main_pids(session)
    assert service.session_folders() == folders
    service.start()
    assert service.listed()["kept"]["browser"]["pid"] == session["browser"]["pid"]


def test_without_an_instance_foreign_chrome_and_working_scripts_are_spared(
    without_instance: Shell, folder: Path
) -> None:
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    chrome = start_chrome(home, "--remote-debugging-port=0")
    script = start_automation(work)
    try:
        stay = {chrome.pid, script.driver, script.browse()}
        listed = {row["pid"]: row["verdict"] for row in without_instance.json("processes")["processes"]}
        assert {listed[pid] for pid in stay} == {"foreign"}
        assert not stay & killed_pids(without_instance.json("cleanup"))
        assert living(stay) == stay
    finally:
        script.finish()
        kill(marked(home))
        chrome.communicate()


@pytest.mark.system_wide
def test_without_an_instance_scope_system_ends_a_foreign_driver_and_prints_a_table(
    without_instance: Shell, folder: Path
) -> None:
    script = start_automation(folder)
    try:
        browser = script.browse()
        done = without_instance.run("cleanup", cleanup_scope="system")
        assert done.returncode == DONE
        assert living({script.driver, browser}) == set()
        first, _, head, *rest = done.stdout.splitlines()
        assert first.startswith("Cleaned up ")
        assert head.split() == ["PID", "ROLE", "NAME", "WHY"]
        assert any(line.startswith(f"{script.driver} ") and "without a session" in line for line in rest)
        assert rest[-1].startswith("Removed: ")
        assert f"Killing orphaned ChromeDriver process: PID {script.driver}" in done.stderr
    finally:
        script.finish()


def test_without_an_instance_no_data_folder_is_created_and_stdout_has_only_the_report(
    without_instance: Shell,
) -> None:
    done = without_instance.run("cleanup", "--dry-run", "--json")
    assert done.returncode == DONE
    assert json.loads(done.stdout)["dry_run"] is True
    assert not (without_instance.folder / "d").exists()


@pytest.mark.exhaustive
def test_processes_that_could_not_be_ended_give_exit_code_one(without_instance: Shell) -> None:
    with instance_with_fixed_response(without_instance, 500, LEFT):
        done, as_json = without_instance.run("cleanup"), without_instance.run("cleanup", "--json")
    assert (done.returncode, as_json.returncode) == (INCOMPLETE, INCOMPLETE)
    assert json.loads(as_json.stdout) == LEFT
    assert "Could not be ended:" in done.stdout
    assert "4711  driver  chromedriver  it is still there" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        (["cleanup", "--dry_run"], {}, "--dry_run"),
        (["cleanup", "everything"], {}, "everything"),
        (["cleanup"], {"cleanup_scope": "banana"}, "DROVER_CLEANUP_SCOPE"),
        (["processes"], {"adopt_grace": "-1"}, "DROVER_ADOPT_GRACE"),
    ],
)
def test_a_wrong_argument_or_setting_is_named_with_exit_code_two(
    without_instance: Shell, arguments: list[str], settings: dict[str, object], named: str
) -> None:
    done = without_instance.run(*arguments, **settings)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", first_or_all(["cleanup", "processes"]))
def test_an_instance_that_does_not_answer_gives_exit_code_three(
    service: Service, with_instance: Shell, command: str
) -> None:
    session = service.create()
    done = with_instance.run(command, port=free_port())
    assert (done.returncode, done.stdout) == (NO_ANSWER, "")
    assert "does not answer" in done.stderr
    assert "DROVER_PORT" in done.stderr
    assert "Traceback" not in done.stderr
    assert is_living(session["browser"]["pid"])


@pytest.mark.exhaustive
def test_an_instance_that_refuses_gives_exit_code_three(without_instance: Shell) -> None:
    with instance_with_fixed_response(
        without_instance, 401, {"success": False, "error": "a token is needed"}
    ):
        done = without_instance.run("cleanup")
    assert (done.returncode, done.stdout) == (NO_ANSWER, "")
    assert "a token is needed" in done.stderr


def test_the_help_names_the_commands_and_the_exit_codes(without_instance: Shell) -> None:
    text = without_instance.run("--help").stdout
    assert "cleanup" in text
    assert "processes" in text
    assert "exit codes:" in text
