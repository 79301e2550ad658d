"""Steps that starts, recoveries and closes of sessions have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from drover.browser.browsers import Browsers
from drover.browser.running_browser import RunningBrowser
from drover.browser.saved_state import Restored
from drover.core import events
from drover.core.errors import CleanupIncomplete, DroverError, SessionLost, ShuttingDown
from drover.core.events import Emit
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session
from drover.storage.session_folders import SessionFolders


@dataclass(eq=False, repr=False)
class SessionSteps:
    """Steps of the work on one session."""

    _registry: SessionRegistry
    _browsers: Browsers
    _folders: SessionFolders
    _state_saver: StateSaver
    _emit: Emit

    def publish(self, session: Session, running: RunningBrowser, **changes: object) -> Session:
        """Make a session ready with a browser that has just been started or recovered.

        Raises:
            BrowserUnavailable: The browser accepts no DevTools connection.
            SessionLost: The session was closed in the meantime.
        """
        health, current_url = self._browsers.first_look(running)
        changes |= {"running": running, "health": health, "current_url": current_url or session.current_url}
        published = self._registry.publish(session, **changes)
        if published is None:
            raise SessionLost(f"Session {session.session_id} was closed in the meantime")
        return published

    def remember(self, session: Session, restored: Restored) -> None:
        """Keep saving what the browser has not received beside what it has, and say what that is."""
        self._state_saver.remember(session, restored.state)
        if restored.lost:
            self._emit(events.StateNotRestored(session.session_id, ", ".join(restored.lost)))

    def clear(self, session: Session) -> None:
        """End all processes of a session and remove its folder.

        Raises:
            CleanupIncomplete: A process or the folder is left.
        """
        self._browsers.launcher.stop(session.folder, session.running)
        self._folders.reclaim(session.folder)
        if not self._folders.remove(session.folder):
            raise CleanupIncomplete(
                f"The folder {session.folder.path} could not be removed; "
                "close the program that uses it, then delete the session again"
            )

    def wanted(self, session: Session) -> Callable[[], bool]:
        """Return a function that returns whether the work on a session is still wanted."""
        return partial(self._registry.is_current, session)

    def overtaken(self, session: Session) -> DroverError | None:
        """Return the error for those who wait for work that a close or an emergency has overtaken, if any."""
        if self._registry.is_current(session):
            return None
        if self._registry.stopping:
            return ShuttingDown()
        return SessionLost(
            f"Session {session.session_id} was closed in the meantime; create a new one with POST /sessions"
        )


def milliseconds_since(begun: float) -> int:
    """Return the milliseconds since a time on the monotonic clock."""
    return round(1000 * (time.monotonic() - begun))
