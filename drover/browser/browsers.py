"""Browsers: all that is done to the sessions' browsers, in front of launcher, DevTools and recovery."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from drover.browser import driver_client, health
from drover.browser.browser_starter import BrowserStarter
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.driver_processes import StillWanted
from drover.browser.health import Health, HealthReadings, Silence
from drover.browser.launcher import Launcher
from drover.browser.page_targets import NO_SIGNALS, BrowserSignals
from drover.browser.recovery import Recovered, Recoverer, RecoveryContext
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import Into, Restored, SavedState
from drover.browser.screenshot import capture_front_page
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable
from drover.storage.session_folders import SessionFolder

FIRST_PAGE_S = 30.0


class Browsers:
    """Starts, checks, recovers and stops browsers.

    Args:
        launcher: Starts and stops browsers.
        starter: Starts the browsers of new sessions.
        recoverer: Recovers dead ones.
        devtools: The DevTools connections.
        probe_timeout: Seconds that one health probe waits.
    """

    def __init__(
        self,
        launcher: Launcher,
        starter: BrowserStarter,
        recoverer: Recoverer,
        devtools: DevTools,
        probe_timeout: float,
    ) -> None:
        self._launcher = launcher
        self._starter = starter
        self._recoverer = recoverer
        self._devtools = devtools
        self._probe_timeout = probe_timeout

    @property
    def unavailable(self) -> str | None:
        """Why no browser can be started; None if nothing is known against it."""
        return self._launcher.unavailable

    def start(
        self,
        folder: SessionFolder,
        checked: CheckedCapabilities,
        deadline: Deadline,
        wanted: StillWanted,
        *,
        low_priority: bool = False,
        on_kept_profile: bool = False,
    ) -> tuple[RunningBrowser, CheckedCapabilities]:
        """Start a new session's browser; see `BrowserStarter.start`."""
        return self._starter.start(
            folder,
            checked,
            deadline,
            wanted,
            low_priority=low_priority,
            on_kept_profile=on_kept_profile,
        )

    def chrome_version(self, deadline: Deadline) -> str:
        """Return the version of Chrome that a start would use; see `Launcher.chrome_version`."""
        return self._launcher.chrome_version(deadline)

    def open_page(self, running: RunningBrowser, url: str) -> None:
        """Open a page in the current tab, and wait at most `FIRST_PAGE_S` seconds for it.

        Raises:
            CommandFailed: ChromeDriver reports an error.
        """
        driver_client.navigate(running.driver_url, running.driver_session_id, url, FIRST_PAGE_S)

    def first_look(self, running: RunningBrowser) -> tuple[Health, str | None]:
        """Connect to a browser that has just been started or recovered; return its health and its page.

        Raises:
            BrowserUnavailable: It accepts no DevTools connection.
        """
        begun = time.monotonic()
        try:
            self._devtools.of(running)
        except DevToolsFailed as error:
            raise BrowserUnavailable(f"Chrome started, but does not answer ({error}); retry") from error
        readings = self.probe(running)
        found = health.assess(readings, running, Silence(), self._probe_timeout)
        latency_ms = round(1000 * (time.monotonic() - begun))
        now = datetime.now(timezone.utc)
        return Health(found.status, found.reason, now, latency_ms), readings.current_url

    def probe(self, running: RunningBrowser) -> HealthReadings:
        """Read the state of a browser and its ChromeDriver once."""
        return health.read(running, self._devtools.seen(running), self._probe_timeout)

    def probe_until_settled(self, running: RunningBrowser) -> HealthReadings:
        """Probe a browser of an earlier run, without a DevTools connection, until its state is certain."""
        silence = Silence()
        while True:
            readings = health.read(running, NO_SIGNALS, self._probe_timeout)
            found = health.assess(readings, running, silence, self._probe_timeout)
            if found.settled:
                return readings
            silence = found.silence

    def assess(
        self, readings: HealthReadings, running: RunningBrowser, silence: Silence
    ) -> health.Assessment:
        """Assess the readings of one check, given the silence before it."""
        return health.assess(readings, running, silence, self._probe_timeout)

    def seen(self, running: RunningBrowser) -> BrowserSignals:
        """Return the signals received from a browser so far, without any I/O."""
        return self._devtools.seen(running)

    def connect(self, running: RunningBrowser) -> None:
        """Open the DevTools connection to a browser.

        Raises:
            DevToolsFailed: It does not accept a connection.
        """
        self._devtools.of(running)

    def recover(self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted) -> Recovered:
        """Recover a dead browser; see `Recoverer.recover`."""
        return self._recoverer.recover(context, deadline, wanted)

    def recycle(self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted) -> Recovered:
        """Exchange the browser of an unused session; see `Recoverer.recycle`."""
        return self._recoverer.recycle(context, deadline, wanted)

    def accept(self, context: RecoveryContext) -> None:
        """Take note that the result of a recovery was published, with what it has cost."""
        self._recoverer.accept(context)

    def undo(self, context: RecoveryContext, recovered: Recovered) -> None:
        """End what a recovery has started; see `Recoverer.undo`."""
        self._recoverer.undo(context, recovered)

    def restore(self, running: RunningBrowser, kept: SavedState, into: Into) -> Restored:
        """Restore the state that was kept for a key into a new browser; return what it has received."""
        return self._recoverer.restore_state(running, kept, into)

    def screenshot(self, running: RunningBrowser, deadline: Deadline) -> bytes:
        """Return the page in front as PNG.

        Raises:
            BrowserUnavailable: No page is open, or it does not render in time.
        """
        return capture_front_page(self._devtools, running, deadline)

    def stop(self, folder: SessionFolder, running: RunningBrowser | None) -> None:
        """End all processes of a session; see `Launcher.stop`."""
        self._launcher.stop(folder, running)

    def end_drivers(self, folder: SessionFolder, running: RunningBrowser | None) -> None:
        """End all ChromeDrivers of a session, also one that is just being attached; its browser is spared.

        Raises:
            CleanupIncomplete: A process survived; the message names it.
        """
        self._launcher.end_driver(folder, running.driver if running is not None else None, running)

    def forget(self, running: RunningBrowser) -> None:
        """Close the DevTools connection to a browser that has ended."""
        self._devtools.forget(running.browser_guid)
