"""The end of all sessions when the service stops."""

from __future__ import annotations

from concurrent.futures import wait

from drover.core.deadline import Deadline
from drover.processes.termination import end
from drover.sessions.lifecycle.closer import Closer
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session

STOP_S = 7.0


class Shutdown:
    """Closes all sessions, or leaves them to the next start.

    Args:
        registry: The list of sessions.
        closer: Closes them.
        state_saver: Holds the states that were saved from the browsers.
        repository: Keeps on disk what must outlive the process.
        kept: Keeps what sessions leave for the next ones of their keys.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        closer: Closer,
        state_saver: StateSaver,
        repository: SessionRepository,
        kept: KeptLogins,
    ) -> None:
        self._registry = registry
        self._closer = closer
        self._state_saver = state_saver
        self._repository = repository
        self._kept = kept

    def stop(self, *, keep_browsers: bool) -> tuple[str, ...]:
        """Accept no more requests, fail all waiting callers, and close every session within `STOP_S` seconds.

        Args:
            keep_browsers: Leave the sessions' browsers running; the next start of the service adopts them.

        Returns:
            The ids of sessions that could not be closed in time. Their processes are ended, and on disk they
            have ended too, so that none of them comes back; what is left of them is a folder.
        """
        deadline = Deadline(STOP_S)
        sessions = self._registry.stop()
        if keep_browsers:
            wait(self._registry.works(), timeout=deadline.remaining())
            self._state_saver.save_now(sessions)
            left = self._closer.close_all([session for session in sessions if session.warm], deadline)
        else:
            left = self._closer.close_all(sessions, deadline)
            self.kill()
        for session in left:
            self._end_on_disk(session)
        # A start that was overtaken ends what it has started; its folder is removed only then.
        wait(self._registry.works(), timeout=deadline.remaining())
        return tuple(session.session_id for session in left)

    def kill(self) -> None:
        """End immediately every process that still runs; folders are removed at the next start."""
        alive = self._registry.running()
        end([identity for running in alive for identity in (running.browser, running.driver)], grace=0)

    def _end_on_disk(self, session: Session) -> None:
        self._kept.keep_as_saved(session)
        self._repository.forget(session)
