"""What every WebSocket endpoint of a session needs: a healthy session, a connection to it, and its end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus, WebSocketException

from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import REQUEST_S, Deadline
from drover.core.errors import BrowserUnavailable, NotFound, SessionNotFound
from drover.net.asgi import on_thread
from drover.net.loopback import open_socket
from drover.net.request_threads import RequestThreads
from drover.sessions.pool.session import Session
from session_manager import SessionManager

RECOVERY_TIMEOUT_S = 120.0


@dataclass(eq=False, repr=False)
class Attaching:
    """Connects to sessions, recovered first if they are dead, and ends them."""

    _manager: SessionManager
    _threads: RequestThreads

    async def attachable(self, session_id: str, secret: str | None = None) -> tuple[Session, RunningBrowser]:
        """Return a session and its browser after a health check, recovered if it was dead.

        Args:
            secret: The secret part of the address that its client has used, if that has one.

        Raises:
            SessionNotFound: No session has this id, or it has another secret: it is a later session.
            BrowserUnavailable: It has no browser now, or could not be recovered.
        """
        call = partial(self._manager.check, session_id, Deadline(RECOVERY_TIMEOUT_S))
        session = (await on_thread(self._threads.waiting, call)).session
        if secret is not None and session.socket_secret != secret:
            raise SessionNotFound("No session has this address any more; it was closed")
        if session.running is None:
            raise BrowserUnavailable(
                f"Session {session_id} has no browser now ({session.state.value}); retry"
            )
        return session, session.running

    async def dial(self, session_id: str, upstream: str) -> ClientConnection:
        """Connect to an address of a session's browser or ChromeDriver, which has just passed a check.

        Raises:
            NotFound: The address does not exist.
            BrowserUnavailable: It accepts no connection.
        """
        try:
            return await open_socket(upstream)
        except InvalidStatus as error:
            raise NotFound(
                f"No such DevTools target in session {session_id} ({error}). "
                f"GET /sessions/{session_id}/json/list returns the current ones."
            ) from error
        except (WebSocketException, OSError) as error:
            raise BrowserUnavailable(
                f"Cannot connect to the browser of session {session_id} ({error}); retry"
            ) from error

    async def end_session(self, session_id: str) -> None:
        """End a session as its client has asked for; what it holds is kept for the next one of its key.

        Raises:
            CleanupIncomplete: Something is left of it.
        """
        # Another client may have ended it in the meantime.
        with suppress(SessionNotFound):
            await on_thread(
                self._threads.commands,
                partial(self._manager.close, session_id, Deadline(REQUEST_S), keep=True),
            )
