"""The DevTools (CDP) endpoints of a session: WebSockets, and Chrome's HTTP endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

from drover.attach.attaching import Attaching
from drover.attach.end_commands import cdp_end
from drover.attach.router import Route
from drover.attach.socket_relay import SocketRelay
from drover.browser.health import Probe, ProbeResult, probe
from drover.browser.running_browser import RunningBrowser
from drover.core.errors import BrowserUnavailable
from drover.net.addresses import Addresses
from drover.net.asgi import Receive, Scope, Send, header, json_answer, on_thread, send_answer
from drover.sessions.pool.driver_access import DriverAccess

_TARGET = r"(?P<target_id>[A-Za-z0-9_-]+)"
_SESSION = r"/sessions/(?P<session_id>[^/]+)"
MAX_DEVTOOLS_ANSWER_BYTES = 32 * 1024 * 1024
"""What Chrome may answer to a client over HTTP; the list of pages has their whole addresses."""


class DevToolsSockets:
    """Endpoints for DevTools clients.

    Args:
        attaching: Connects to sessions, and ends them.
        driver_access: Counts an open socket as use.
        executor: Runs blocking calls.
        port: The port that the service listens on.
        probe_timeout: Seconds within which Chrome must answer an HTTP request.
    """

    def __init__(
        self,
        attaching: Attaching,
        driver_access: DriverAccess,
        executor: Executor,
        *,
        port: int,
        probe_timeout: float,
    ) -> None:
        self._attaching = attaching
        self._driver_access = driver_access
        self._executor = executor
        self._port = port
        self._probe_timeout = probe_timeout

    def routes(self) -> list[Route]:
        """Return the routes of these endpoints."""
        return [
            Route("websocket", re.compile(f"{_SESSION}/cdp/?"), self._browser_socket),
            Route("websocket", re.compile(f"{_SESSION}/devtools/page/{_TARGET}"), self._page_socket),
            Route("http", re.compile(f"{_SESSION}/json/version/?"), self._version),
            Route("http", re.compile(f"{_SESSION}/json(?:/list)?/?"), self._list),
        ]

    async def _browser_socket(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        await self._join(session_id, lambda running: f"browser/{running.browser_guid}", receive, send)

    async def _page_socket(
        self, scope: Scope, receive: Receive, send: Send, session_id: str, target_id: str
    ) -> None:
        await self._join(session_id, lambda _: f"page/{target_id}", receive, send)

    async def _version(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        _, running = await self._attaching.attachable(session_id)
        version = await self._ask(running, "/json/version")
        socket = self._addresses(scope).cdp(session_id)
        await send_answer(send, json_answer({**version, "webSocketDebuggerUrl": socket}))

    async def _list(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        _, running = await self._attaching.attachable(session_id)
        addresses = self._addresses(scope)
        targets = [
            {
                **{name: field for name, field in target.items() if name != "devtoolsFrontendUrl"},
                "webSocketDebuggerUrl": addresses.page(session_id, target["id"]),
            }
            for target in await self._ask(running, "/json/list")
        ]
        await send_answer(send, json_answer(targets))

    async def _ask(self, running: RunningBrowser, path: str) -> Any:  # noqa: ANN401 - Chrome's JSON, as it is
        address = f"http://{running.debugger_address}"
        call = partial(probe, address, path, self._probe_timeout, MAX_DEVTOOLS_ANSWER_BYTES)
        found: Probe = await on_thread(self._executor, call)
        if found.reply is not ProbeResult.ANSWERED:
            raise BrowserUnavailable(f"Chrome did not answer {path} ({found.error}); retry")
        return found.body

    async def _join(
        self, session_id: str, path: Callable[[RunningBrowser], str], receive: Receive, send: Send
    ) -> None:
        """Connect a client's socket, whose handshake is still pending, to the browser."""
        session, running = await self._attaching.attachable(session_id)
        await receive()
        address = f"ws://{running.debugger_address}/devtools/{path(running)}"
        socket = await self._attaching.dial(session_id, address)
        with self._driver_access.use(session):
            await send({"type": "websocket.accept"})
            relay = SocketRelay(
                cdp_end,
                partial(self._attaching.end_session, session_id),
                partial(self._driver_access.has_ended, session_id),
            )
            await relay.run(socket, receive, send)

    def _addresses(self, scope: Scope) -> Addresses:
        return Addresses.seen_by(header(scope, b"host"), scope["scheme"], self._port)
