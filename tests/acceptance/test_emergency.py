"""The emergency ends every Chrome of the machine, and the service is ready again at once.

Each of these tests ends Chrome processes that it did not start.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import psutil
import pytest
import requests

from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.service import APP, Json, Service, assert_no_trace, expect, pids_of
from tests.acceptance.unrelated_processes import start_look_alikes, start_own_chrome, start_script
from tests.machine import family, is_living, kill, living, marked, run_concurrently, short_folder, wait_gone

pytestmark = [
    pytest.mark.system_wide,
    pytest.mark.skipif(sys.platform == "win32", reason="stops with POSIX signals"),
]

EMERGENCY: Final = "/emergency_recovery"


@pytest.fixture
def look_alikes(folder: Path) -> Iterator[set[int]]:
    """Run look-alikes of Chrome; yield the pids."""
    started = start_look_alikes(folder)
    yield {process.pid for process in started}
    kill([psutil.Process(process.pid) for process in started if process.poll() is None])
    for process in started:
        process.wait()


def recover(service: Service) -> Json:
    """Call the emergency and check the fields of the answer."""
    answer = expect(service.post(EMERGENCY))
    count = answer["killed_count"]
    said = f"Emergency recovery completed - killed {count} processes and cleared all sessions"
    assert answer["message"] == said
    assert answer["warning"] == "All Chrome browsers have been closed"
    assert answer["active_sessions"] == 0
    assert (len(answer["killed"]), answer["failed"]) == (count, [])
    assert answer["removed_profiles"] >= 0
    assert answer["duration_ms"] >= 0
    return answer


def test_all_chrome_processes_end_and_no_others(
    service: Service, folder: Path, look_alikes: set[int]
) -> None:
    sessions = [service.create(key="kept?"), service.create()]
    home = folder / "foreign"
    home.mkdir()
    foreign_script = start_script(home)
    own = start_own_chrome(home)
    pids = pids_of(sessions[0]) | pids_of(sessions[1]) | foreign_script.pids() | family(own.pid)
    since = service.mark()
    answer = recover(service)
    assert living(pids) == set()
    assert {entry["pid"] for entry in answer["killed"]} <= pids | {e["pid"] for e in answer["killed"]}
    assert {foreign_script.driver, foreign_script.browser, own.pid} <= {
        entry["pid"] for entry in answer["killed"]
    }
    assert living(look_alikes) == look_alikes
    assert service.is_running()
    assert service.listed() == {}
    assert service.session_folders() == []
    assert answer["removed_profiles"] >= 2
    service.expect_log(
        [
            r"WARNING: 🚨 EMERGENCY RECOVERY: Killing ALL Chrome instances",
            rf"WARNING: 🚨 Emergency recovery killed {answer['killed_count']} processes",
            r"INFO: 🗑️ Cleared all session data",
        ],
        since,
    )
    service.wait_for_log(f"INFO: Killing ChromeDriver process: PID {sessions[0]['driver']['pid']}", since)
    service.wait_for_log(f"INFO: Killing Chrome process: PID {own.pid}", since)
    foreign_script.leave()
    kill(marked(folder))
    own.wait()


def test_every_kind_of_chrome_is_recognised_by_its_executable(service: Service, folder: Path) -> None:
    sleep = os.path.realpath(shutil.which("sleep") or "/bin/sleep")
    names = ("chrome", "chromium-browser", "chrome-headless-shell", "chromedriver", "undetected_chromedriver")
    started = [subprocess.Popen([shutil.copy(sleep, str(folder / name)), "600"]) for name in names]
    answer = recover(service)
    killed = {entry["pid"]: entry["name"] for entry in answer["killed"]}
    try:
        assert {killed.get(process.pid) for process in started} == set(names)
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_service_named_chrome_that_runs_below_a_chrome_survives(folder: Path) -> None:
    shell, interpreter = folder / "chrome", folder / "chromedriver"
    shutil.copy(os.path.realpath("/bin/sh"), shell)
    shutil.copy(os.path.realpath(sys.executable), interpreter)
    service = Service(short_folder())
    forward = "trap 'kill -TERM $pid' TERM; \"$@\" & pid=$!; wait $pid; wait $pid"
    service.command = [str(shell), "-c", forward, "sh", str(interpreter), str(APP)]
    service.environment = {"PYTHONHOME": sys.base_prefix, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        service.start()
        recover(service)
        assert service.listed() == {}
        service.finish()
    finally:
        service.reap()


def test_keys_lead_to_new_sessions_right_after_it(service: Service) -> None:
    before = service.create(key="account")
    recover(service)
    after = expect(service.post("/sessions", json={"key": "account"}), 201)
    assert after["session"]["browser"]["pid"] != before["browser"]["pid"]
    assert after["session"]["recoveries"] == 0
    assert Driver(after["session"]).run("return 6 * 7") == 42


def test_stopped_processes_are_ended_too(service: Service) -> None:
    session = service.create()
    pids = pids_of(session)
    psutil.Process(session["browser"]["pid"]).suspend()
    psutil.Process(session["driver"]["pid"]).suspend()
    recover(service)
    assert living(pids) == set()


def test_without_a_chrome_it_reports_zero_kills(service: Service) -> None:
    recover(service)
    assert recover(service)["killed_count"] == 0


def test_sessions_of_another_instance_are_ended_too(service: Service, start_service: StartService) -> None:
    other = start_service()
    theirs = pids_of(other.create(session_id="theirs"))
    recover(service)
    assert living(theirs) == set()
    assert expect(other.get("/sessions/theirs"))["recovered"] is True


def test_a_start_during_it_is_answered_and_leaves_nothing(service: Service) -> None:
    def create(number: int) -> requests.Response:
        return service.post("/sessions", json={"session_id": f"s{number}"})

    def call_emergency() -> requests.Response:
        service.post("/sessions", json={"session_id": "first"})
        return service.post(EMERGENCY)

    calls: list[Callable[[], requests.Response]] = [partial(create, number) for number in range(4)]
    *created, emergency = run_concurrently([*calls, call_emergency])
    assert expect(emergency)["failed"] == []
    for response in created:
        assert response.status_code in {201, 503}
        expect(response, response.status_code)
    listed = service.listed()
    known = set().union(*(pids_of(session) for session in listed.values())) if listed else set()
    assert {process.pid for process in service.processes()} <= known
    assert len(service.session_folders()) == len(listed)
    for session_id in listed:
        assert is_living(expect(service.get(f"/sessions/{session_id}"))["session"]["browser"]["pid"])


def test_a_retrieval_during_it_is_answered(service: Service) -> None:
    session = service.create(session_id="torn")
    pids = pids_of(session)
    answers = run_concurrently(
        [
            lambda: service.post(EMERGENCY),
            *([lambda: service.get("/sessions/torn")] * 5),
            *([lambda: service.delete("/sessions/torn")] * 2),
        ]
    )
    expect(answers[0])
    for response in answers[1:]:
        assert response.status_code in {200, 404, 503}
        expect(response, response.status_code)
    wait_gone(pids)
    assert_no_trace(service)
