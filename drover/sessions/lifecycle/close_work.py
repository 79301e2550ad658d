"""The close of a session, as a background job, and the reasons for it."""

from __future__ import annotations

from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from drover.browser.browsers import Browsers
from drover.core import events
from drover.core.errors import CleanupIncomplete
from drover.core.events import Emit
from drover.sessions.lifecycle.session_steps import SessionSteps
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.pool.acquire import Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState

DISPLACED_ATTEMPTS = 40
DISPLACED_PAUSE_S = 0.5


class CloseReason(Enum):
    """Why a session is closed; unless it was deleted, its state is kept for the next session of its key.

    `QUIT` is the end by its driver's client: `driver.quit()` is in every script, and must not end a login.
    """

    DELETED = "deleted"
    QUIT = "quit"
    IDLE = "idle"
    EVICTED = "evicted"
    STOPPING = "stopping"
    DRAINED = "drained"
    UNWANTED = "client gone"
    RETRIED = "retried"
    PROBED = "start probe"
    GIVEN_AWAY = "given away"


_LEAVING = frozenset({CloseReason.STOPPING, CloseReason.DRAINED})


@dataclass(eq=False, repr=False)
class CloseWork:
    """Closes sessions."""

    _registry: SessionRegistry
    _browsers: Browsers
    _kept: KeptLogins
    _steps: SessionSteps
    _emit: Emit
    _errors: dict[str, str] = field(default_factory=dict, init=False)
    _parking: set[str] = field(default_factory=set, init=False)
    _unsettled: dict[str, CloseReason] = field(default_factory=dict, init=False)

    def run(self, reserved: Reserved, why: CloseReason) -> None:
        """Close a session: end its processes, remove its folder, and record its end on disk.

        Raises:
            CleanupIncomplete: A process or the folder is left; the session stays in the list.
            StorageUnavailable: Its end is not on disk yet; the session stays in the list.
        """
        session = reserved.session
        if why in _LEAVING:
            self._parking.add(session.birth)
        elif why is not CloseReason.RETRIED:
            self._parking.discard(session.birth)
        try:
            try:
                self._settle_key(session, why)
            finally:
                # No client can use the browser any more, however long the disk is full.
                self._browsers.launcher.stop(session.folder, session.running)
            self._await_displaced(session, reserved.displaced)
            self._steps.clear(session)
            self._kept.ended(session, parks=session.birth in self._parking)
            if session.running is not None:
                self._browsers.devtools.forget(session.running.browser_guid)
        except Exception as error:
            self.failed(session, error)
            raise
        self._errors.pop(session.session_id, None)
        self._parking.discard(session.birth)
        if self._registry.forget(session):
            self._emit(events.SessionClosed(session.session_id, why.value))

    def end_failed_start(self, session: Session) -> None:
        """End what a start has left that has failed; if something survives, the close is retried."""
        try:
            self._steps.clear(session)
        except Exception as error:  # noqa: BLE001 - after any error the session must not stay half-started
            begun = self._registry.begin(session, SessionState.CLOSING)
            if isinstance(begun, Reserved):
                self.failed(begun.session, error)
                begun.work.set_exception(error)
            elif begun is None:
                # It is no longer in the list; the next cleanup removes what is left.
                self._emit(events.SessionCloseIncomplete(session.session_id, str(error)))
        else:
            # Other nodes may see the row of a session that was never ready.
            self._kept.never_started(session)
            self._registry.forget(session)

    def failed(self, session: Session, error: Exception) -> None:
        """Leave a session in the list as closing, so that its close is retried."""
        self._registry.close_failed(session, error)
        reason = str(error) or type(error).__name__
        # The close is retried every few seconds while another program holds a file of the session.
        if self._errors.get(session.session_id) != reason:
            self._errors[session.session_id] = reason
            self._emit(events.SessionCloseIncomplete(session.session_id, reason))

    def _settle_key(self, session: Session, why: CloseReason) -> None:
        """Keep or forget what a session leaves for its key; a retry does it only if it has failed before."""
        if why is CloseReason.RETRIED:
            why = self._unsettled.get(session.birth, why)
        self._unsettled[session.birth] = why
        if why is CloseReason.DELETED:
            self._kept.forget_with(session)
        elif why not in {CloseReason.RETRIED, CloseReason.GIVEN_AWAY}:
            self._kept.keep(session)
        del self._unsettled[session.birth]

    def _await_displaced(self, session: Session, displaced: Future[Any] | None) -> None:
        """Wait until the work that this close has overtaken is done, and end what it still starts."""
        if displaced is None:
            return
        for _ in range(DISPLACED_ATTEMPTS):
            if wait([displaced], timeout=DISPLACED_PAUSE_S).done:
                return
            self._browsers.launcher.stop(session.folder, session.running)
        raise CleanupIncomplete(
            f"The start of session {session.session_id} has not ended; delete the session again later"
        )
