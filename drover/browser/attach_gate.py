"""A DevTools address that lists a spare page last, for a ChromeDriver that attaches with BiDi.

With `webSocketUrl` ChromeDriver 156 loads `about:blank` into the last page that `Target.getTargets` lists
(session_commands.cc, InitSessionHelper), which is usually the oldest one, with the client's document. The
list cannot be ordered in Chrome: it follows a hash table of renderers. So ChromeDriver attaches through this
gate, which moves a spare page to the end of the list, and is relayed message by message for the rest of its
life; a ChromeDriver cannot change its connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from http import HTTPStatus

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.http11 import Request, Response

from drover.browser.health import probe
from drover.browser.running_browser import RunningBrowser
from drover.core.tasks import end_tasks
from drover.net.loopback import CLOSE_S, CONNECT_S, open_socket

LOOPBACK = "127.0.0.1"
MAX_ANSWER_BYTES = 32 * 1024 * 1024
_ASKED = ("/json/version", "/json/list")
_TARGETS = "targetInfos"


class AttachGate:
    """The DevTools address of one browser for one ChromeDriver; it runs on the loop that opened it.

    Args:
        threads: Ask the browser over HTTP.
    """

    def __init__(self, running: RunningBrowser, spare: frozenset[str], threads: Executor) -> None:
        self._running = running
        self._spare = spare
        self._threads = threads
        self._server: Server | None = None
        self._driver: ServerConnection | None = None
        self._attached = False
        self.address = ""

    async def open(self) -> None:
        """Listen on a free port of the loopback address."""
        self._server = await serve(
            self._relay,
            LOOPBACK,
            0,
            process_request=self._answer,
            server_header=None,
            compression=None,
            max_size=None,
            open_timeout=CONNECT_S,
            close_timeout=CLOSE_S,
            ping_interval=None,
        )
        self.address = f"{LOOPBACK}:{next(iter(self._server.sockets)).getsockname()[1]}"

    def attached(self) -> None:
        """Accept no other connection, and relay the messages of this one as they are."""
        self._attached = True
        if self._server is not None:
            self._server.close(close_connections=False)

    async def close(self) -> None:
        """Close the connection; its ChromeDriver loses the browser."""
        self.attached()
        if self._driver is not None:
            await self._driver.close()

    async def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer the HTTP requests of ChromeDriver; refuse web pages and a second client."""
        if "Origin" in request.headers:
            return connection.respond(HTTPStatus.FORBIDDEN, "Web pages are refused.\n")
        socket = f"/devtools/browser/{self._running.browser_guid}"
        if request.path in _ASKED:
            body = await self._ask(request.path)
            if isinstance(body, dict):
                body = {**body, "webSocketDebuggerUrl": f"ws://{self.address}{socket}"}
            return connection.respond(HTTPStatus.OK, json.dumps(body))
        is_driver = request.path == socket and self._driver is None
        return None if is_driver else connection.respond(HTTPStatus.NOT_FOUND, "No such target.\n")

    async def _ask(self, path: str) -> object:
        address = f"http://{self._running.debugger_address}"
        call = partial(probe, address, path, CONNECT_S, MAX_ANSWER_BYTES)
        # Without an answer ChromeDriver gets `null`, and says that Chrome is not reachable.
        return (await asyncio.get_running_loop().run_in_executor(self._threads, call)).body

    async def _relay(self, driver: ServerConnection) -> None:
        self._driver = driver
        try:
            async with await open_socket(self._running.devtools_address) as browser:
                down = asyncio.create_task(_forward(browser, driver, self._listed))
                up = asyncio.create_task(_forward(driver, browser, lambda message: message))
                try:
                    await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    await end_tasks(down, up)
        except (WebSocketException, OSError):
            # ChromeDriver notices that it has lost the browser, and the health check what has happened.
            return

    def _listed(self, message: str | bytes) -> str | bytes:
        return message if self._attached else spare_last(message, self._spare)


async def _forward(
    source: Connection, target: Connection, changed: Callable[[str | bytes], str | bytes]
) -> None:
    try:
        async for message in source:
            await target.send(changed(message))
    except ConnectionClosed:
        return


def spare_last(message: str | bytes, spare: frozenset[str]) -> str | bytes:
    """Return an answer to `Target.getTargets` with the spare page at its end, other messages as they are."""
    if isinstance(message, bytes) or _TARGETS not in message:
        return message
    content = json.loads(message)
    targets = content.get("result", {}).get(_TARGETS)
    if not isinstance(targets, list):
        return message
    targets.sort(key=lambda target: target["targetId"] in spare)
    return json.dumps(content)
