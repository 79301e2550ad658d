"""Start, reattach and stop with a ChromeDriver that misbehaves; nothing is ever left behind."""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psutil
import pytest

from drover.browser import driver_client, driver_processes, installed, reattach, start_diagnostics
from drover.browser import launcher as module
from drover.browser.binaries import Binaries
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.devtools import DevTools
from drover.browser.driver_processes import drivers_of
from drover.browser.installed import InstalledBrowser
from drover.browser.launcher import Launcher, describe
from drover.browser.reattach import Attachment, Reattacher
from drover.browser.running_browser import RunningBrowser
from drover.browser.start_diagnostics import ChromeDied, StartInterrupted, start_failure
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, SessionLost
from drover.processes.table import ProcessIdentity, identify, snapshot
from drover.storage.session_folders import SessionFolder, SessionFolders
from tests.integration.fake_chromedriver import BIND_FAILED, CHROME, START_ERROR, Fault, install
from tests.integration.service_harness import StubDevTools, stop_program
from tests.machine import free_port, is_living, kill, living, marked, wait_gone, wait_until
from tests.systems import NEEDS_MODES, NEEDS_SCRIPTS


class Bench:
    """A launcher over the fake ChromeDriver, and one session's folder."""

    def __init__(self, folder: Path) -> None:
        home = folder / "fake"
        home.mkdir()
        self.binaries = Binaries(chrome=home / "bin" / CHROME, chromedriver=install(home))
        self.launcher = Launcher(
            InstalledBrowser(lambda: self.binaries, lambda found: found),
            StubDevTools().connecting,
            headless=True,
            no_sandbox=True,
            chrome_args=(),
        )
        self.reattacher = Reattacher(self.launcher, cast("DevTools", StubDevTools()))
        self.data_dir = folder / "d"
        self.folders = SessionFolders(self.data_dir)
        self.folders.check()
        self.folder: SessionFolder = self.folders.choose()
        self.folders.make(self.folder)
        self._control = home / "control"

    def set_fault(self, fault: Fault) -> None:
        self._control.write_text(fault.value, encoding="utf-8")

    def start(self, seconds: float = 30.0) -> RunningBrowser:
        return self.launcher.start(self.folder, CheckedCapabilities({}), Deadline(seconds), lambda: True)

    def reattach(self, running: RunningBrowser) -> RunningBrowser:
        session = Attachment(self.folder, running, CheckedCapabilities({}))
        return self.reattacher.reattach(session, Deadline(30), lambda: True).running

    def pids(self) -> set[int]:
        return {process.pid for process in marked(self.data_dir)}


@pytest.fixture
def bench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(module, "GRACE_S", 0.5)
    bench = Bench(folder)
    yield bench
    bench.set_fault(Fault.NONE)
    kill(marked(bench.data_dir))
    bench.launcher.reap()


def test_every_process_of_a_browser_carries_the_mark_and_is_ended(bench: Bench) -> None:
    running = bench.start()
    pids = bench.pids()
    assert pids >= running.pids
    # A program of the fake is two processes on Windows.
    assert len(pids) == (3 if sys.platform != "win32" else 5)
    assert bench.launcher.unavailable is None
    bench.launcher.stop(bench.folder, running)
    assert bench.pids() == set()
    assert not living(pids)


def test_chromedriver_has_its_own_process_session_and_temp_folder_and_no_drover_variables(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROVER_API_TOKEN", "secret")
    running = bench.start()
    if sys.platform != "win32":
        assert os.getsid(running.driver.pid) == running.driver.pid
    for pid in running.pids:
        environ = psutil.Process(pid).environ()
        assert not [name for name in environ if name.startswith("DROVER_")]
        temps = {environ[name] for name in ("TMPDIR", "MAC_CHROMIUM_TMPDIR", "TMP", "TEMP")}
        assert temps == {str(bench.folder.temp)}
        assert environ["BREAKPAD_DUMP_LOCATION"] == str(bench.folder.crashes)
    bench.launcher.stop(bench.folder, running)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.REFUSES_TO_START, START_ERROR),
        (Fault.PORT_TAKEN, BIND_FAILED),
        (Fault.NEVER_READY, "ChromeDriver did not listen within"),
        pytest.param(Fault.NOT_ACCEPTING, "did not answer within", marks=pytest.mark.exhaustive),
        (Fault.HUNG, "did not answer within"),
        (Fault.DIES_AT_NEW_SESSION, "ChromeDriver does not answer"),
        (Fault.REFUSES_SESSION, "Chrome failed to start: exited"),
        (Fault.BROWSER_DIES_AT_START, "Chrome instance exited"),
        (Fault.ANSWERS_GARBAGE, "No browser could be started"),
        (Fault.ANSWERS_HTML, "No browser could be started"),
    ],
)
def test_a_failed_start_leaves_no_process_and_reports_cause_and_remedy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: Fault, words: str
) -> None:
    monkeypatch.setattr(driver_processes, "DRIVER_START_S", 1.0 if fault is Fault.NEVER_READY else 10.0)
    bench.set_fault(fault)
    with pytest.raises(BrowserUnavailable) as failure:
        bench.start(seconds=5.0 if fault in {Fault.NOT_ACCEPTING, Fault.HUNG} else 30.0)
    assert words in failure.value.message
    assert "retry" in failure.value.message
    assert bench.launcher.unavailable == failure.value.message
    assert bench.pids() == set()
    assert bench.folders.remove(bench.folder)


@pytest.mark.parametrize("fault", [Fault.DIES_ONCE, Fault.BROWSER_DIES_ONCE])
def test_what_dies_once_during_a_start_is_started_once_more(bench: Bench, fault: Fault) -> None:
    bench.set_fault(fault)
    running = bench.start()
    assert bench.launcher.unavailable is None
    bench.launcher.stop(bench.folder, running)
    assert bench.pids() == set()


def test_a_chrome_that_exits_when_chromedriver_has_just_answered_has_died() -> None:
    own = identify(os.getpid())
    assert own is not None
    answer: dict[str, Any] = {"sessionId": "one", "capabilities": {}}
    with pytest.raises(driver_client.CommandFailed) as failed:
        describe(own, "http://127.0.0.1:1", answer, own, f"127.0.0.1:{free_port()}")
    assert isinstance(start_failure("why", failed.value), ChromeDied)


def test_a_profile_is_at_fault_only_if_chrome_itself_dies_on_it_twice(bench: Bench) -> None:
    faults = iter([Fault.DIES_ONCE, Fault.REFUSES_SESSION])

    def wanted() -> bool:
        fault = next(faults, None)
        if fault is not None:
            bench.set_fault(fault)
        return True

    with pytest.raises(StartInterrupted):
        bench.launcher.start(bench.folder, CheckedCapabilities({}), Deadline(30), wanted)
    with pytest.raises(ChromeDied):
        bench.start()


def test_a_start_that_works_again_clears_the_failure(bench: Bench) -> None:
    bench.set_fault(Fault.REFUSES_SESSION)
    with pytest.raises(BrowserUnavailable):
        bench.start()
    bench.set_fault(Fault.NONE)
    running = bench.start()
    assert bench.launcher.unavailable is None
    bench.launcher.stop(bench.folder, running)


def test_a_full_disk_is_an_obstacle_to_the_next_start(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.set_fault(Fault.REFUSES_SESSION)
    with pytest.raises(BrowserUnavailable):
        bench.start()
    assert bench.launcher.obstacle() is None
    monkeypatch.setattr(start_diagnostics, "ENOUGH_DISK_MB", 10**9)
    obstacle = str(bench.launcher.obstacle())
    assert obstacle.startswith("Disk full: ")
    assert str(bench.folder.path.parent) in obstacle


class FakeBinaryFinder:
    """Finds Chrome and ChromeDriver once they are installed; the search can be blocked."""

    def __init__(self, binaries: Binaries) -> None:
        self.binaries = binaries
        self.have_come = False
        self.calls = 0
        self.open = threading.Event()
        self.open.set()
        self.launcher = Launcher(
            InstalledBrowser(self.find, lambda found: found),
            StubDevTools().connecting,
            headless=True,
            no_sandbox=True,
            chrome_args=(),
        )

    def find(self) -> Binaries:
        self.calls += 1
        assert self.open.wait(30)
        if not self.have_come:
            raise BrowserUnavailable("no Chrome was found")
        return self.binaries


def test_a_browser_installed_later_is_found(bench: Bench) -> None:
    finder = FakeBinaryFinder(bench.binaries)
    launcher = finder.launcher
    launcher.check()
    assert launcher.unavailable == "no Chrome was found"
    finder.have_come = True
    assert launcher.obstacle() is None
    assert launcher.obstacle() is None
    assert finder.calls == 2


def test_concurrent_callers_share_one_search_for_programs(bench: Bench) -> None:
    finder = FakeBinaryFinder(bench.binaries)
    launcher = finder.launcher
    finder.open.clear()
    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(launcher.obstacle) for _ in range(3)]
        wait_until(lambda: finder.calls == 1, "the first search has started")
        wait_until(lambda: sum(search.running() for search in searches) == 3, "the others wait")
        time.sleep(0.1)
        finder.open.set()
        assert {search.result(30) for search in searches} == {"no Chrome was found"}
    assert finder.calls == 1


def test_waiting_for_the_search_of_another_caller_ends_at_the_deadline(bench: Bench) -> None:
    finder = FakeBinaryFinder(bench.binaries)
    launcher = finder.launcher
    finder.open.clear()
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(launcher.obstacle)
        wait_until(lambda: finder.calls == 1, "the first search has started")
        with pytest.raises(BrowserUnavailable, match="still being downloaded; retry later"):
            launcher.start(bench.folder, CheckedCapabilities({}), Deadline(0.1), lambda: True)
        finder.open.set()
        assert search.result(30) == "no Chrome was found"


def test_a_failed_start_is_attributed_to_mismatched_programs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "versions", lambda _: ("156.0", "150.0"))
    problem = bench.launcher.check()
    assert problem is not None
    assert bench.launcher.unavailable is None
    bench.set_fault(Fault.REFUSES_SESSION)
    with pytest.raises(BrowserUnavailable) as failure:
        bench.start()
    assert failure.value.message.endswith(f"{problem}, then retry")


def test_a_start_that_fails_by_chromes_version_is_tried_once_more_with_a_matching_chromedriver(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_once(*arguments: Any) -> dict[str, Any]:  # noqa: ANN401
        asked.append("session")
        if len(asked) == 1:
            raise driver_client.CommandFailed(
                "session not created: This version of ChromeDriver only supports Chrome version 99"
            )
        return new_session(*arguments)

    def matching(_: Deadline) -> bool:
        asked.append("match")
        return True

    asked: list[str] = []
    new_session = driver_client.new_session
    monkeypatch.setattr(driver_client, "new_session", refuse_once)
    monkeypatch.setattr(bench.launcher.installed, "match", matching)
    running = bench.start()
    assert asked == ["session", "match", "session"]
    assert bench.launcher.unavailable is None
    bench.launcher.stop(bench.folder, running)


def test_chrome_is_found_below_a_chromedriver_that_does_not_name_its_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_pid(*arguments: Any) -> dict[str, Any]:  # noqa: ANN401
        answer = new_session(*arguments)
        pids.append(answer["capabilities"].pop("goog:processID"))
        return answer

    pids: list[int] = []
    new_session = driver_client.new_session
    monkeypatch.setattr(driver_client, "new_session", without_pid)
    running = bench.start()
    assert [running.browser.pid] == pids
    bench.launcher.stop(bench.folder, running)


def test_a_program_that_prints_no_version_cannot_be_started(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "versions", lambda _: ("156.0", ""))
    assert bench.launcher.check() is None
    assert re.search(r"chromedriver(\.exe)? --version` failed", str(bench.launcher.unavailable))


def test_a_driver_whose_port_is_taken_is_started_again(bench: Bench) -> None:
    faults = iter([Fault.PORT_TAKEN, Fault.PORT_TAKEN, Fault.NONE])

    def wanted() -> bool:
        bench.set_fault(next(faults))
        return True

    running = bench.launcher.start(bench.folder, CheckedCapabilities({}), Deadline(30), wanted)
    assert next(faults, None) is None
    bench.launcher.stop(bench.folder, running)
    assert bench.pids() == set()


@pytest.mark.skipif(sys.platform == "win32", reason="an exit code of Windows does not say who ended it")
def test_a_driver_killed_before_it_listens_is_started_again(bench: Bench) -> None:
    bench.set_fault(Fault.NEVER_READY)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(bench.start)
        (driver,) = wait_until(lambda: drivers_of(bench.folder, snapshot()), "a ChromeDriver runs")
        bench.set_fault(Fault.NONE)
        psutil.Process(driver.pid).kill()
        running = started.result()
    assert running.driver != driver
    bench.launcher.stop(bench.folder, running)
    assert bench.pids() == set()


@NEEDS_MODES
def test_an_executable_that_cannot_be_run_is_named_in_the_error(bench: Bench) -> None:
    path = bench.binaries.chromedriver
    path.chmod(0o600)
    with pytest.raises(BrowserUnavailable, match=f"{path}.*DROVER_CHROMEDRIVER"):
        bench.start()


def test_an_output_file_that_cannot_be_written_is_reported_as_full_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.folder.driver_output.mkdir()
    with pytest.raises(BrowserUnavailable, match=r"cannot be written .*free some disk space, then retry"):
        bench.start()
    assert bench.pids() == set()


class WithoutIPv6(socket.socket):
    """A socket on a machine whose loopback interface has no ::1."""

    def bind(self, address: Any, /) -> None:  # noqa: ANN401
        if address[0] == "::1":
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        super().bind(address)


def test_without_ipv6_the_port_is_chosen_for_chromedriver(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", WithoutIPv6)
    port = driver_processes._port_to_ask_for()
    assert port > 0
    running = bench.start()
    arguments = psutil.Process(running.driver.pid).cmdline()
    assert f"--port={urlsplit(running.driver_url).port}" in arguments
    bench.launcher.stop(bench.folder, running)


def test_nothing_is_started_for_a_session_that_is_not_wanted(bench: Bench) -> None:
    with pytest.raises(SessionLost):
        bench.launcher.start(bench.folder, CheckedCapabilities({}), Deadline(30), lambda: False)
    assert not bench.folder.driver_output.exists()


def test_a_cancelled_start_does_not_make_the_service_unhealthy(bench: Bench) -> None:
    bench.set_fault(Fault.REFUSES_SESSION)
    answers = iter([True])
    with pytest.raises(BrowserUnavailable):
        bench.launcher.start(
            bench.folder, CheckedCapabilities({}), Deadline(30), lambda: next(answers, False)
        )
    assert bench.launcher.unavailable is None
    assert bench.pids() == set()


def test_leftovers_of_a_driver_that_died_after_the_start_are_ended_by_the_stop(bench: Bench) -> None:
    bench.set_fault(Fault.DIES_AFTER_SESSION)
    running = bench.start()
    wait_gone({running.driver.pid})
    bench.set_fault(Fault.NONE)
    assert is_living(running.browser.pid)
    bench.launcher.stop(bench.folder, running)
    assert bench.pids() == set()


def test_a_driver_that_ignores_sigterm_is_killed(bench: Bench) -> None:
    bench.set_fault(Fault.IGNORES_TERM)
    running = bench.start()
    bench.launcher.stop(bench.folder, running)
    assert bench.pids() == set()


def test_stopped_processes_are_ended_too(bench: Bench) -> None:
    running = bench.start()
    for pid in running.pids:
        stop_program(pid)
    bench.launcher.stop(bench.folder, running)
    assert bench.pids() == set()


def test_the_mark_alone_finds_every_process(bench: Bench) -> None:
    running = bench.start()
    kill([psutil.Process(running.driver.pid)])
    bench.launcher.stop(bench.folder, None)
    assert bench.pids() == set()


def test_stopping_what_never_ran_does_nothing(bench: Bench) -> None:
    bench.launcher.stop(bench.folder, None)


def test_another_session_of_the_same_service_is_not_touched(bench: Bench) -> None:
    running = bench.start()
    other = bench.folders.choose()
    bench.launcher.stop(other, None)
    assert living(running.pids) == running.pids
    bench.launcher.stop(bench.folder, running)


def test_a_browser_that_outlived_its_driver_is_attached_to_a_new_one(bench: Bench) -> None:
    before = bench.start()
    kill([psutil.Process(before.driver.pid)])
    after = bench.reattach(before)
    assert (after.browser, after.browser_guid) == (before.browser, before.browser_guid)
    assert after.driver != before.driver
    assert after.driver_session_id != before.driver_session_id
    bench.launcher.stop(bench.folder, after)
    assert bench.pids() == set()


def test_a_living_driver_is_ended_before_the_new_one_starts(bench: Bench) -> None:
    before = bench.start()
    stop_program(before.driver.pid)
    after = bench.reattach(before)
    assert not is_living(before.driver.pid)
    bench.launcher.stop(bench.folder, after)


@pytest.mark.parametrize("fault", [Fault.REFUSES_SESSION, Fault.REFUSES_TO_START, Fault.ANSWERS_HTML])
def test_a_failed_attachment_leaves_the_browser_and_no_new_driver(bench: Bench, fault: Fault) -> None:
    running = bench.start()
    kill([psutil.Process(running.driver.pid)])
    bench.set_fault(fault)
    with pytest.raises(BrowserUnavailable):
        bench.reattach(running)
    assert is_living(running.browser.pid)
    assert not [pid for pid in bench.pids() if Path(psutil.Process(pid).exe()).stem == "chromedriver"]
    bench.launcher.stop(bench.folder, running)


def test_another_browser_at_the_old_address_is_not_driven(bench: Bench) -> None:
    running = bench.start()
    with pytest.raises(BrowserUnavailable, match="another browser answers"):
        bench.reattach(replace(running, browser_guid="another browser"))
    assert is_living(running.browser.pid)
    assert not [pid for pid in bench.pids() if Path(psutil.Process(pid).exe()).stem == "chromedriver"]
    bench.launcher.stop(bench.folder, running)


def test_a_driver_that_hangs_is_replaced_by_one_that_gets_more_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reattach, "FIRST_ATTACH_S", 1.0)
    running = bench.start()
    kill([psutil.Process(running.driver.pid)])
    attempts = 0

    def start_driver(*arguments: Any) -> Any:  # noqa: ANN401
        nonlocal attempts
        attempts += 1
        bench.set_fault(Fault.HUNG if attempts == 1 else Fault.NONE)
        return original(*arguments)

    original = bench.launcher.start_driver
    monkeypatch.setattr(bench.launcher, "start_driver", start_driver)
    after = bench.reattach(running)
    assert attempts == 2
    assert after.browser == running.browser
    assert len([pid for pid in bench.pids() if Path(psutil.Process(pid).exe()).stem == "chromedriver"]) == 1
    bench.launcher.stop(bench.folder, after)


def below(root: ProcessIdentity) -> set[int]:
    """Return the pids of a process and all its descendants."""
    return {root.pid, *(child.pid for child in psutil.Process(root.pid).children(recursive=True))}


def staying(bench: Bench, folder: Path, beside: str = "") -> None:
    """Have a script start ChromeDriver, and perhaps something beside it, and stay."""
    script = folder / "start-driver"
    script.write_text(
        f"#!/bin/sh\n{beside}\n'{bench.binaries.chromedriver}' \"$@\"\nexit $?\n", encoding="utf-8"
    )
    script.chmod(0o755)
    bench.binaries = replace(bench.binaries, chromedriver=script)


@NEEDS_SCRIPTS
def test_what_a_script_has_started_beside_chromedriver_ends_with_it(bench: Bench, folder: Path) -> None:
    # Not if it is only asked for its version: nothing would end what it starts then.
    staying(bench, folder, beside='case "$*" in *--port=*) sleep 1000 & ;; esac')
    running = bench.start()
    started, kept = below(running.driver), below(running.browser)
    assert len(started - kept) == 3, "the script, what it has started beside ChromeDriver, and ChromeDriver"
    after = bench.reattach(running)
    assert living(started) == kept
    started = below(after.driver) | kept
    bench.launcher.stop(bench.folder, after)
    assert living(started) == set()


@NEEDS_SCRIPTS
@pytest.mark.parametrize("fault", [Fault.NEVER_READY, Fault.REFUSES_TO_START])
def test_a_failed_start_through_a_script_leaves_nothing(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(driver_processes, "DRIVER_START_S", 1.0)
    staying(bench, folder)
    running = bench.start()
    bench.set_fault(fault)
    with pytest.raises(BrowserUnavailable):
        bench.reattach(running)
    assert is_living(running.browser.pid)
    assert not [pid for pid in bench.pids() if psutil.Process(pid).name() in {"chromedriver", "start-driver"}]
    bench.launcher.stop(bench.folder, running)


@pytest.mark.parametrize(
    ("code", "advice"), [(errno.EAGAIN, "limit of processes"), (errno.ENOENT, "put it back")]
)
def test_why_chromedriver_cannot_be_run_is_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, "no")

    running = bench.start()
    kill([psutil.Process(running.driver.pid)])
    with monkeypatch.context() as patched:
        patched.setattr("drover.browser.driver_processes.subprocess.Popen", refuse)
        with pytest.raises(BrowserUnavailable, match=advice):
            bench.reattach(running)
    assert is_living(running.browser.pid)
    bench.launcher.stop(bench.folder, running)
