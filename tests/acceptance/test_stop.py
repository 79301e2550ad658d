"""The stop is clean, prompt and complete; a second signal ends the service at once."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from tests.acceptance.conftest import StartService
from tests.acceptance.pages import Gate
from tests.acceptance.service import Service, assert_no_trace, assert_nothing_left, expect, expect_error
from tests.cases import first_or_all
from tests.machine import is_listening, living, run_both, run_concurrently, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def terminate(service: Service) -> None:
    """Send what an init system sends."""
    service.send(signal.SIGTERM)


def interrupt(service: Service) -> None:
    """Send what Ctrl-C in a terminal sends."""
    service.interrupt()


@pytest.mark.parametrize("end", first_or_all([terminate, interrupt]))
def test_a_stop_is_clean_and_leaves_nothing(
    start_service: StartService, end: Callable[[Service], None]
) -> None:
    service = start_service()
    run_concurrently([service.create] * 2)
    pids = {process.pid for process in service.processes()}
    end(service)
    assert service.wait_for_exit() == 0
    assert_nothing_left(service)
    assert living(pids) == set()
    assert not is_listening(service.port)


def test_a_stop_without_a_session_is_clean(start_service: StartService) -> None:
    service = start_service()
    assert service.stop() == 0
    assert_nothing_left(service)


def test_stuck_and_dead_sessions_do_not_delay_a_stop(start_service: StartService) -> None:
    service = start_service()
    stuck, bereft, dead = run_concurrently([service.create] * 3)
    pids = {process.pid for process in service.processes()}
    psutil.Process(stuck["browser"]["pid"]).suspend()
    psutil.Process(stuck["driver"]["pid"]).suspend()
    psutil.Process(bereft["driver"]["pid"]).kill()
    psutil.Process(dead["browser"]["pid"]).kill()
    assert service.stop() == 0
    assert_nothing_left(service)
    assert living(pids) == set()


def test_a_request_in_flight_is_answered(start_service: StartService, slow_page: Gate) -> None:
    service = start_service()

    def create() -> requests.Response:
        return service.post("/sessions", json={"url": slow_page.url})

    def stop() -> int:
        slow_page.wait_until_requested()
        return service.stop()

    answer, code = run_both(create, stop)
    if answer.status_code == 503:
        expect_error(answer, 503, "shutting_down")
    else:
        expect(answer, 201)
    assert code == 0
    assert_nothing_left(service)


def test_a_running_start_leaves_nothing(start_service: StartService) -> None:
    service = start_service()

    def create() -> requests.Response:
        return service.post("/sessions", json={})

    def stop() -> int:
        wait_until(service.session_folders, "the session is starting")
        return service.stop()

    answer, code = run_both(create, stop)
    assert answer.status_code in {201, 503}
    assert code == 0
    assert_nothing_left(service)


def test_requests_during_the_stop_get_503_or_are_refused(start_service: StartService) -> None:
    service = start_service()
    run_concurrently([service.create] * 2)
    service.send(signal.SIGTERM)
    while service.is_running():
        try:
            response = service.post("/sessions", json={}, timeout=10)
        except requests.ConnectionError:
            time.sleep(0.01)
            continue
        if response.status_code != 201:
            expect_error(response, 503, "shutting_down")
    assert service.wait_for_exit() == 0
    assert_nothing_left(service)


@pytest.mark.parametrize("first", first_or_all([signal.SIGTERM, signal.SIGINT]))
def test_a_second_signal_ends_it_at_once(
    start_service: StartService, slow_page: Gate, first: signal.Signals
) -> None:
    service = start_service()

    def create() -> None:
        with contextlib.suppress(requests.ConnectionError):
            service.post("/sessions", json={"url": slow_page.url})

    def stop_twice() -> None:
        slow_page.wait_until_requested()
        service.send(first)
        time.sleep(0.1)
        if service.is_running():
            service.send(first)
        service.wait_for_exit(3)

    run_both(create, stop_twice)
    assert_no_trace(service)


@pytest.mark.exhaustive
def test_the_port_and_folder_are_free_after_a_stop(start_service: StartService) -> None:
    service = start_service()
    service.create()
    assert service.stop() == 0
    service.start()
    assert service.listed() == {}
    service.create()


@pytest.mark.exhaustive
def test_a_stop_signal_that_was_inherited_as_blocked_stops_the_service(folder: Path) -> None:
    service = Service(folder)
    blocking = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT});"
        " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    service.command = [sys.executable, "-c", blocking, *service.command[1:]]
    service.start()
    assert service.stop() == 0
    assert_nothing_left(service)


@pytest.mark.exhaustive
def test_a_hangup_that_is_ignored_from_the_start_ends_nothing(folder: Path) -> None:
    service = Service(folder)
    service.command = ["nohup", *service.command]
    service.start()
    service.send(signal.SIGHUP)
    assert service.get("/health").status_code == 200
    assert service.stop() == 0


@pytest.mark.exhaustive
def test_a_log_that_nobody_reads_delays_neither_sessions_nor_cleanups_nor_the_stop(folder: Path) -> None:
    service = Service(folder, log_level="debug")
    reading, writing = os.pipe()
    logging_there = (
        f"import os, sys; os.dup2({writing}, 2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    service.command = [sys.executable, "-c", logging_there, *service.command[1:]]
    os.set_inheritable(writing, True)
    service.pass_fds = (writing,)
    try:
        service.start()
        while select.select([], [writing], [], 0)[1]:
            os.write(writing, bytes(4096))
        for _ in range(3):
            service.create()
            expect(service.post("/cleanup_orphaned_processes"), 200)
        for session_id in service.listed():
            expect(service.delete(f"/sessions/{session_id}"), 200)
        assert service.stop() == 0
    finally:
        for descriptor in (reading, writing):
            os.close(descriptor)
    assert_nothing_left(service)


@pytest.mark.exhaustive
def test_a_lock_file_that_cannot_be_touched_any_more_does_not_keep_the_service_running(
    start_service: StartService,
) -> None:
    service = start_service()
    service.create()
    # An immutable file refuses a new modification time, as a file system that became read-only does.
    lock = service.data_dir / "lock"
    made = subprocess.run(["chattr", "+i", str(lock)], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("this file system has no immutable files, or this user may not make them")
    try:
        assert service.stop() == 0
        assert any("the lock of the data folder failed" in line for line in service.logs())
        assert not any("INFO: Stopped" in line for line in service.logs())
    finally:
        subprocess.run(["chattr", "-i", str(lock)], check=True)


def test_a_stop_during_the_start_says_neither_ready_nor_stopped_before_it_is_true(folder: Path) -> None:
    service = Service(folder)
    service.launch()
    service.wait_for_log("Orphaned process cleanup triggered")
    service.send(signal.SIGTERM)
    assert service.wait_for_exit() == 0
    lines = [line.partition(": ")[2] for line in service.logs()]
    stopping = next(number for number, line in enumerate(lines) if line.startswith("Stopping ("))
    assert not any("is ready at" in line for line in lines[stopping:])
    assert lines[-1] == "Stopped"
