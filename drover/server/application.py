"""The service as an ASGI application, for use with another ASGI server."""

from __future__ import annotations

from drover.core.errors import Overloaded, StartRefused
from drover.core.settings import Settings, load_settings
from drover.core.threads import ThreadPool, fill_loop_threads
from drover.net.asgi import Application, Receive, Scope, Send, on_thread
from drover.server.serve import prepare
from drover.server.service import Drover


class DroverApplication:
    """An ASGI application that starts and stops the service with its server's lifespan.

    The server has to call the lifespan protocol, run one process, and listen where `DROVER_HOST` and
    `DROVER_PORT` say: the access check compares each request's `Host` with them.

    Args:
        settings: The settings; if None, they are read from the environment at the start.
    """

    def __init__(self, settings: Settings | None) -> None:
        self._settings = settings
        self._drover: Drover | None = None
        self._application: Application | None = None
        self._thread = ThreadPool("lifespan", 1)

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
            await on_thread(self._thread, self._start)
        except (StartRefused, Overloaded) as refusal:
            await send({"type": "lifespan.startup.failed", "message": refusal.message})
            return
        await fill_loop_threads()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # The thread of the start: a new one might not be allowed any more.
        await on_thread(self._thread, self._stop)
        self._thread.shutdown(wait=False)
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> None:
        drover = prepare(self._settings or load_settings())
        if drover.sessions.cluster is not None:
            drover.sessions.cluster.leave_with(self._stop_later)
        drover.start(lambda: False)
        drover.fill_threads()
        self._drover, self._application = drover, drover.endpoints.asgi()
        # The server runs until its supervisor ends it; a drain closes what the service has opened.
        drover.sessions.drain.over.add_done_callback(self._stop_later)

    def _stop_later(self, _: object) -> None:
        self._thread.submit(self._stop)

    def _stop(self) -> None:
        drover, self._drover = self._drover, None
        if drover is not None:
            drover.stop()
