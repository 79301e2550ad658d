"""Recovery of a dead session, by the method that keeps most of its state: re-attach, restore, recreate."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from drover.browser import health
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.devtools import DevTools, DevToolsFailed
from drover.browser.driver_processes import StillWanted
from drover.browser.health import Cause
from drover.browser.launcher import Launcher
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import SavedState, restore
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable
from drover.storage.session_folders import SessionFolder, SessionFolders

RELOAD_S = 5.0
PAGES_S = 5.0
LOADING_S = 3.0
"""How long a new ChromeDriver may wait for pages that are loading before their loading is stopped."""
STOP_LOADING_S = 2.0


class Method(str, Enum):
    """How a session was recovered, and so how much of its state is left."""

    REATTACHED = "reattached"
    RESTORED = "restored"
    RECREATED = "recreated"


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recovery of a session.

    Attributes:
        cause: What was found dead or hung.
        method: The method that succeeded.
        orphans_killed: Number of processes ended by the cleanup before the recovery.
        duration_ms: From the begin of the recovery until the session was ready.
    """

    cause: Cause
    method: Method
    orphans_killed: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class RecoveryContext:
    """A session to recover, and what is known of it.

    Attributes:
        folder: Its folder, with the profile.
        checked: The capabilities that its client requested.
        running: Its last ChromeDriver and browser; None if they cannot be running any more.
        cause: What was found dead or hung.
        state: The state last saved from its browser, if any.
        window: The handle of its client's current window, if known.
    """

    folder: SessionFolder
    checked: CheckedCapabilities
    running: RunningBrowser | None
    cause: Cause
    state: SavedState | None
    window: str | None = None


class Recoverer:
    """Recovers sessions.

    Args:
        launcher: Starts and stops browsers.
        devtools: The DevTools connections to the browsers.
        folders: The sessions' folders.
    """

    def __init__(self, launcher: Launcher, devtools: DevTools, folders: SessionFolders) -> None:
        self._launcher = launcher
        self._devtools = devtools
        self._folders = folders

    def recover(
        self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted
    ) -> tuple[RunningBrowser, Method]:
        """Recover a session by the first method that succeeds; return its browser and the method.

        Raises:
            BrowserUnavailable: No method succeeded.
            CleanupIncomplete: The remaining processes of the session could not be ended.
            SessionLost: The session is no longer wanted.
        """
        try:
            return self._reattach(context, deadline, wanted), Method.REATTACHED
        except (BrowserUnavailable, DevToolsFailed):
            # The browser is gone as well; the next method starts a new one.
            self._launcher.stop(context.folder, context.running)
        if context.running is not None:
            self._devtools.forget(context.running.browser_guid)
        try:
            running = self._on_the_same_profile(context, deadline, wanted)
            has_profile = True
        except BrowserUnavailable:
            # The profile is missing or damaged; a new one replaces it.
            running = self._on_a_new_profile(context, deadline, wanted)
            has_profile = False
        has_state = context.state is not None and self.restore_state(running, context.state)
        return running, Method.RESTORED if has_profile or has_state else Method.RECREATED

    def _reattach(self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted) -> RunningBrowser:
        """Attach a new ChromeDriver to the living browser; tabs, forms and script variables are kept.

        Crashed tabs are reloaded first; the ChromeDriver that saw them crash rejects them permanently.
        """
        if context.running is None or context.cause in {
            Cause.BROWSER_GONE,
            Cause.BROWSER_HUNG,
            Cause.WINDOW_GONE,
        }:
            raise BrowserUnavailable("The browser itself is gone")
        if context.cause is Cause.TAB_CRASHED:
            connection = self._devtools.of(context.running)
            for target_id in connection.seen.crashed_pages:
                connection.reload_page(target_id, RELOAD_S)
        # ChromeDriver 156 cannot attach while a page waits for its server, which may take minutes.
        loading_timer = threading.Timer(LOADING_S, self._stop_loading, [context.running])
        loading_timer.start()
        try:
            return self._launcher.reattach(
                context.folder, context.running, context.checked, context.window, deadline, wanted
            )
        finally:
            loading_timer.cancel()

    def _stop_loading(self, running: RunningBrowser) -> None:
        for page in health.pages(running, PAGES_S):
            # If a page does not answer, ChromeDriver cannot attach to it either.
            with suppress(DevToolsFailed):
                self._devtools.of(running).call_page(page.target_id, "Page.stopLoading", STOP_LOADING_S)

    def _on_the_same_profile(
        self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted
    ) -> RunningBrowser:
        self._folders.keep_profile(context.folder)
        return self._launcher.start(context.folder, context.checked, deadline, wanted)

    def _on_a_new_profile(
        self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted
    ) -> RunningBrowser:
        self._launcher.stop(context.folder, None)
        self._folders.reset(context.folder)
        return self._launcher.start(context.folder, context.checked, deadline, wanted)

    def restore_state(self, running: RunningBrowser, state: SavedState) -> bool:
        """Restore a saved state into a new browser; return whether that succeeded completely."""
        pages = health.pages(running, PAGES_S)
        try:
            restore(self._devtools.of(running), pages[0].target_id, state)
        except (DevToolsFailed, IndexError):
            return False
        return True
