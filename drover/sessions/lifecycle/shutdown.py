"""The end of all sessions when the service stops."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass

from drover.browser.browsers import Browsers
from drover.core.deadline import Deadline
from drover.core.errors import CleanupIncomplete, StorageUnavailable
from drover.processes.termination import end
from drover.sessions.lifecycle.closer import Closer
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState

STOP_S = 7.0
WORKS_S = 2.0
"""Seconds that starts and recoveries in progress have to end by themselves, if the browsers are kept."""
INTERRUPT_EVERY_S = 0.2


@dataclass(eq=False, repr=False)
class Shutdown:
    """Closes all sessions, or leaves them to the next start."""

    _registry: SessionRegistry
    _closer: Closer
    _browsers: Browsers
    _state_saver: StateSaver
    _repository: SessionRepository
    _kept: KeptLogins

    def stop(self, *, keep_browsers: bool) -> tuple[str, ...]:
        """Accept no more requests, fail all waiting callers, and close every session within `STOP_S` seconds.

        Args:
            keep_browsers: Leave the sessions' browsers running; the next start of the service adopts them.

        Returns:
            The ids of sessions that could not be closed in time. Their processes are ended, and on disk they
            have ended too, so that none of them comes back; what is left of them is a folder. Only one whose
            profile cannot be kept for its key, as on a full disk, is restored by the next start.
        """
        deadline = Deadline(STOP_S)
        sessions = self._registry.stop()
        if keep_browsers:
            left = self._keep(sessions, deadline)
        else:
            left = self._closer.close_all(sessions, deadline)
            self.kill()
        for session in left:
            with suppress(StorageUnavailable):
                self._kept.keep_as_saved(session)
                self._repository.forget(session)
        # A start that was overtaken ends what it has started; its folder is removed only then.
        wait(self._registry.works(), timeout=deadline.remaining())
        return tuple(one.session_id for one in left)

    def _keep(self, sessions: Iterable[Session], deadline: Deadline) -> tuple[Session, ...]:
        """Leave the browsers of all sessions but the unused ones; return those that could not be closed."""
        wait(self._registry.works(), timeout=deadline.within(WORKS_S).remaining())
        self._interrupt_recoveries()
        # A browser that still starts probably hangs, and no client has been promised its session.
        starting = [one for one in self._registry.sessions() if one.state is SessionState.STARTING]
        left = self._closer.close_all([*starting, *(one for one in sessions if one.warm)], deadline)
        while wait(self._registry.works(), timeout=INTERRUPT_EVERY_S).not_done and deadline.remaining() > 0:
            self._interrupt_recoveries()
        self._state_saver.save_now(self._registry.sessions())
        self._registry.record_uses()
        return left

    def _interrupt_recoveries(self) -> None:
        """Let recoveries fail that wait for a process that hangs; the next start repeats them."""
        for session in self._registry.sessions():
            if session.state is SessionState.RECOVERING:
                # If something is left, the recovery goes on, and the stop says so.
                with suppress(CleanupIncomplete):
                    self._browsers.launcher.end_drivers(session.folder, session.running)

    def kill(self) -> None:
        """End immediately every process that still runs; folders are removed at the next start."""
        alive = self._registry.running()
        end([identity for running in alive for identity in (running.browser, running.driver)], grace=0)
