"""A complete service over the fake ChromeDriver, which can end only processes of its own test."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from drover.browser.browsers import DEFAULT
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.dialogs import DialogAnswers
from drover.browser.health import Page, pages
from drover.browser.page_targets import BrowserSignals, PageTarget
from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import Deadline
from drover.core.settings import Settings
from drover.processes.table import ProcessRow, ProcessTable, snapshot
from drover.server.service import Drover
from drover.sessions.pool.acquire_request import Acquired, AcquireRequest
from tests.integration.fake_chromedriver import CHROME, COMMANDS, Fault, install
from tests.machine import marked, wait_until
from tests.unit.examples import EventRecorder

TIMEOUT_S = 60.0
OWN_COMMANDS = ("GET /timeouts", "GET /window", "POST /window", "DELETE /")
T = TypeVar("T")


class StubConnection:
    """A DevTools connection to a browser without DevTools: no signals, every command fails."""

    alive = True
    seen = BrowserSignals()
    pages = (PageTarget("P1", watched=True),)
    own_pages: frozenset[str] = frozenset()

    def silent_pages(self, timeout: float) -> tuple[PageTarget, ...]:
        return ()

    def call_pages(self, method: str, timeout: float) -> dict[str, object]:
        return {}

    @contextmanager
    def answering_dialogs(self, _: DialogAnswers) -> Iterator[None]:
        yield

    def call(self, *_: object, **__: object) -> object:
        raise DevToolsFailed("the fake browser has no DevTools")

    call_page = reload_page = call


class StubDevTools:
    """Replaces the DevTools connections: the fake browser speaks no WebSocket."""

    def __init__(self, *_: object) -> None:
        """Take what the DevTools connections take."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def connecting(self, _: Path) -> AbstractContextManager[None]:
        return nullcontext()

    def of(self, _: RunningBrowser) -> StubConnection:
        return StubConnection()

    def seen(self, _: RunningBrowser) -> BrowserSignals:
        return BrowserSignals()

    def pages(self, running: RunningBrowser, timeout: float) -> tuple[Page, ...]:
        return pages(running, timeout)

    def forget(self, browser_guid: str) -> None:
        """Do nothing."""


def _replaced(new: Path, old: Path) -> bool:
    """Replace a file, and return whether that was possible: Windows replaces none that a fake just reads."""
    try:
        new.replace(old)
    except PermissionError:
        return False
    return True


def _is_below_a_launcher(process: psutil.Process) -> bool:
    try:
        return sys.platform == "win32" and process.name() == "python.exe"
    except psutil.NoSuchProcess:
        return True


def stop_program(pid: int) -> None:
    """Stop a process of the fake, as Ctrl-Z does, with the Python below it if it is a launcher of Windows."""
    process = psutil.Process(pid)
    pythons = [child for child in process.children() if child.name() == "python.exe"]
    for one in (process, *pythons):
        one.suspend()


class ServiceHarness:
    """One service, its fake ChromeDriver, and its recorded events."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
        self.home = folder / "fake"
        self.home.mkdir()
        self.chromedriver = install(self.home)
        self.chrome = self.home / "bin" / CHROME
        self.data_dir = folder / "d"
        self.recorder = EventRecorder()
        monkeypatch.setattr("process_cleanup.snapshot", self.own_snapshot)
        monkeypatch.setattr("drover.server.session_parts.DevTools", StubDevTools)
        values = {
            "data_dir": self.data_dir,
            "chromedriver": str(self.chromedriver),
            "chrome_binary": str(self.chrome),
            "health_timeout": 1.0,
        }
        self.service = Drover(Settings.model_validate(values | settings))
        self.service.hub.subscribe(self.recorder)
        self.manager = self.service.sessions.manager
        self.registry = self.service.sessions.registry
        self._threads = ThreadPoolExecutor(32)

    def own_snapshot(self) -> ProcessTable:
        """Read the process table without processes of others, so that these are neither judged nor ended."""
        table = snapshot()
        ours = {pid: row for pid, row in table.rows.items() if self._is_ours(row)}
        kin = {row.pid: row for pid in ours for row in table.ancestors(pid)}
        service = {row.pid: row for row in table.ancestors(table.self_pid)}
        return replace(table, rows=service | kin | ours | {table.self_pid: table.rows[table.self_pid]})

    def _is_ours(self, row: ProcessRow) -> bool:
        return row.mark is not None and row.mark.data_dir == str(self.data_dir)

    def set_fault(self, fault: Fault, pid: int | None = None) -> None:
        """Set a fault for all fakes, or for one."""
        self._write_control(fault.value if pid is None else f"{pid} {fault.value}")

    def set_fault_for(self, fault: Fault, pids: Iterable[int]) -> None:
        """Set a fault for these fakes only."""
        self._write_control("\n".join(f"{pid} {fault.value}" for pid in pids))

    def set_fault_except(self, fault: Fault, pid: int) -> None:
        """Set a fault for all fakes but one."""
        self._write_control(f"{pid} {Fault.NONE.value}\n{fault.value}")

    def _write_control(self, text: str) -> None:
        new = self.home / "control.new"
        new.write_text(text, encoding="utf-8")
        wait_until(partial(_replaced, new, self.home / "control"), "the fault is set")

    def commands(self) -> list[str]:
        """Return the session commands that a ChromeDriver received, without the service's own."""
        notes = self.home / COMMANDS
        lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
        return [line for line in lines if line not in OWN_COMMANDS]

    def acquire(
        self,
        session_id: str | None = None,
        key: str | None = None,
        *,
        disconnected: Future[None] | None = None,
        idle: float = 1800.0,
        capabilities: CheckedCapabilities = DEFAULT,
    ) -> Acquired:
        """Get or create a session, as a request does."""
        request = AcquireRequest(session_id, key, None, capabilities, idle)
        return self.manager.acquire(request, Deadline(TIMEOUT_S, disconnected))

    def run_in_thread(self, call: Callable[[], T]) -> Future[T]:
        """Make a call in a separate thread."""
        return self._threads.submit(call)

    def drivers(self) -> set[int]:
        """Return the pids of the living ChromeDrivers; on Windows each has a Python below it."""
        return {
            process.pid
            for process in marked(self.data_dir)
            if "--log-path" in _command_line(process) and not _is_below_a_launcher(process)
        }

    def wait_for_driver(self) -> int:
        """Wait until a ChromeDriver was started, and return its pid."""
        return next(iter(wait_until(self.drivers, "a ChromeDriver is started")))

    def assert_nothing_is_left(self) -> None:
        """Assert that no process and no session folder is left."""
        assert [_command_line(process) for process in marked(self.data_dir)] == []
        assert [path.name for path in (self.data_dir / "s").iterdir()] == []

    def has_logged(self, pattern: str) -> bool:
        """Return whether any log line matches the pattern completely."""
        return any(re.fullmatch(pattern, line) for line in self.recorder.lines)

    def close(self) -> None:
        """Stop the service, and assert that nothing is left."""
        self.set_fault(Fault.NONE)
        self.service.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.assert_nothing_is_left()


@contextmanager
def running_harness(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> Iterator[ServiceHarness]:
    """Run a service for the duration of a test."""
    harness = ServiceHarness(folder, monkeypatch, **settings)
    harness.service.take_possession()
    harness.service.start(lambda: False)
    try:
        yield harness
    finally:
        harness.close()


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
