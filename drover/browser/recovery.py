"""The ladder by which a dead session is brought back: the gentlest rung that holds."""

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
from drover.browser.saved_state import SavedState, put_back
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable
from drover.storage.session_folders import SessionFolder, SessionFolders

RELOAD_S = 5.0
PAGES_S = 5.0
LOADING_S = 3.0
"""How long a new ChromeDriver may wait for pages that are loading before their loading is ended."""
STOP_LOADING_S = 2.0


class Method(str, Enum):
    """How a session was brought back: what its client still finds there."""

    REATTACHED = "reattached"
    RESTORED = "restored"
    RECREATED = "recreated"


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recovery of a session.

    Attributes:
        cause: What was found dead or hung.
        method: The rung that held.
        orphans_killed: Processes that the cleanup before it has seen dead.
        duration_ms: From the finding to the session being ready again.
    """

    cause: Cause
    method: Method
    orphans_killed: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class RecoveryContext:
    """A session that needs to be brought back, and what there is to do it with.

    Attributes:
        folder: Its folder, with the profile.
        checked: What its client asked of Chrome.
        running: What ran last; None where nothing of it can be running any more.
        cause: What was found dead or hung of it.
        state: What was last taken from its browser, if anything was.
        window: The window that its client was in, where that is known.
    """

    folder: SessionFolder
    checked: CheckedCapabilities
    running: RunningBrowser | None
    cause: Cause
    state: SavedState | None
    window: str | None = None


class Recoverer:
    """Brings sessions back.

    Args:
        launcher: Starts and stops browsers.
        devtools: The DevTools connections to them.
        folders: The sessions' folders.
    """

    def __init__(self, launcher: Launcher, devtools: DevTools, folders: SessionFolders) -> None:
        self._launcher = launcher
        self._devtools = devtools
        self._folders = folders

    def recover(
        self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted
    ) -> tuple[RunningBrowser, Method]:
        """Give a session a living browser again, by the gentlest rung that holds.

        Raises:
            BrowserUnavailable: None did.
            CleanupIncomplete: The dead parts could not be ended.
            SessionLost: The session is not wanted any more.
        """
        try:
            return self._reattach(context, deadline, wanted), Method.REATTACHED
        except (BrowserUnavailable, DevToolsFailed):
            # The browser went down as well; the next rung starts a new one.
            self._launcher.stop(context.folder, context.running)
        if context.running is not None:
            self._devtools.forget(context.running.browser_guid)
        try:
            running = self._on_the_same_profile(context, deadline, wanted)
            has_profile = True
        except BrowserUnavailable:
            # The profile is gone or damaged, and a new one takes its place.
            running = self._on_a_new_profile(context, deadline, wanted)
            has_profile = False
        put_back = context.state is not None and self.put_back(running, context.state)
        return running, Method.RESTORED if has_profile or put_back else Method.RECREATED

    def _reattach(self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted) -> RunningBrowser:
        """Put a new ChromeDriver on a browser that lives: tabs, forms and script variables are still there.

        Crashed tabs are loaded again first; the ChromeDriver that saw them crash refuses them for ever.
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
        # ChromeDriver 156 cannot attach while a page waits for its server, and that may be for minutes.
        impatience = threading.Timer(LOADING_S, self._stop_loading, [context.running])
        impatience.start()
        try:
            return self._launcher.reattach(
                context.folder, context.running, context.checked, context.window, deadline, wanted
            )
        finally:
            impatience.cancel()

    def _stop_loading(self, running: RunningBrowser) -> None:
        for page in health.pages(running, PAGES_S):
            # A page that does not hear it is one that ChromeDriver cannot attach to either.
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

    def put_back(self, running: RunningBrowser, state: SavedState) -> bool:
        """Put a saved state into a new browser; tell whether all of it was taken."""
        pages = health.pages(running, PAGES_S)
        try:
            put_back(self._devtools.of(running), pages[0].target_id, state)
        except (DevToolsFailed, IndexError):
            return False
        return True
