"""Starts the browsers of new sessions, and finds out whose fault a failed start is."""

from __future__ import annotations

import shutil

from drover.browser import extensions
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.capabilities.tables import Ignored
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.driver_processes import StillWanted
from drover.browser.launcher import ChromeFailed, Launcher
from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, SessionNotCreated
from drover.storage.session_folders import SessionFolder, SessionFolders

CONTROL_S = 20.0
"""Seconds that a start with default capabilities may take, to be worth trying before the deadline."""
RECENT_S = 10.0
"""Seconds for which a start with default capabilities proves that another one would work."""
DEFAULT = CheckedCapabilities({})


class BrowserStarter:
    """Starts the browsers of new sessions.

    Args:
        launcher: Starts and stops browsers.
        devtools: The DevTools connections to the browsers.
        folders: The sessions' folders.
    """

    def __init__(self, launcher: Launcher, devtools: DevTools, folders: SessionFolders) -> None:
        self._launcher = launcher
        self._devtools = devtools
        self._folders = folders

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
            folder: The session's folder.
            checked: The capabilities that its client requested.
            deadline: Until when to wait.
            wanted: Returns whether the session is still wanted.
            low_priority: Let other starts begin first.
            on_kept_profile: The profile is not empty, so it may be what Chrome refuses: do not find out
                whether the capabilities are.

        Returns:
            The browser, and the capabilities with everything named that was set aside. Their extensions are
            in the session's folder, from where every later browser of the session loads them.

        Raises:
            SessionNotCreated: Chrome starts with default capabilities, but not with these.
            BrowserUnavailable: No browser can be started, or nobody could tell in time.
            SessionLost: The session is no longer wanted.
        """
        extensions.unpack(checked.extensions, folder.extensions)
        try:
            running = self._launcher.start(folder, checked, deadline, wanted, low_priority=low_priority)
        except ChromeFailed as error:
            if on_kept_profile or checked.is_default or not self._starts_by_default(folder, deadline, wanted):
                raise
            raise SessionNotCreated(
                "Chrome starts with default capabilities, but not with these "
                f"({error.cause.rstrip('.')}). Change them."
            ) from error
        return running, checked.also_ignoring(self._not_loaded(running, checked))

    def _starts_by_default(self, folder: SessionFolder, deadline: Deadline, wanted: StillWanted) -> bool:
        """Return whether a browser with default capabilities starts, at this moment and in this folder."""
        if self._launcher.worked_within(RECENT_S):
            return True
        if deadline.remaining() < CONTROL_S:
            return False
        shutil.rmtree(folder.extensions, ignore_errors=True)
        try:
            self._folders.reset(folder)
            running = self._launcher.start(folder, DEFAULT, deadline, wanted)
        except BrowserUnavailable:
            return False
        self._launcher.stop(folder, running)
        return True

    def _not_loaded(self, running: RunningBrowser, checked: CheckedCapabilities) -> list[Ignored]:
        if not checked.extensions:
            return []
        try:
            connection = self._devtools.of(running)
        except DevToolsFailed as error:
            raise BrowserUnavailable(f"Chrome started, but does not respond ({error}). Retry.") from error
        return extensions.not_loaded(connection, extensions.expected(checked.extensions))
