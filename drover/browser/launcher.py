"""Start and stop one browser, and ChromeDrivers beside it.

One ChromeDriver and one Chrome for each session. Both have the session's folder on their command
lines (`--log-path=`, `--user-data-dir=`, and through BREAKPAD_DUMP_LOCATION the crash handlers'
`--database=`), which distinguishes the processes of a session from foreign ones on every system.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from drover.browser import driver_client, start_diagnostics
from drover.browser.capabilities import merge
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.device_emulation import read_screen
from drover.browser.driver_processes import DriverProcesses, StillWanted, end_repeatedly
from drover.browser.extensions import unpacked
from drover.browser.health import ProbeResult, browser_guid, probe
from drover.browser.installed import InstalledBrowser
from drover.browser.running_browser import RunningBrowser
from drover.browser.start_diagnostics import (
    ChromeDied,
    ChromeFailed,
    StartInterrupted,
    WrongVersion,
    start_failure,
)
from drover.browser.start_slots import StartSlots, starts_at_once, usable_cores
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, CleanupIncomplete, SessionNotCreated
from drover.core.log_context import log_step
from drover.processes.cleanup.chrome_names import is_helper
from drover.processes.cleanup.process_tree import pids_by_session
from drover.processes.table import Liveness, ProcessIdentity, ProcessTable, identify, liveness, snapshot
from drover.processes.termination import end, tree_of
from drover.storage.session_folders import SessionFolder

ATTACH_S = 10.0
GRACE_S = 2.0
AGAIN_S = 5.0
"""Seconds that must be left for a second start."""


class Launcher:
    """Starts and stops browsers with one pair of executables.

    Args:
        connecting: Connects to a browser's DevTools while it is being started on a profile.

    Attributes:
        unavailable: Why no browser can be started, if the last start with default capabilities failed; no
            client's capabilities set it.
        doubtful: Whether a start failed that a client's capabilities may have caused, so that only a start
            with default capabilities can tell.
    """

    def __init__(
        self,
        installed: InstalledBrowser,
        connecting: Callable[[Path], AbstractContextManager[None]],
        *,
        headless: bool,
        no_sandbox: bool,
        chrome_args: Sequence[str],
    ) -> None:
        self.installed = installed
        self._connecting = connecting
        self._failed_in: Path | None = None
        self.unavailable: str | None = None
        self.doubtful = False
        self._default_worked_at = -math.inf
        self._headless = headless
        self._no_sandbox = no_sandbox
        self._chrome_args = tuple(chrome_args)
        self._drivers = DriverProcesses()
        self._slots = StartSlots(starts_at_once(usable_cores()))

    def check(self) -> str | None:
        """Check whether browsers can be started; return a warning if the versions do not match.

        Sets `unavailable` to the reason if they cannot be started.
        """
        self.unavailable = self.obstacle()
        return self.installed.version_warning

    def obstacle(self) -> str | None:
        """Return what is known to prevent a start, and what to do; None if nothing is known.

        Takes minutes if Chrome has to be downloaded first.
        """
        full = start_diagnostics.disk_full(self._failed_in) if self._failed_in else None
        return self.installed.obstacle() or full

    def start(
        self,
        folder: SessionFolder,
        checked: CheckedCapabilities,
        deadline: Deadline,
        wanted: StillWanted,
        *,
        low_priority: bool = False,
    ) -> RunningBrowser:
        """Wait for a start slot, then start a ChromeDriver and, through it, a Chrome on the folder's profile.

        If one of the two dies, they are started once more. If anything fails, the processes that were started
        are ended.

        Args:
            low_priority: Whether starts that a client waits for go first.

        Raises:
            ChromeDied: Chrome ran, but ended before it was ready, twice.
            ChromeFailed: Chrome did not start with these capabilities.
            StartInterrupted: One of the two ended or hung, and nothing says why.
            BrowserUnavailable: It did not start; the message has ChromeDriver's last log lines and a remedy.
            SessionNotCreated: ChromeDriver rejected the capabilities.
            SessionLost: The session is no longer wanted.
        """
        # Takes minutes if Chrome has to be downloaded, and needs no slot.
        self.installed.get(deadline)
        log_step("waiting for a start slot")
        with self._slots.slot(deadline, wanted, low_priority=low_priority):
            try:
                running = self._started_of_its_version(
                    partial(self._started, folder, checked, deadline, wanted), deadline, wanted
                )
            except BrowserUnavailable as error:
                if wanted():
                    # A start that failed because its session was closed says nothing about the next start.
                    self._note_failure(error, folder, checked)
                raise
        self.unavailable, self.doubtful = None, False
        if checked.is_default:
            self._default_worked_at = time.monotonic()
        return running

    def worked_within(self, seconds: float) -> bool:
        """Return whether a browser was started with default capabilities within the last `seconds`."""
        return time.monotonic() - self._default_worked_at <= seconds

    def _started_of_its_version(
        self, start: Callable[[], RunningBrowser], deadline: Deadline, wanted: StillWanted
    ) -> RunningBrowser:
        """Start a browser; if ChromeDriver refuses its version, once more with one that matches."""
        try:
            return _started_despite_a_death(start, deadline, wanted)
        except WrongVersion:
            if not self.installed.match(deadline):
                raise
            return _started_despite_a_death(start, deadline, wanted)

    def _started(
        self, folder: SessionFolder, checked: CheckedCapabilities, deadline: Deadline, wanted: StillWanted
    ) -> RunningBrowser:
        programs = self.installed.get(deadline)
        capabilities = merge.for_start(
            checked,
            binary=str(programs.chrome),
            profile=str(folder.profile),
            downloads=str(folder.downloads),
            extensions=unpacked(folder.extensions),
            headless=self._headless,
            no_sandbox=self._no_sandbox,
            extra_args=self._chrome_args,
        )
        try:
            driver, url = self._drivers.start(programs.chromedriver, folder, deadline, wanted)
            log_step("ChromeDriver started (PID %d)", driver.pid)
            with self._connecting(folder.profile):
                answer = driver_client.new_session(url, capabilities, max(1.0, deadline.remaining()))
                browser = _started_browser(answer, driver, folder)
                address = _debugger_address(answer)
                log_step("Chrome started (PID %d, DevTools at %s)", browser.pid, address)
                running = describe(driver, url, answer, browser, address)
            window = driver_client.current_window(running, ATTACH_S)
            return replace(running, window=window, screen=read_screen(running, checked))
        except driver_client.CommandRefused as error:
            self.stop(folder, None)
            raise SessionNotCreated(f"ChromeDriver rejected the capabilities: {error}") from error
        except driver_client.CommandFailed as error:
            reason = self._explain(error, folder)
            self.stop(folder, None)
            raise start_failure(reason, error) from error
        except BrowserUnavailable:
            self.stop(folder, None)
            raise

    def _note_failure(
        self, error: BrowserUnavailable, folder: SessionFolder, checked: CheckedCapabilities
    ) -> None:
        # Nothing of a client's is on the command line of a ChromeDriver that did not start.
        if not checked.is_default and isinstance(error, (ChromeFailed, StartInterrupted)):
            self.doubtful = True
        else:
            self.unavailable, self._failed_in = error.message, folder.path.parent

    def _explain(self, error: Exception, folder: SessionFolder) -> str:
        sandboxed = not self._no_sandbox and "--no-sandbox" not in self._chrome_args
        return start_diagnostics.explain_failure(
            error, folder, sandboxed=sandboxed, version_warning=self.installed.version_warning
        )

    def start_driver(
        self, folder: SessionFolder, running: RunningBrowser, deadline: Deadline, wanted: StillWanted
    ) -> tuple[ProcessIdentity, str]:
        """Start a ChromeDriver beside the running browser; return its identity and its address.

        Raises:
            BrowserUnavailable: It did not start; the browser is not affected.
            SessionLost: The session is no longer wanted.
        """
        executable = self.installed.driver_for(running.browser_version, deadline)
        started = self._drivers.start(executable, folder, deadline, wanted, spared=running.browser)
        log_step("ChromeDriver started beside the browser (PID %d)", started[0].pid)
        return started

    def end_drivers(
        self, folder: SessionFolder, running: RunningBrowser | None, driver: ProcessIdentity | None = None
    ) -> None:
        """End the ChromeDrivers of a session, also `driver`, which is just being attached; spare its browser.

        Raises:
            CleanupIncomplete: A process survived; the message names it.
        """
        last, spared = (running.driver, running.browser) if running is not None else (None, None)
        self._drivers.end(folder, driver or last, spared)

    def stop(self, folder: SessionFolder, running: RunningBrowser | None) -> None:
        """End ChromeDriver, Chrome and all their helpers, and wait until they are gone.

        Chrome's main process gets SIGTERM first: it then writes its profile and ends its helpers
        in about 50 ms. Hung processes get SIGKILL.

        Raises:
            CleanupIncomplete: A process survived; the message names it.
        """
        # If ChromeDriver is a script, what it has started is only found while it runs.
        below = tree_of(running.driver) if running is not None else ()
        if running is not None:
            end([running.browser, running.driver], grace=GRACE_S)
        left = end_repeatedly(lambda: _processes_of(folder, running, below, snapshot()), GRACE_S)
        self.reap()
        log_step("ChromeDriver and Chrome ended")
        if left:
            pids = ", ".join(str(identity.pid) for identity in left)
            raise CleanupIncomplete(f"These processes could not be ended: PID {pids}; end them manually")

    def reap(self) -> None:
        """Reap every ChromeDriver that has exited, and Chrome processes reparented to the service."""
        self._drivers.reap_all()


def _started_despite_a_death(
    start: Callable[[], RunningBrowser], deadline: Deadline, wanted: StillWanted
) -> RunningBrowser:
    """Start a browser; if it dies, start it once more.

    ChromeDriver says of a Chrome that was killed, or for which there was no memory, the same as of one
    that cannot run with its switches or on its profile. Only the latter dies again.
    """
    try:
        return start()
    except (ChromeDied, StartInterrupted) as first:
        if deadline.remaining() < AGAIN_S or not wanted():
            raise StartInterrupted(first.message) from first
        log_step("the start failed (%s): starting once more", first.message)
        try:
            return start()
        except ChromeDied as second:
            if isinstance(first, ChromeDied):
                raise
            raise StartInterrupted(second.message) from second


def _started_browser(
    answer: Mapping[str, Any], driver: ProcessIdentity, folder: SessionFolder
) -> ProcessIdentity:
    pid = answer["capabilities"].get("goog:processID")
    # ChromeDriver names the process since version 142 only.
    identity = identify(pid) if isinstance(pid, int) else main_browser(snapshot(), driver.pid, folder)
    if identity is None:
        raise driver_client.CommandFailed("Chrome exited immediately after its start")
    return identity


def main_browser(table: ProcessTable, driver_pid: int, folder: SessionFolder) -> ProcessIdentity | None:
    """Return the main Chrome process below a ChromeDriver: the first marked one that is no helper."""
    marked = _marked(folder, table)
    for row in table.descendants(driver_pid):
        if row.started is not None and row.pid in marked and not is_helper(row.cmdline or ()):
            return row.identity
    return None


def _debugger_address(answer: Mapping[str, Any]) -> str:
    # Chrome's DevTools listen on 127.0.0.1 only; `localhost` may resolve to ::1 first.
    options = answer["capabilities"].get("goog:chromeOptions")
    if not isinstance(options, dict) or "debuggerAddress" not in options:
        raise driver_client.CommandFailed("ChromeDriver did not return the address of Chrome's DevTools")
    return str(options["debuggerAddress"]).replace("localhost", "127.0.0.1")


def describe(
    driver: ProcessIdentity,
    url: str,
    answer: Mapping[str, Any],
    browser: ProcessIdentity,
    address: str,
) -> RunningBrowser:
    """Return what runs, from ChromeDriver's answer to a new session.

    Raises:
        NoResponse: Chrome does not answer.
        CommandFailed: Chrome has exited.
    """
    version = probe(f"http://{address}", "/json/version", ATTACH_S)
    guid = browser_guid(version.body)
    if version.reply in {ProbeResult.REFUSED, ProbeResult.CUT_OFF}:
        raise driver_client.CommandFailed(f"Chrome exited ({version.error})")
    if guid is None:
        raise driver_client.NoResponse(f"Chrome's DevTools at {address} do not answer: {version.error}")
    return RunningBrowser(
        driver=driver,
        driver_url=url,
        driver_session_id=str(answer["sessionId"]),
        browser=browser,
        browser_version=str(answer["capabilities"].get("browserVersion", "")),
        debugger_address=address,
        browser_guid=guid,
        granted=answer["capabilities"],
        bidi_url=answer["capabilities"].get("webSocketUrl"),
    )


def _processes_of(
    folder: SessionFolder,
    running: RunningBrowser | None,
    below: Sequence[ProcessIdentity],
    table: ProcessTable,
) -> list[ProcessIdentity]:
    """Return every living process of a session: by its folder's mark, by identity, and all descendants.

    Args:
        below: What its ChromeDriver had started.
    """
    known = {running.driver, running.browser} if running else set()
    marked = _marked(folder, table)
    roots = [
        row.pid
        for row in table.rows.values()
        if row.started is not None and (row.identity in known or row.pid in marked)
    ]
    below_roots = (row.pid for pid in roots for row in table.descendants(pid))
    rows = (table.rows[pid] for pid in sorted({*roots, *below_roots}))
    found = dict.fromkeys([row.identity for row in rows if row.started is not None])
    return [one for one in (found | dict.fromkeys(below)) if liveness(one) is not Liveness.GONE]


def _marked(folder: SessionFolder, table: ProcessTable) -> Collection[int]:
    return pids_by_session(table).get(folder.marked_session(), ())
