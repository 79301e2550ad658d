"""What a service answers while it starts: its health and that it is not ready; all else waits."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Final

from drover.net.asgi import Application, Receive, Scope, Send

_ANSWERED: Final = frozenset({"/health", "/ready"})


class StartGate:
    """Holds requests back until the start is over: sessions of an earlier run must not be missed by any.

    It is open until it is closed.
    """

    def __init__(self) -> None:
        self._opened: Future[None] = Future()
        self._opened.set_result(None)

    @property
    def is_open(self) -> bool:
        """Whether the start is over."""
        return self._opened.done()

    def close(self) -> None:
        """Hold requests back from now on."""
        self._opened = Future()

    def open(self) -> None:
        """Let all requests pass; callable from any thread."""
        self._opened.set_result(None)

    def around(self, application: Application) -> Application:
        """Return an application that answers as `application` does, once the start is over."""

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            if not self._opened.done() and scope["path"].rstrip("/") not in _ANSWERED:
                await asyncio.shield(asyncio.wrap_future(self._opened))
            await application(scope, receive, send)

        return gated
