"""The DevTools (CDP) WebSockets of sessions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from drover.api.descriptions import socket
from drover.attach.attaching import Attaching
from drover.attach.devtools_http import TARGET
from drover.attach.end_commands import cdp_end
from drover.attach.router import Route
from drover.attach.socket_relay import SocketRelay
from drover.browser.running_browser import RunningBrowser
from drover.net.asgi import Receive, Scope, Send
from drover.sessions.pool.driver_access import DriverAccess

# Clients that put a path in front of Chrome's (`alterPath` of chrome-remote-interface) do so with the
# addresses that they read here as well.
_SESSION = r"(?:/sessions/[^/]+)?/sessions/(?P<session_id>[^/]+)"


DESCRIPTIONS = (
    socket(
        "/sessions/{session_id}/cdp",
        "Connect to the browser over CDP",
        "A WebSocket for Playwright's `connect_over_cdp` and Puppeteer's `connect`. The session is in use "
        "while it is open.",
    ),
    socket(
        "/sessions/{session_id}/devtools/page/{target_id}",
        "Connect to one page over CDP",
        "A WebSocket; `/sessions/{session_id}/json/list` returns the page ids.",
    ),
    *(
        socket(
            path,
            f"Connect to {what} of any session over CDP",
            "A WebSocket, for clients that derive Chrome's own addresses from another one.",
        )
        for path, what in (
            ("/devtools/page/{target_id}", "a page"),
            ("/devtools/browser/{guid}", "a browser"),
        )
    ),
    socket(
        "/cdp/{secret}",
        "Connect to the browser over CDP without a token",
        "A WebSocket at the address that New Session returned as `se:forwardCdp`: a node of Selenium Grid "
        "leads its clients' CDP through it. The address is the credential, so no token is needed.",
        query=None,
    ),
)


@dataclass(eq=False, repr=False)
class DevToolsSockets:
    """The WebSockets for DevTools clients."""

    _attaching: Attaching
    _driver_access: DriverAccess

    def routes(self) -> list[Route]:
        """Return the routes of these endpoints.

        Clients derive the addresses without a session from those of the browser (pydoll's `connect`).
        """
        browser = r"devtools/browser/(?P<guid>[^/]+)"
        page = f"devtools/page/{TARGET}"
        return [
            Route("websocket", re.compile(f"{_SESSION}/cdp/?"), self._browser),
            Route("websocket", re.compile(f"{_SESSION}/{page}"), self._page),
            Route("websocket", re.compile(f"/{page}"), self._page_of_any),
            Route("websocket", re.compile(f"/{browser}"), self._browser_of_any),
            # The address is the credential, as that of BiDi.
            Route("websocket", re.compile("/cdp/(?P<secret>[^/]+)"), self._forwarded),
        ]

    async def _browser(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        await self._join(session_id, _browser_path, receive, send)

    async def _page(
        self, scope: Scope, receive: Receive, send: Send, session_id: str, target_id: str
    ) -> None:
        await self._join(session_id, lambda _: f"page/{target_id}", receive, send)

    async def _page_of_any(self, scope: Scope, receive: Receive, send: Send, target_id: str) -> None:
        session = self._driver_access.of_page(target_id)
        await self._page(scope, receive, send, session.session_id, target_id)

    async def _browser_of_any(self, scope: Scope, receive: Receive, send: Send, guid: str) -> None:
        session = self._driver_access.of_browser(guid)
        await self._browser(scope, receive, send, session.session_id)

    async def _forwarded(self, scope: Scope, receive: Receive, send: Send, secret: str) -> None:
        session_id = self._driver_access.of_secret(secret).session_id
        await self._join(session_id, _browser_path, receive, send, secret)

    async def _join(
        self,
        session_id: str,
        path: Callable[[RunningBrowser], str],
        receive: Receive,
        send: Send,
        secret: str | None = None,
    ) -> None:
        """Connect a client's socket, whose handshake is still pending, to the browser."""
        session, running = await self._attaching.attachable(session_id, secret)
        await receive()
        address = f"ws://{running.debugger_address}/devtools/{path(running)}"
        socket = await self._attaching.dial(session_id, address)
        relay = SocketRelay(
            cdp_end,
            partial(self._attaching.end_session, session_id),
            partial(self._driver_access.has_ended, session_id),
        )
        try:
            with self._driver_access.use(session):
                await send({"type": "websocket.accept"})
                await relay.run(socket, receive, send)
        finally:
            # The client may have left during the check.
            await socket.close()


def _browser_path(running: RunningBrowser) -> str:
    return f"browser/{running.browser_guid}"
