"""The BiDi endpoint: a client's socket to its session's ChromeDriver, and to the one that replaces it.

If ChromeDriver ends, the session is recovered. A client that sends a command within three seconds goes on
over its open socket: WebdriverIO never opens another one. A client that only listens has missed events and
has to know it: its socket closes with 1012, and it goes on where it was when it connects again.
"""

from __future__ import annotations

import re
import time
from collections import deque
from contextlib import suppress
from functools import partial

from websockets.asyncio.client import ClientConnection

from drover.api.descriptions import socket
from drover.attach.attaching import Attaching
from drover.attach.bidi_client import BidiClient
from drover.attach.bidi_conversation import Conversation, Upstream
from drover.attach.router import Route
from drover.core.errors import BrowserUnavailable, NotFound, SessionNotFound
from drover.net.asgi import Receive, Scope, Send
from drover.sessions.pool.driver_access import DriverAccess

KEPT_S = 600.0
MAX_KEPT = 16
"""Clients of one session whose subscriptions are kept until they connect again."""


DESCRIPTIONS = (
    socket(
        "/bidi/{secret}",
        "Connect to a session over BiDi",
        "A WebSocket at the address that New Session returned for `webSocketUrl: true`. The address is the "
        "credential, so no token is needed.",
        query=None,
    ),
)


class BidiSockets:
    """The endpoint for BiDi clients; all of it runs on one event loop.

    Clients are known by the secret of their session's address: a later session may have the same id.
    """

    def __init__(self, attaching: Attaching, driver_access: DriverAccess) -> None:
        self._attaching = attaching
        self._driver_access = driver_access
        self._open: dict[str, list[Conversation]] = {}
        self._left: dict[str, deque[tuple[float, BidiClient]]] = {}

    def routes(self) -> list[Route]:
        """Return the route."""
        pattern = re.compile("/bidi/(?P<secret>[^/]+)")
        return [Route("websocket", pattern, self._socket)]

    async def _socket(self, scope: Scope, receive: Receive, send: Send, secret: str) -> None:
        session_id = self._driver_access.of_secret(secret).session_id
        await receive()
        socket = await self._dial(session_id, secret)
        upstream = Upstream(
            check=partial(self._attaching.attachable, session_id, secret),
            dial=partial(self._dial, session_id, secret),
            end=partial(self._attaching.end_session, session_id),
            has_ended=partial(self._driver_access.address_has_ended, secret),
            seems_well=partial(self._seems_well, secret),
        )
        conversation = Conversation(self._client(secret), upstream, receive, send)
        others = self._open.setdefault(secret, [])
        others.append(conversation)
        try:
            with self._driver_access.use(self._driver_access.of_secret(secret)):
                await send({"type": "websocket.accept"})
                if await conversation.run(socket):
                    self._keep(secret, conversation.client)
        finally:
            others.remove(conversation)
            if not others:
                self._open.pop(secret, None)
            # The client may have left during the check.
            await socket.close()

    def _seems_well(self, secret: str) -> bool:
        try:
            return self._driver_access.seems_well(self._driver_access.of_secret(secret))
        except SessionNotFound:
            return False

    async def _dial(self, session_id: str, secret: str) -> ClientConnection:
        # If Chrome has died since the check, ChromeDriver has ended its session: the next check finds it.
        with suppress(NotFound):
            return await self._dial_checked(session_id, secret)
        try:
            return await self._dial_checked(session_id, secret)
        except NotFound as error:
            raise BrowserUnavailable(f"The browser of session {session_id} has just ended; retry") from error

    async def _dial_checked(self, session_id: str, secret: str) -> ClientConnection:
        _, running = await self._attaching.attachable(session_id, secret)
        if running.bidi_url is None:
            raise BrowserUnavailable(
                f"Session {session_id} has no BiDi now: its ChromeDriver was replaced without it. "
                "Continue over WebDriver or CDP, or open a new session."
            )
        return await self._attaching.dial(session_id, running.bidi_url)

    def _client(self, secret: str) -> BidiClient:
        """Return the client that connects: one that has lost its socket or waits for it, else a new one."""
        for conversation in self._open.get(secret, ()):
            if conversation.is_waiting:
                conversation.give_way()
                return conversation.client
        self._drop_old()
        kept = self._left.get(secret)
        return kept.popleft()[1] if kept else BidiClient()

    def _keep(self, secret: str, client: BidiClient) -> None:
        self._left.setdefault(secret, deque(maxlen=MAX_KEPT)).append((time.monotonic(), client))

    def _drop_old(self) -> None:
        """Forget the clients that have not connected again in time."""
        expired = time.monotonic() - KEPT_S
        for secret, kept in tuple(self._left.items()):
            while kept and kept[0][0] < expired:
                kept.popleft()
            if not kept:
                del self._left[secret]
