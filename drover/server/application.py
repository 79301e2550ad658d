"""The service as an ASGI application, for use with another ASGI server."""

from __future__ import annotations

import asyncio

from drover.core.errors import StartRefused
from drover.core.settings import Settings, load_settings
from drover.net.asgi import Application, Receive, Scope, Send
from drover.server.serve import prepare
from drover.server.service import Drover


class DroverApplication:
    """An ASGI application that starts and stops the service with its server's lifespan.

    The server has to call the lifespan protocol, run one process, and listen where `DROVER_HOST` and
    `DROVER_PORT` say: the access check compares each request's `Host` with them.

    Args:
        settings: The settings; if None, they are read from the environment at the start.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._drover: Drover | None = None
        self._application: Application | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, or run the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._application is None:
            raise RuntimeError(
                "The service has not started. Use an ASGI server that runs the lifespan protocol."
            )
        await self._application(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.to_thread(self._start)
        except StartRefused as refusal:
            await send({"type": "lifespan.startup.failed", "message": refusal.message})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._drover is not None:
            await asyncio.to_thread(self._drover.stop)
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> None:
        drover = prepare(self._settings or load_settings())
        drover.start(lambda: False)
        self._drover, self._application = drover, drover.asgi()
