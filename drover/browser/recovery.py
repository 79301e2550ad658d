"""Recovery of a dead session, by the method that keeps most of its state: re-attach, restore, recreate.

A method that loses more is used only on proof that the one before it cannot work: a browser is replaced on
`BrowserGone`, and a profile on `ChromeDied`, which says it twice. A helper step that fails proves neither: it
ends the recovery with an error, and the next one begins where this one did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from drover.browser import health
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.driver_processes import StillWanted
from drover.browser.driver_state import NO_DRIVER_STATE, DriverState, of_new_browser
from drover.browser.health import Cause
from drover.browser.launcher import Launcher
from drover.browser.reattach import Attachment, Reattacher
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import Into, Restored, SavedState, not_restored, restore
from drover.browser.start_diagnostics import ChromeDied
from drover.browser.survival import BrowserGone, BrowserLives
from drover.core.deadline import Deadline
from drover.core.errors import BrowserLeftAlone, BrowserUnavailable
from drover.core.log_context import log_step
from drover.storage.profiles import Profiles
from drover.storage.session_folders import SessionFolder

PAGES_S = 5.0
LOST_PROFILE = "profile"

Examine = Callable[[RunningBrowser, Cause], BrowserLives | BrowserGone]
"""Returns whether a browser lives, or raises `BrowserUnavailable` if it could not be asked."""


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
        orphans_killed: Number of processes ended by the cleanup before the recovery.
        duration_ms: From the begin of the recovery until the session was ready.
        lost: What could not be kept although the method keeps it, such as `dialog:alert` or `profile`.
    """

    cause: Cause
    method: Method
    orphans_killed: int
    duration_ms: int
    lost: tuple[str, ...] = ()
    state_restored: bool = True
    """Whether the browser has received all that was saved; what it has not is kept for the next one."""


@dataclass(frozen=True, slots=True)
class RecoveryContext:
    """A session to recover, and what is known of it.

    Attributes:
        folder: Its folder, with the profile.
        running: Its last ChromeDriver and browser; None if they cannot be running any more.
        cause: What was found dead or hung.
        state: The state last saved from its browser, if any.
        window: The handle of its client's current window, if known.
        driver_state: What its client has set in ChromeDriver.
    """

    folder: SessionFolder
    checked: CheckedCapabilities
    running: RunningBrowser | None
    cause: Cause
    state: SavedState | None
    window: str | None = None
    driver_state: DriverState = NO_DRIVER_STATE


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery has brought back.

    Attributes:
        lost: What it has cost, as in `Recovery`.
        set_aside: Where the profile is kept on which Chrome ran and died; None if it is still in use.
        restored: What the browser has received of the saved state; None if there was nothing to restore.
        driver_state: What its client has set in the new ChromeDriver.
        keeps_window: The handle of its client's window is what it was.
    """

    running: RunningBrowser
    method: Method
    lost: tuple[str, ...] = ()
    set_aside: Path | None = None
    restored: Restored | None = None
    driver_state: DriverState = NO_DRIVER_STATE
    keeps_window: bool = False


@dataclass(frozen=True, slots=True)
class BrowserUnused:
    """The permission to end a browser that lives: nobody uses it."""


@dataclass(eq=False, repr=False)
class Recoverer:
    """Recovers sessions.

    Args:
        examine: Returns whether a browser lives.
        await_memory: Waits until there is enough memory for a browser; raises `AtCapacity`.
    """

    _launcher: Launcher
    _reattacher: Reattacher
    _devtools: DevTools
    _profiles: Profiles
    _examine: Examine
    _await_memory: Callable[[Deadline, StillWanted], None]

    def recover(self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted) -> Recovered:
        """Recover a session by the first method that is possible.

        Raises:
            BrowserLeftAlone: A step failed; the browser lives, with every page as it was.
            AtCapacity: There is not enough memory for a new browser.
            BrowserUnavailable: A step failed; the profile is as it was.
            CleanupIncomplete: The remaining processes of the session could not be ended.
            SessionLost: The session is no longer wanted.
        """
        if context.running is None:
            gone = BrowserGone("The session has no browser that could be running")
            return self._replace(context, gone, deadline, wanted)
        found = self._examine(context.running, context.cause)
        if isinstance(found, BrowserLives):
            log_step("the browser lives after %s: attaching a new ChromeDriver to it", context.cause.value)
            result = self._reattach(context, context.running, deadline, wanted)
            if isinstance(result, Recovered):
                return result
            found = result
        return self._replace(context, found, deadline, wanted)

    def recycle(self, context: RecoveryContext, deadline: Deadline, wanted: StillWanted) -> Recovered:
        """Exchange the browser of a session that nobody uses for a new one on the same profile.

        Raises:
            AtCapacity: The browser is ended, and there is not enough memory for a new one.
            BrowserUnavailable: A step failed; the profile is as it was.
            CleanupIncomplete: The processes of the session could not be ended.
            SessionLost: The session is no longer wanted.
        """
        log_step("the browser is unused: exchanging it for a new one")
        return self._replace(context, BrowserUnused(), deadline, wanted)

    def accept(self, context: RecoveryContext) -> None:
        """Take note that the result of a recovery was published, with what it has cost."""
        self._profiles.accept(context.folder)

    def undo(self, context: RecoveryContext, recovered: Recovered) -> None:
        """End what a recovery has started, because its result could not be published.

        A browser that it has not started keeps running.

        Raises:
            CleanupIncomplete: A process could not be ended.
        """
        if recovered.method is Method.REATTACHED:
            self._launcher.end_drivers(context.folder, recovered.running)
        else:
            self._launcher.stop(context.folder, recovered.running)
            self._devtools.forget(recovered.running.browser_guid)

    def _reattach(
        self, context: RecoveryContext, running: RunningBrowser, deadline: Deadline, wanted: StillWanted
    ) -> Recovered | BrowserGone:
        """Attach a new ChromeDriver to the living browser; if that fails because it has died, return that."""
        session = Attachment(context.folder, running, context.checked, context.window, context.driver_state)
        try:
            reattached = self._reattacher.reattach(session, deadline, wanted)
        except BrowserUnavailable as error:
            found = self._examine(running, context.cause)
            if isinstance(found, BrowserGone):
                return found
            reason = f"{error.message.rstrip('.')}. The browser lives and was left as it is"
            raise BrowserLeftAlone(reason) from error
        restored = None
        if reattached.is_blank and context.state is not None:
            # Chrome forgets session cookies with its last window.
            restored = self.restore_state(reattached.running, context.state, Into.LIVING_BROWSER)
        return Recovered(
            reattached.running,
            Method.REATTACHED,
            reattached.lost,
            restored=restored,
            driver_state=reattached.state,
            keeps_window=not reattached.is_blank,
        )

    def _replace(
        self,
        context: RecoveryContext,
        gone: BrowserGone | BrowserUnused,
        deadline: Deadline,
        wanted: StillWanted,
    ) -> Recovered:
        """Start a new browser for one that is gone or unused, and restore what was saved of it."""
        if isinstance(gone, BrowserGone):
            log_step("the browser is gone (%s): starting another one", gone.reason)
        self._end_remains(context, gone)
        self._await_memory(deadline, wanted)
        had_profile = self._profiles.prepare(context.folder) and not context.checked.keeps_profile_in_memory
        lost: tuple[str, ...] = () if had_profile else (LOST_PROFILE,)
        set_aside = None
        try:
            running = self._launcher.start(context.folder, context.checked, deadline, wanted)
        except ChromeDied as died:
            running, set_aside = self._on_a_new_profile(context, died, deadline, wanted)
            lost = (LOST_PROFILE,)
        into = Into.NEW_PROFILE if lost else Into.SAME_PROFILE
        restored = self.restore_state(running, context.state, into) if context.state is not None else None
        has_state = restored is not None and not restored.has_failed
        method = Method.RESTORED if not lost or has_state else Method.RECREATED
        state, not_set = of_new_browser(context.driver_state)
        return Recovered(running, method, (*lost, *not_set), set_aside, restored, state)

    def _end_remains(self, context: RecoveryContext, _: BrowserGone | BrowserUnused) -> None:
        """End what is left of the processes of a browser that is proven to be gone, or is unused."""
        self._launcher.stop(context.folder, context.running)
        if context.running is not None:
            self._devtools.forget(context.running.browser_guid)

    def _on_a_new_profile(
        self, context: RecoveryContext, _: ChromeDied, deadline: Deadline, wanted: StillWanted
    ) -> tuple[RunningBrowser, Path]:
        """Start a browser on a new profile in place of the one on which Chrome has run and died twice.

        The old profile is set aside only if Chrome starts on the new one; else the profile is not at fault.
        """
        with self._profiles.replaced(context.folder) as replacement:
            running = self._launcher.start(context.folder, context.checked, deadline, wanted)
            try:
                return running, replacement.keep()
            except BrowserUnavailable:
                self._launcher.stop(context.folder, running)
                raise

    def restore_state(self, running: RunningBrowser, state: SavedState, into: Into) -> Restored:
        """Restore a saved state into a browser; return what it has received."""
        log_step("putting back cookies, local storage and address")
        pages = [page.target_id for page in health.pages(running, PAGES_S)]
        if not pages:
            return not_restored(state)
        # An extension may have opened a page in front of ChromeDriver's.
        page = str(running.window) if running.window in pages else pages[0]
        try:
            return restore(self._devtools.of(running), page, state, into)
        except DevToolsFailed:
            return not_restored(state)
