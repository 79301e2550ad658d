"""The start of a new session's browser, as a background job."""

from __future__ import annotations

import time
from dataclasses import dataclass

from drover.browser.browsers import Browsers
from drover.browser.driver_client import CommandFailed
from drover.browser.running_browser import RunningBrowser
from drover.core import events
from drover.core.deadline import Deadline
from drover.core.errors import SessionNotCreated
from drover.core.events import Emit
from drover.core.log_context import log_step
from drover.sessions.lifecycle.close_work import CloseWork
from drover.sessions.lifecycle.profile_start import ProfileStart
from drover.sessions.lifecycle.session_steps import SessionSteps, milliseconds_since
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.session import Session
from drover.storage.session_folders import SessionFolders

START_S = 90.0


@dataclass(eq=False, repr=False)
class StartWork:
    """Starts new sessions' browsers."""

    _browsers: Browsers
    _folders: SessionFolders
    _starter: ProfileStart
    _close_work: CloseWork
    _steps: SessionSteps
    _emit: Emit

    def run(self, reserved: Reserved) -> Session:
        """Start the browser of a new session, and return the ready session.

        Raises:
            DroverError: The start has failed or was overtaken; what it has started was ended.
        """
        session, begun = reserved.session, time.monotonic()
        try:
            self._folders.make(session.folder)
            running, capabilities, restored = self._starter.start(
                session, Deadline(START_S), self._steps.wanted(session)
            )
            if restored is not None:
                self._steps.remember(session, restored)
            log_step("opening its first page, and connecting to its DevTools")
            self._open_first_page(session, running)
            published = self._steps.publish(session, running, capabilities=capabilities)
        except Exception as error:
            raise self._failed(session, error) from error
        pids, took_ms = (running.driver.pid, running.browser.pid), milliseconds_since(begun)
        event = events.WarmBrowserReady if session.warm else events.SessionCreated
        self._emit(event(session.session_id, *pids, took_ms))
        return published

    def _failed(self, session: Session, error: Exception) -> Exception:
        overtaken = self._steps.overtaken(session)
        if overtaken is None:
            rejected = isinstance(error, SessionNotCreated)
            event = events.CapabilitiesRejected if rejected else events.SessionStartFailed
            self._emit(event(session.session_id, str(error)))
        self._close_work.end_failed_start(session)
        return overtaken or error

    def _open_first_page(self, session: Session, running: RunningBrowser) -> None:
        if session.first_page is None:
            return
        try:
            self._browsers.open_page(running, session.first_page)
        except CommandFailed as error:
            self._emit(events.FirstPageFailed(session.session_id, str(error)))
