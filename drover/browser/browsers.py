"""Browsers: all that is done to the sessions' browsers, in front of launcher, DevTools and recovery."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from drover.browser import driver_client, extensions, health, profile_limit
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.capabilities.tables import Ignored
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import Connection, DevToolsFailed
from drover.browser.driver_processes import StillWanted
from drover.browser.health import Health, HealthReadings, Silence
from drover.browser.launcher import Launcher
from drover.browser.navigation import visit
from drover.browser.page_targets import NO_SIGNALS
from drover.browser.recovery import Recoverer
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import Into, Restored, SavedState, capture, restore_cookies
from drover.browser.start_diagnostics import ChromeFailed, disk_full
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, DroverError, SessionNotCreated
from drover.storage.session_folders import SessionFolder, SessionFolders

FIRST_PAGE_S = 30.0
PAGES_S = 2.0
CONTROL_S = 20.0
"""Seconds that a start with default capabilities may take, to be worth trying before the deadline."""
RECENT_S = 10.0
"""Seconds for which a start with default capabilities proves that another one would work."""
DEFAULT = CheckedCapabilities({})
EXTENSION = "chrome-extension:"


@dataclass(eq=False, repr=False)
class Browsers:
    """Starts, checks and saves browsers; its parts stop and recover them, and hold the DevTools connections.

    Args:
        probe_timeout: Seconds that one health probe waits.
    """

    launcher: Launcher
    _folders: SessionFolders
    recoverer: Recoverer
    devtools: DevTools
    _probe_timeout: float

    @property
    def is_doubtful(self) -> bool:
        """Whether the last start has failed, so that only another one can tell if browsers start."""
        return self.launcher.unavailable is not None or self.launcher.doubtful

    def obstacle(self) -> str | None:
        """Return what prevents a start, which is then `unavailable`; None if nothing is known.

        Takes minutes if Chrome has to be downloaded first.
        """
        try:
            obstacle = self.launcher.obstacle()
        except DroverError as error:
            obstacle = error.message
        # A client's start may have succeeded in the meantime.
        if obstacle is not None and self.is_doubtful:
            self.launcher.unavailable = obstacle
        return obstacle

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
        """Start a new session's browser, with its extensions.

        Args:
            low_priority: Let other starts begin first.
            on_kept_profile: The profile is not empty, so it may be what Chrome refuses: do not find out
                whether the capabilities are.

        Returns:
            The browser, and the capabilities with everything named that was set aside. Their extensions are
            in the session's folder, from where every later browser of the session loads them.

        Raises:
            SessionNotCreated: Chrome starts with default capabilities, but not with these.
            BrowserUnavailable: No browser can be started, or that could not be found out in time.
            SessionLost: The session is no longer wanted.
        """
        extensions.unpack(checked.extensions, folder.extensions)
        try:
            running = self.launcher.start(folder, checked, deadline, wanted, low_priority=low_priority)
        except ChromeFailed as error:
            # A default start a moment ago proves nothing if the disk is full by now.
            may_be_another_reason = on_kept_profile or checked.is_default or disk_full(folder.path.parent)
            if may_be_another_reason or not self._starts_by_default(folder, deadline, wanted):
                raise
            raise SessionNotCreated(
                "Chrome starts with default capabilities, but not with these "
                f"({error.cause.rstrip('.')}). Change them."
            ) from error
        return running, checked.also_ignoring(self._not_loaded(running, checked))

    def chrome_version(self, deadline: Deadline) -> str:
        """Return the version of Chrome that a start would use; see `InstalledBrowser.chrome_version`."""
        return self.launcher.installed.chrome_version(deadline)

    def open_page(self, running: RunningBrowser, url: str) -> None:
        """Open a page in the current tab, and wait at most `FIRST_PAGE_S` seconds for it.

        Raises:
            CommandFailed: ChromeDriver reports an error.
        """
        driver_client.navigate(running, url, FIRST_PAGE_S)

    def first_look(self, running: RunningBrowser) -> tuple[Health, str | None]:
        """Connect to a browser that has just been started or recovered; return its health and its page.

        Raises:
            BrowserUnavailable: It accepts no DevTools connection.
        """
        begun = time.monotonic()
        self._connected(running)
        readings = self.probe(running)
        found = health.assess(readings, running, Silence(), self._probe_timeout)
        latency_ms = round(1000 * (time.monotonic() - begun))
        now = datetime.now(timezone.utc)
        return Health(found.status, found.reason, now, latency_ms), readings.current_url

    def probe(self, running: RunningBrowser) -> HealthReadings:
        """Read the state of a browser and its ChromeDriver once."""
        return health.read(running, self.devtools.seen(running), self._probe_timeout, self.devtools.pages)

    def probe_until_settled(self, running: RunningBrowser) -> HealthReadings:
        """Probe a browser of an earlier run, without a DevTools connection, until its state is certain."""
        silence = Silence()
        while True:
            readings = health.read(running, NO_SIGNALS, self._probe_timeout, health.pages)
            found = health.assess(readings, running, silence, self._probe_timeout)
            if found.settled:
                return readings
            silence = found.silence

    def assess(
        self, readings: HealthReadings, running: RunningBrowser, silence: Silence
    ) -> health.Assessment:
        """Assess the readings of one check, given the silence before it."""
        return health.assess(readings, running, silence, self._probe_timeout)

    def restore(self, running: RunningBrowser, kept: SavedState, into: Into) -> Restored:
        """Restore the state that was kept for a key into a new browser; return what it has received."""
        return self.recoverer.restore_state(running, kept, into)

    def save(self, running: RunningBrowser, before: SavedState, window: str | None) -> SavedState | None:
        """Return the state of a browser; None if it is closing or gone.

        Pages in other browser contexts than the profile's have logins of their own, and end with the browser.

        Args:
            window: The handle of its client's window, if known. Its page is the one that a new browser opens;
                else the page in front is, unless an extension has opened it.

        Raises:
            DevToolsFailed: It does not answer.
        """
        listed = self.devtools.pages(running, PAGES_S)
        if not listed:
            return None
        connection = self.devtools.of(running)
        others = connection.pages_beside_the_profile(PAGES_S)
        pages = [(page.target_id, page.url) for page in listed if page.target_id not in others]
        pages.sort(key=lambda page: (page[0] != window, page[1].startswith(EXTENSION)))
        return capture(connection, pages, before)

    def restore_cookies(self, running: RunningBrowser, state: SavedState) -> None:
        """Set the cookies of a saved state in a browser that has lost its own.

        Raises:
            DevToolsFailed: It does not answer.
        """
        restore_cookies(self.devtools.of(running), state)

    def visit(self, running: RunningBrowser, url: str, seconds: float) -> None:
        """Load a page in a tab in the background, which is closed again within so many seconds.

        Raises:
            DevToolsFailed: The page could not be loaded in time.
        """
        visit(self.devtools.of(running), url, seconds, hidden=running.bidi_url is None)

    def shrink_profile(
        self, running: RunningBrowser, profile: Path, is_small_enough: Callable[[], bool]
    ) -> tuple[str, ...]:
        """Make a browser's profile smaller; return what was removed. See `profile_limit.shrink`.

        Raises:
            DevToolsFailed: The browser does not answer.
        """
        return profile_limit.shrink(self.devtools.of(running), profile, is_small_enough)

    def screenshot(self, running: RunningBrowser, deadline: Deadline) -> bytes:
        """Return the page in front as PNG, over DevTools.

        ChromeDriver's own command would wait for a page that is loading, and close an open alert.

        Raises:
            BrowserUnavailable: No page is open, or it does not render in time.
        """
        in_front = self.devtools.pages(running, deadline.remaining())
        if not in_front:
            raise BrowserUnavailable("The browser has no page open; open one, then retry")
        try:
            taken = self.devtools.of(running).call_page(
                in_front[0].target_id, "Page.captureScreenshot", deadline.remaining(), format="png"
            )
        except DevToolsFailed as error:
            raise BrowserUnavailable(
                f"The page could not be captured ({error}): it is busy or shows a dialog. "
                "Close the dialog, or retry later."
            ) from error
        return base64.b64decode(taken["data"])

    def _starts_by_default(self, folder: SessionFolder, deadline: Deadline, wanted: StillWanted) -> bool:
        """Return whether a browser with default capabilities starts, at this moment and in this folder."""
        if self.launcher.worked_within(RECENT_S):
            return True
        if deadline.remaining() < CONTROL_S:
            return False
        shutil.rmtree(folder.extensions, ignore_errors=True)
        try:
            self._folders.reset(folder)
            running = self.launcher.start(folder, DEFAULT, deadline, wanted)
        except BrowserUnavailable:
            return False
        self.launcher.stop(folder, running)
        return True

    def _not_loaded(self, running: RunningBrowser, checked: CheckedCapabilities) -> list[Ignored]:
        if not checked.extensions:
            return []
        return extensions.not_loaded(self._connected(running), checked.extensions)

    def _connected(self, running: RunningBrowser) -> Connection:
        """Return the DevTools connection to a browser that has just been started.

        Raises:
            BrowserUnavailable: It accepts none.
        """
        try:
            return self.devtools.of(running)
        except DevToolsFailed as error:
            raise BrowserUnavailable(f"Chrome started, but does not answer ({error}); retry") from error
