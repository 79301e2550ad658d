"""Access to sessions for the driver endpoints: addresses, a quick health check, and activity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from drover.browser.devtools import DevTools
from drover.browser.driver_state import DriverState
from drover.core.backoff import NO_FAILURES
from drover.core.errors import SessionNotFound
from drover.processes.table import Liveness, liveness
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState


@dataclass(eq=False, repr=False)
class DriverAccess:
    """Session look-ups and updates for the driver endpoints, fast enough for every command.

    None of the methods sends anything to a browser.

    Args:
        evict: Closes the sessions that must make room; called when a session is no longer in use.
    """

    _registry: SessionRegistry
    _devtools: DevTools
    _evict: Callable[[], object]

    def session(self, session_id: str) -> Session:
        """Return a session as it is now.

        Raises:
            SessionNotFound: No session has this id.
        """
        return self._registry.get(session_id)

    def knows(self, session_id: str) -> bool:
        """Return whether there is a session with this id."""
        return self._registry.has(session_id, None)

    def has_ended(self, session_id: str) -> bool:
        """Return whether a session is being closed, or no longer exists."""
        return _has_ended(partial(self._registry.get, session_id))

    def address_has_ended(self, secret: str) -> bool:
        """Return whether the session whose addresses contain this secret is being closed, or is gone."""
        return _has_ended(partial(self._registry.of_secret, secret))

    def of_secret(self, secret: str) -> Session:
        """Return the session whose BiDi and DevTools addresses contain this secret.

        Raises:
            SessionNotFound: There is none.
        """
        return self._registry.of_secret(secret)

    def sessions(self) -> tuple[Session, ...]:
        """Return all sessions."""
        return self._registry.sessions()

    def of_page(self, target_id: str) -> Session:
        """Return the session whose browser has a page with this DevTools id.

        Raises:
            SessionNotFound: There is none.
        """
        for session in self._registry.sessions():
            if session.running is not None and self._devtools.page(session.running, target_id):
                return session
        raise SessionNotFound("No session has a page with this id; GET /sessions/{id}/json/list returns them")

    def of_browser(self, guid: str) -> Session:
        """Return the session whose browser has this identifier.

        Raises:
            SessionNotFound: There is none.
        """
        for session in self._registry.sessions():
            if session.running is not None and session.running.browser_guid == guid:
                return session
        raise SessionNotFound("No session has this browser; GET /sessions returns the sessions")

    def seems_well(self, session: Session, *, lives: bool = False) -> bool:
        """Return whether no fault of a session is known; takes about 20 us, without a connection.

        Silence and refused connections are detected only by the health check.

        Args:
            lives: Its processes are known to be alive at this moment, and are not looked at.
        """
        running = session.running
        if running is None or session.state is not SessionState.READY:
            return False
        seen = self._devtools.seen(running)
        if seen.crashed_pages or seen.no_page_left:
            return False
        processes = () if lives else (running.driver, running.browser)
        return all(liveness(process) is Liveness.ALIVE for process in processes)

    @contextmanager
    def use(self, session: Session) -> Iterator[None]:
        """Count a command or an open socket as activity of a session, until the `with` block ends."""
        self.use_begins(session)
        try:
            yield
        finally:
            self.use_ends(session)

    def use_begins(self, session: Session) -> None:
        """Count a command as activity of a session, until `use_ends`."""
        self._registry.command_begins(session)

    def use_ends(self, session: Session) -> None:
        """End what `use_begins` has begun."""
        self._registry.command_ends(session)
        self._evict()

    def answered(self, session: Session) -> None:
        """Record that a command was answered, which ends the session's crash loop."""
        if session.crash_loop != NO_FAILURES:
            self._registry.note(session, crash_loop=NO_FAILURES)

    def client_changed_driver(self, session_id: str, state: DriverState, window: str | None) -> None:
        """Record what a client has set in ChromeDriver, and the tab that it uses, for a recovery.

        Raises:
            SessionNotFound: The session was closed in the meantime.
        """
        self._registry.update(
            session_id,
            lambda known: replace(known, driver_state=state, window=window or known.window),
        )

    def client_set_timeouts(self, session_id: str, timeouts: Mapping[str, object]) -> None:
        """Record timeouts (in ms) that a client has set, so that a recovery sets them again.

        Raises:
            SessionNotFound: The session was closed in the meantime.
        """
        self._registry.update(
            session_id,
            lambda known: replace(known, capabilities=known.capabilities.with_timeouts(timeouts)),
        )


def _has_ended(find: Callable[[], Session]) -> bool:
    try:
        return find().state is SessionState.CLOSING
    except SessionNotFound:
        return True
