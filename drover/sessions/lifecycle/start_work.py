"""The start of a new session's browser with what is kept for its key, as a background job."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from drover.browser.browsers import Browsers
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.driver_client import CommandFailed
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import Into, Restored
from drover.browser.start_diagnostics import ChromeDied
from drover.browser.versions import major
from drover.core import events
from drover.core.deadline import Deadline
from drover.core.errors import SessionNotCreated
from drover.core.events import Emit
from drover.core.log_context import log_step
from drover.sessions.lifecycle.close_work import CloseWork
from drover.sessions.lifecycle.session_steps import SessionSteps, milliseconds_since
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.session import Session
from drover.storage.session_folders import SessionFolders

START_S = 90.0

Started = tuple[RunningBrowser, CheckedCapabilities]


@dataclass(eq=False, repr=False)
class StartWork:
    """Starts new sessions' browsers."""

    _browsers: Browsers
    _folders: SessionFolders
    _kept: KeptLogins
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
            running, capabilities, restored = self._start(session)
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

    def _start(self, session: Session) -> tuple[RunningBrowser, CheckedCapabilities, Restored | None]:
        """Start the browser in the session's folder, and restore the state that is kept for its key.

        Returns:
            The browser, its capabilities, and what it has received of the state, if any is kept.
        """
        deadline, wanted = Deadline(START_S), self._steps.wanted(session)
        start = partial(self._browsers.start, session.folder, session.capabilities, deadline, wanted)
        if self._kept.take_profile(session):
            (running, capabilities), into = self._start_on_profile(session, deadline, start)
        else:
            (running, capabilities), into = start(low_priority=session.warm), Into.NEW_PROFILE
        state = self._kept.kept_for(session)
        restored = self._browsers.restore(running, state, into) if state is not None else None
        return running, capabilities, restored

    def _start_on_profile(
        self, session: Session, deadline: Deadline, start: Callable[..., Started]
    ) -> tuple[Started, Into]:
        """Start on the kept profile, or on a new one if Chrome refuses it.

        It is set aside only if Chrome starts on a new one; else it is not at fault and stays.
        """
        refusal = self._newer_version(session, deadline)
        if refusal is None:
            try:
                return start(on_kept_profile=True), Into.SAME_PROFILE
            except ChromeDied:
                refusal = "Chrome dies on it"
        self._kept.return_profile(session)
        started = start(low_priority=session.warm)
        path = self._kept.refuse_profile(session)
        self._emit(events.KeptProfileRefused(session.session_id, str(session.key), refusal, str(path)))
        return started, Into.NEW_PROFILE

    def _newer_version(self, session: Session, deadline: Deadline) -> str | None:
        """Return why the kept profile is too new for Chrome, or None.

        An older Chrome does not refuse it, but cannot read a part of it and writes over that.
        """
        used, installed = self._kept.profile_version(session) or "", self._browsers.chrome_version(deadline)
        numbers = major(used), major(installed)
        if all(one.isdecimal() for one in numbers) and int(numbers[0]) > int(numbers[1]):
            return f"it was last used by Chrome {used}, and {installed} is installed"
        return None

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
