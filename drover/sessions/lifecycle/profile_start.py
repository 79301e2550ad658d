"""The start of a new session's browser with what is kept for its key: the profile, and the saved state."""

from __future__ import annotations

from dataclasses import dataclass

from drover.browser.browsers import Browsers
from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.driver_processes import StillWanted
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import Into, Restored
from drover.browser.start_diagnostics import ChromeDied
from drover.browser.versions import major
from drover.core import events
from drover.core.deadline import Deadline
from drover.core.events import Emit
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.pool.session import Session

Started = tuple[RunningBrowser, CheckedCapabilities]


@dataclass(eq=False, repr=False)
class ProfileStart:
    """Starts the browsers of new sessions."""

    _browsers: Browsers
    _kept: KeptLogins
    _emit: Emit

    def start(
        self, session: Session, deadline: Deadline, wanted: StillWanted
    ) -> tuple[RunningBrowser, CheckedCapabilities, Restored | None]:
        """Start the browser of a new session in its folder, and restore the state that is kept for its key.

        Returns:
            The browser, its capabilities, and what it has received of the state, if any is kept.

        Raises:
            SessionNotCreated: Chrome starts with default capabilities, but not with these.
            BrowserUnavailable: No browser can be started.
            SessionLost: The session is no longer wanted.
            StorageUnavailable: The database could not be read.
        """
        if self._kept.take_profile(session):
            (running, capabilities), into = self._with_profile(session, deadline, wanted)
        else:
            running, capabilities = self._on_new_profile(session, deadline, wanted)
            into = Into.NEW_PROFILE
        state = self._kept.kept_for(session)
        restored = self._browsers.restore(running, state, into) if state is not None else None
        return running, capabilities, restored

    def _with_profile(
        self, session: Session, deadline: Deadline, wanted: StillWanted
    ) -> tuple[Started, Into]:
        """Start on the kept profile, or on a new one if Chrome refuses it.

        It is set aside only if Chrome starts on a new one; else it is not at fault and stays.
        """
        reason = self._newer_version(session, deadline)
        if reason is None:
            found = self._on_kept_profile(session, deadline, wanted)
            if not isinstance(found, str):
                return found, Into.SAME_PROFILE
            reason = found
        self._kept.return_profile(session)
        started = self._on_new_profile(session, deadline, wanted)
        path = self._kept.refuse_profile(session)
        self._emit(events.KeptProfileRefused(session.session_id, str(session.key), reason, str(path)))
        return started, Into.NEW_PROFILE

    def _on_new_profile(self, session: Session, deadline: Deadline, wanted: StillWanted) -> Started:
        return self._browsers.start(
            session.folder, session.capabilities, deadline, wanted, low_priority=session.warm
        )

    def _on_kept_profile(self, session: Session, deadline: Deadline, wanted: StillWanted) -> Started | str:
        """Start on the kept profile; return why Chrome refuses it if it dies on it."""
        try:
            return self._browsers.start(
                session.folder, session.capabilities, deadline, wanted, on_kept_profile=True
            )
        except ChromeDied:
            return "Chrome dies on it"

    def _newer_version(self, session: Session, deadline: Deadline) -> str | None:
        """Return why the kept profile is too new for Chrome, or None.

        An older Chrome does not refuse it, but cannot read a part of it and writes over that.
        """
        used, installed = self._kept.profile_version(session) or "", self._browsers.chrome_version(deadline)
        numbers = major(used), major(installed)
        if all(one.isdecimal() for one in numbers) and int(numbers[0]) > int(numbers[1]):
            return f"it was last used by Chrome {used}, and {installed} is installed"
        return None
