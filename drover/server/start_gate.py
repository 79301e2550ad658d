"""What a service answers while it starts: its health and that it is not ready; all else waits."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Final

from drover.attach import w3c
from drover.attach.router import refuse
from drover.core.deadline import REQUEST_S
from drover.core.errors import BrowserUnavailable
from drover.net.asgi import Application, Receive, Scope, Send

STARTING: Final = "The service is still starting. Retry later; its log says what it waits for"
_ANSWERED: Final = frozenset({"/health", "/ready"})


class StartGate:
    """Holds requests back until the start is over: sessions of an earlier run must not be missed by any.

    It is open until it is closed.
    """

    def __init__(self) -> None:
        self.is_open = True
        self._opened: Future[None] = Future()

    def close(self) -> None:
        """Hold requests back from now on."""
        self.is_open = False

    def open(self) -> None:
        """Let all requests pass, once; callable from any thread."""
        self.is_open = True
        self._opened.set_result(None)

    def around(self, application: Application) -> Application:
        """Return an application that answers as `application` does, once the start is over."""

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            if self.is_open or scope["path"].rstrip("/") in _ANSWERED or await self._opens():
                await application(scope, receive, send)
            else:
                error = BrowserUnavailable(STARTING)
                await refuse(scope, send, w3c.failure_at(scope, error))

        return gated

    async def _opens(self) -> bool:
        """Return whether the start is over in time for a request; a lost database may delay it for hours."""
        opened = asyncio.wrap_future(self._opened)
        await asyncio.wait([opened], timeout=REQUEST_S)
        return opened.done()
