"""What the doors for drivers ask of a session: where it lives, whether it seems well, what its client did."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from drover.browser.devtools import DevTools
from drover.core.errors import SessionNotFound
from drover.processes.table import Liveness, liveness
from drover.sessions.lifecycle.crash_backoff import NO_CRASH_LOOP
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState


class DriverAccess:
    """Answers the doors for drivers at the pace of their commands; none of it asks a browser anything.

    Args:
        registry: The list of sessions.
        devtools: The DevTools connections, for what they have heard.
        repository: Keeps on disk what a recovery after a restart needs to know.
    """

    def __init__(self, registry: SessionRegistry, devtools: DevTools, repository: SessionRepository) -> None:
        self._registry = registry
        self._devtools = devtools
        self._repository = repository

    def session(self, session_id: str) -> Session:
        """Give a session as it is now.

        Raises:
            SessionNotFound: There is none of this id.
        """
        return self._registry.get(session_id)

    def knows(self, session_id: str) -> bool:
        """Tell whether there is a session of this id."""
        return any(session.session_id == session_id for session in self._registry.sessions())

    def of_bidi_secret(self, secret: str) -> Session:
        """Give the session whose BiDi address has this secret in it.

        Raises:
            SessionNotFound: There is none.
        """
        for session in self._registry.sessions():
            if session.bidi_secret and hmac.compare_digest(session.bidi_secret.encode(), secret.encode()):
                return session
        raise SessionNotFound("There is no session of this BiDi address; it has ended")

    def seems_well(self, session: Session) -> bool:
        """Tell whether nothing is known against a session: a look of some 40 us, without a connection.

        What is silent, or refuses connections, is found by the health check alone.
        """
        running = session.running
        if running is None or session.state is not SessionState.READY:
            return False
        seen = self._devtools.seen(running)
        return (
            not seen.crashed_pages
            and not seen.no_page_left
            and liveness(running.driver) is Liveness.ALIVE
            and liveness(running.browser) is Liveness.ALIVE
        )

    @contextmanager
    def use(self, session: Session) -> Iterator[None]:
        """Count a command or an open socket as use of a session for as long as it lasts."""
        with self._registry.command(session):
            yield

    def answered(self, session: Session) -> None:
        """Note that a command was answered: the session lives, however often it was brought back before."""
        if session.crash_loop != NO_CRASH_LOOP:
            self._registry.note(session, crash_loop=NO_CRASH_LOOP)

    def client_chose_window(self, session_id: str, handle: str) -> None:
        """Note the window that a client is in, so that a recovery leaves him there.

        Raises:
            SessionNotFound: It has ended meanwhile.
        """
        self._repository.save(self._registry.update(session_id, lambda known: replace(known, window=handle)))

    def client_set_timeouts(self, session_id: str, timeouts: Mapping[str, object]) -> None:
        """Note timeouts (in ms) that a client has set, so that a recovery sets them again.

        Raises:
            SessionNotFound: It has ended meanwhile.
        """

        def change(known: Session) -> Session:
            return replace(known, capabilities=known.capabilities.with_timeouts(timeouts))

        self._repository.save(self._registry.update(session_id, change))
