"""A DevTools connection to one page, on the event loop of the service, for as long as the page is viewed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from drover.core.tasks import end_tasks, is_set_within
from drover.net.loopback import open_socket

MAX_UNANSWERED = 200
"""Commands that a page may leave unanswered because it computes or shows a dialog; more are refused."""

Values = Mapping[str, Any]
HandleEvent = Callable[[str, Values], None]


class PageFailed(Exception):
    """A page refused a command, did not answer it in time, is busy, or is gone."""


class PageConnection:
    """Commands to one page, sent in the order of the calls, and its events.

    Args:
        handle: Called with the method and the parameters of each event.
    """

    def __init__(self, socket: ClientConnection, handle: HandleEvent) -> None:
        self._socket = socket
        self._handle = handle
        self._number = 0
        self._pending: dict[int, asyncio.Future[Values]] = {}
        self._unanswered: set[int] = set()
        self._settled = asyncio.Event()
        self.reader = asyncio.create_task(self._read())

    async def call(self, method: str, timeout: float, **parameters: object) -> Values:
        """Send a command and return its result.

        Raises:
            PageFailed: Refused, not answered within `timeout` seconds, or the page is gone.
        """
        number, answered = self._number + 1, asyncio.get_running_loop().create_future()
        self._pending[number] = answered
        try:
            await self._send(method, parameters)
            answer = await asyncio.wait_for(answered, timeout)
        except (TimeoutError, asyncio.TimeoutError) as error:
            self._unanswered.add(number)
            raise PageFailed(f"the page did not answer within {timeout:g} s") from error
        finally:
            self._pending.pop(number, None)
        if "error" in answer:
            raise PageFailed(str(answer["error"].get("message")))
        result: Values = answer.get("result", {})
        return result

    async def post(self, method: str, **parameters: object) -> None:
        """Send a command without waiting for its answer, which an open dialog would delay.

        Raises:
            PageFailed: Too many commands are unanswered, or the page is gone.
        """
        if len(self._unanswered) >= MAX_UNANSWERED:
            raise PageFailed("the page does not react")
        self._unanswered.add(self._number + 1)
        await self._send(method, parameters)

    async def settle(self, timeout: float) -> None:
        """Wait until every command was answered, at most `timeout` seconds.

        A page has handled input by then. Without it a script may run before.
        """
        if not self._unanswered:
            return
        self._settled.clear()
        await is_set_within(self._settled, timeout)

    async def _send(self, method: str, parameters: Mapping[str, object]) -> None:
        if self.reader.done():
            raise PageFailed("the page is gone")
        self._number += 1
        try:
            await self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        except (WebSocketException, OSError) as error:
            raise PageFailed("the page is gone") from error

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                message = json.loads(text)
                number = message.get("id", 0)
                self._unanswered.discard(number)
                if not self._unanswered:
                    self._settled.set()
                answered = self._pending.get(number)
                if answered is not None and not answered.done():
                    answered.set_result(message)
                elif "method" in message:
                    self._handle(message["method"], message.get("params", {}))
        except (WebSocketException, OSError):
            # How it ended does not matter: calls that wait fail below.
            return
        finally:
            for answered in self._pending.values():
                if not answered.done():
                    answered.set_exception(PageFailed("the page is gone"))
                    # As in drover/browser/devtools_connection.py: a command that was not sent does not wait.
                    answered.exception()


@asynccontextmanager
async def connected(address: str, handle: HandleEvent) -> AsyncIterator[PageConnection]:
    """Connect to a page for the `with` block.

    Raises:
        PageFailed: The address accepts no connection.
    """
    try:
        socket = await open_socket(address)
    except (WebSocketException, OSError) as error:
        raise PageFailed(f"Chrome accepts no connection to the page: {error}") from error
    page = PageConnection(socket, handle)
    try:
        yield page
    finally:
        await end_tasks(page.reader)
        await socket.close()
