"""The re-attach: a new ChromeDriver for a browser that lives, with every tab as it is.

The steps are: end the old ChromeDriver and a keep-alive visit, answer open dialogs, wait for the pages, start
a ChromeDriver, attach it, verify the pages again, choose the window. If a step fails, the new ChromeDriver is
ended and the browser is left alone.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from drover.browser import driver_client, start_diagnostics
from drover.browser.bidi_attach import documents, load_again, spare_page
from drover.browser.capabilities import merge
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.device_emulation import set_device
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import Connection, DevToolsFailed
from drover.browser.dialogs import DialogAnswers, is_accepted
from drover.browser.driver_processes import StillWanted
from drover.browser.driver_state import LOST_WINDOW, NO_DRIVER_STATE, DriverState
from drover.browser.driver_state_restore import restore_driver_state
from drover.browser.launcher import Launcher, describe
from drover.browser.navigation import end_visits
from drover.browser.page_wait import PageWait
from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable
from drover.processes.table import ProcessIdentity
from drover.storage.session_folders import SessionFolder

FIRST_ATTACH_S = 3.0
"""How long the first attempt to attach may take; then the loading of pages is stopped."""
COMMAND_S = 5.0
BLANK = "about:blank"
PROMPTS = "unhandledPromptBehavior"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A session whose browser gets a new ChromeDriver.

    Attributes:
        running: Its last ChromeDriver, and its browser, which lives.
        window: The handle of its client's current window, if known.
        state: What its client had set in the last ChromeDriver.
    """

    folder: SessionFolder
    running: RunningBrowser
    checked: CheckedCapabilities
    window: str | None = None
    state: DriverState = NO_DRIVER_STATE


@dataclass(frozen=True, slots=True)
class Reattached:
    """The result of a re-attach.

    Attributes:
        running: The new ChromeDriver, and the same browser.
        lost: What it has cost: dialogs that were answered, pages that were reloaded or closed.
        is_blank: The browser had no window left, and got a new one without a page.
        state: What its client has set in the new ChromeDriver.
    """

    running: RunningBrowser
    lost: tuple[str, ...] = ()
    is_blank: bool = False
    state: DriverState = NO_DRIVER_STATE


@dataclass(eq=False, repr=False)
class Reattacher:
    """Attaches new ChromeDrivers to living browsers."""

    _launcher: Launcher
    _devtools: DevTools

    def reattach(self, session: Attachment, deadline: Deadline, wanted: StillWanted) -> Reattached:
        """Replace the ChromeDriver of a browser that lives.

        Raises:
            BrowserUnavailable: ChromeDriver could not be started or attached, or a page does not answer.
            CleanupIncomplete: A ChromeDriver could not be ended.
            SessionLost: The session is no longer wanted.
        """
        self._launcher.end_drivers(session.folder, session.running)
        answers = DialogAnswers(partial(is_accepted, session.checked.capabilities.get(PROMPTS)))
        try:
            connection = self._devtools.of(session.running)
            with connection.answering_dialogs(answers):
                with suppress(DevToolsFailed):  # else they are waited for
                    end_visits(connection)
                wait = PageWait(connection, answers)
                is_blank = _open_window(connection)
                wait.reload_crashed()
                running = self._attach_in_time(session, connection, wait, deadline, wanted)
                state, lost = self._restore(running, session, is_blank=is_blank)
        except DevToolsFailed as error:
            raise BrowserUnavailable(f"ChromeDriver could not attach: {error}; retry") from error
        return Reattached(running, (*wait.lost, *lost), is_blank, state)

    def _attach_in_time(
        self,
        session: Attachment,
        connection: Connection,
        wait: PageWait,
        deadline: Deadline,
        wanted: StillWanted,
    ) -> RunningBrowser:
        """Attach a ChromeDriver; if it takes too long, try another one with more time until the deadline.

        ChromeDriver 156 cannot attach while a page waits for its server, which may take minutes.
        """
        patience = FIRST_ATTACH_S
        while True:
            wait.until_all_answer(deadline, wanted)
            driver, url = self._launcher.start_driver(session.folder, session.running, deadline, wanted)
            try:
                timeout = max(1.0, deadline.within(patience).remaining())
                if session.checked.wants_bidi:
                    running = self._attach_with_bidi(session, connection, wait, driver, url, timeout)
                else:
                    running = _attach(session.running.debugger_address, session, driver, url, timeout)
                wait.until_all_answer(deadline, wanted)
            except driver_client.CommandTimeout as error:
                self._launcher.end_drivers(session.folder, session.running, driver)
                if deadline.remaining() == 0:
                    raise BrowserUnavailable(_not_attached(error, session.folder)) from error
                wait.leave_endless_dialogs()
                connection.call_pages("Page.stopLoading", COMMAND_S)
                patience *= 2
            except driver_client.CommandFailed as error:
                self._launcher.end_drivers(session.folder, session.running, driver)
                raise BrowserUnavailable(_not_attached(error, session.folder)) from error
            except BaseException:
                self._launcher.end_drivers(session.folder, session.running, driver)
                raise
            else:
                return running

    def _attach_with_bidi(
        self,
        session: Attachment,
        connection: Connection,
        wait: PageWait,
        driver: ProcessIdentity,
        url: str,
        timeout: float,
    ) -> RunningBrowser:
        before = documents(connection)
        with spare_page(self._devtools, session.running, connection) as address:
            running = _attach(address, session, driver, url, timeout)
        wait.note_reloads(load_again(connection, before))
        return running

    def _restore(
        self, running: RunningBrowser, session: Attachment, *, is_blank: bool
    ) -> tuple[DriverState, tuple[str, ...]]:
        """Set again what the client had set; switch to its window if it exists, else to the one in front.

        In the one in front the client's commands are refused until it has chosen a window, unless that is the
        only one because the last one was closed.
        """
        # ChromeDriver's window handles are Chrome's target ids; the page in front comes first.
        handles = [page.target_id for page in self._devtools.pages(running, COMMAND_S)]
        if not handles:
            return session.state, ()
        chosen = str(session.window) if session.window in handles else handles[0]
        is_gone = session.window is not None and chosen != session.window and not is_blank
        state = session.state
        if session.window is not None and chosen != session.window:
            state = replace(state, frame_id=None, window_lost=is_gone)
        try:
            device = set_device(running, session.checked, handles)
            state, not_set = restore_driver_state(running, state, handles, chosen)
        except driver_client.CommandFailed as error:
            self._launcher.end_drivers(session.folder, running)
            raise BrowserUnavailable(_not_attached(error, session.folder)) from error
        window = (LOST_WINDOW,) if is_gone else ()
        return state, (*window, *device, *not_set)


def _open_window(connection: Connection) -> bool:
    """Open a window if none is left; return whether that was necessary."""
    if connection.pages:
        return False
    connection.call("Target.createTarget", COMMAND_S, url=BLANK)
    return True


def _attach(
    address: str, session: Attachment, driver: ProcessIdentity, url: str, timeout: float
) -> RunningBrowser:
    running = session.running
    capabilities = merge.for_reattach(session.checked, address)
    answer = driver_client.new_session(url, capabilities, timeout)
    attached = describe(driver, url, answer, running.browser, running.debugger_address)
    if attached.browser_guid != running.browser_guid:
        raise driver_client.CommandFailed("another browser answers at the address of the session's browser")
    return replace(attached, granted=running.granted, window=running.window, screen=running.screen)


def _not_attached(error: Exception, folder: SessionFolder) -> str:
    return start_diagnostics.explain_failure(
        error, folder, what="The browser runs, but ChromeDriver could not attach to it"
    )
