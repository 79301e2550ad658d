"""WebSocket endpoints of a session: Chrome DevTools (CDP) and ChromeDriver's BiDi."""

from __future__ import annotations

import re
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from drover.attach.end_commands import FindEnd, bidi_end, cdp_end
from drover.attach.router import Route
from drover.attach.socket_relay import SocketRelay
from drover.browser.health import Probe, ProbeResult, probe
from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import REQUEST_S, Deadline
from drover.core.errors import BrowserUnavailable, NotFound, SessionNotFound
from drover.net.addresses import Addresses
from drover.net.asgi import Receive, Scope, Send, header, json_answer, on_thread, send_answer
from drover.sessions.pool.driver_access import DriverAccess
from drover.sessions.pool.session import Session
from session_manager import SessionManager

RECOVERY_TIMEOUT_S = 120.0
CONNECT_S = 5.0
CLOSE_S = 2.0
_TARGET = r"(?P<target_id>[A-Za-z0-9_-]+)"
_SESSION = r"/sessions/(?P<session_id>[^/]+)"
MAX_DEVTOOLS_ANSWER_BYTES = 32 * 1024 * 1024
"""What Chrome may answer to a client over HTTP; the list of pages has their whole addresses."""


class DevToolsSockets:
    """Endpoints for DevTools and BiDi clients.

    Args:
        manager: Recovers a dead session before a client attaches to it.
        driver_access: Finds the session's browser and counts an open socket as use.
        executor: Runs blocking calls.
        port: The port that the service listens on.
        probe_timeout: Seconds within which Chrome must answer an HTTP request.
    """

    def __init__(
        self,
        manager: SessionManager,
        driver_access: DriverAccess,
        executor: Executor,
        *,
        port: int,
        probe_timeout: float,
    ) -> None:
        self._manager = manager
        self._driver_access = driver_access
        self._executor = executor
        self._port = port
        self._probe_timeout = probe_timeout

    def routes(self) -> list[Route]:
        """Return the routes of these endpoints."""
        return [
            Route("websocket", re.compile(f"{_SESSION}/cdp/?"), self._browser_socket),
            Route("websocket", re.compile(f"{_SESSION}/devtools/page/{_TARGET}"), self._page_socket),
            # The address is the credential: only the client that requested it receives it.
            Route("websocket", re.compile("/bidi/(?P<secret>[^/]+)"), self._bidi_socket, needs_token=False),
            Route("http", re.compile(f"{_SESSION}/json/version/?"), self._version),
            Route("http", re.compile(f"{_SESSION}/json(?:/list)?/?"), self._list),
        ]

    async def _browser_socket(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        session, running = await self._attachable(session_id)
        await self._join(
            session, _devtools(running, f"browser/{running.browser_guid}"), cdp_end, receive, send
        )

    async def _page_socket(
        self, scope: Scope, receive: Receive, send: Send, session_id: str, target_id: str
    ) -> None:
        session, running = await self._attachable(session_id)
        await self._join(session, _devtools(running, f"page/{target_id}"), cdp_end, receive, send)

    async def _bidi_socket(self, scope: Scope, receive: Receive, send: Send, secret: str) -> None:
        known = self._driver_access.of_bidi_secret(secret)
        session, running = await self._attachable(known.session_id)
        if running.bidi_url is None:
            raise BrowserUnavailable(
                f"BiDi of session {session.session_id} ended when its ChromeDriver was replaced. "
                "The browser is the same: continue over WebDriver or CDP, or open a new session."
            )
        await self._join(session, running.bidi_url, bidi_end, receive, send)

    async def _version(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        _, running = await self._attachable(session_id)
        version = await self._ask(running, "/json/version")
        socket = self._addresses(scope).cdp(session_id)
        await send_answer(send, json_answer({**version, "webSocketDebuggerUrl": socket}))

    async def _list(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        _, running = await self._attachable(session_id)
        addresses = self._addresses(scope)
        targets = [
            {
                **{name: field for name, field in target.items() if name != "devtoolsFrontendUrl"},
                "webSocketDebuggerUrl": addresses.page(session_id, target["id"]),
            }
            for target in await self._ask(running, "/json/list")
        ]
        await send_answer(send, json_answer(targets))

    async def _attachable(self, session_id: str) -> tuple[Session, RunningBrowser]:
        """Return a session and its browser after a health check, recovered if it was dead."""
        call = partial(self._manager.check, session_id, Deadline(RECOVERY_TIMEOUT_S))
        session = (await on_thread(self._executor, call)).session
        if session.running is None:
            raise BrowserUnavailable(
                f"Session {session_id} has no browser now ({session.state.value}); retry"
            )
        return session, session.running

    async def _ask(self, running: RunningBrowser, path: str) -> Any:  # noqa: ANN401 - Chrome's JSON, as it is
        address = f"http://{running.debugger_address}"
        call = partial(probe, address, path, self._probe_timeout, MAX_DEVTOOLS_ANSWER_BYTES)
        found: Probe = await on_thread(self._executor, call)
        if found.reply is not ProbeResult.ANSWERED:
            raise BrowserUnavailable(f"Chrome did not answer {path} ({found.error}); retry")
        return found.body

    async def _join(
        self, session: Session, upstream: str, find_end: FindEnd, receive: Receive, send: Send
    ) -> None:
        """Connect a client's socket, whose handshake is still pending, to the browser or to ChromeDriver."""
        await receive()
        try:
            # Chrome and ChromeDriver accept a socket without an `Origin` and refuse a foreign one.
            socket = await connect(
                upstream,
                compression=None,
                max_size=None,
                open_timeout=CONNECT_S,
                close_timeout=CLOSE_S,
                ping_interval=None,
                proxy=None,
            )
        except InvalidStatus as error:
            raise NotFound(
                f"No such DevTools target in session {session.session_id} ({error}). "
                f"GET /sessions/{session.session_id}/json/list returns the current ones."
            ) from error
        except (WebSocketException, OSError, TimeoutError) as error:
            # The health check before this one succeeded.
            raise BrowserUnavailable(
                f"Cannot connect to the browser of session {session.session_id} ({error}); retry"
            ) from error
        with self._driver_access.use(session):
            await send({"type": "websocket.accept"})
            session_id = session.session_id
            relay = SocketRelay(
                find_end,
                partial(self._end_session, session_id),
                lambda: self._driver_access.has_ended(session_id),
            )
            await relay.run(socket, receive, send)

    async def _end_session(self, session_id: str) -> None:
        """End a session as its client has asked for; what it holds is kept for the next one of its key."""
        # Another client may have ended it in the meantime.
        with suppress(SessionNotFound):
            await on_thread(
                self._executor, partial(self._manager.close, session_id, Deadline(REQUEST_S), keep=True)
            )

    def _addresses(self, scope: Scope) -> Addresses:
        return Addresses.seen_by(header(scope, b"host"), scope["scheme"], self._port)


def _devtools(running: RunningBrowser, path: str) -> str:
    return f"ws://{running.debugger_address}/devtools/{path}"
