"""One BiDi client's socket, over the ChromeDrivers that its session has one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from drover.attach.bidi_client import BidiClient
from drover.attach.end_commands import bidi_end
from drover.attach.socket_relay import INTERNAL_ERROR, NORMAL, close_with, end_by_command
from drover.core.errors import DroverError
from drover.core.tasks import end_tasks
from drover.net.asgi import Message, Receive, Send

SERVICE_RESTART = 1012
"""The registered close code of a service that comes back: the client may connect again."""
GRACE_S = 3.0
_RECONNECT = "ChromeDriver was replaced. Connect again: your subscriptions go on."
_ENDED = "The session has ended."


@dataclass(frozen=True, slots=True)
class Upstream:
    """A session, as a conversation needs it.

    Attributes:
        check: Checks the session, and recovers it if it is dead.
        dial: Does the same, and connects to its ChromeDriver.
        end: Ends it.
        has_ended: Returns whether it has ended or is being closed.
        seems_well: Returns whether no fault of it is known, such as a ChromeDriver that has ended.
    """

    check: Callable[[], Coroutine[Any, Any, object]]
    dial: Callable[[], Coroutine[Any, Any, ClientConnection]]
    end: Callable[[], Coroutine[Any, Any, None]]
    has_ended: Callable[[], bool]
    seems_well: Callable[[], bool]


class Conversation:
    """Relays one client's messages until the client leaves or is told to connect again.

    Args:
        receive: Receives from the client, whose handshake has been accepted.
    """

    def __init__(self, client: BidiClient, upstream: Upstream, receive: Receive, send: Send) -> None:
        self.client = client
        self._upstream = upstream
        self._receive = receive
        self._send = send
        self._incoming: asyncio.Task[Message] | None = None
        self._gives_way: asyncio.Future[None] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether ChromeDriver has ended, and the client has not sent anything since then."""
        return self._gives_way is not None

    def give_way(self) -> None:
        """Close the client's socket: the client has connected again while this one was waiting."""
        if self._gives_way is not None and not self._gives_way.done():
            self._gives_way.set_result(None)

    async def run(self, socket: ClientConnection) -> bool:
        """Relay, first over `socket`; return whether the client may connect again and go on."""
        try:
            while await self._relay(socket):
                if self._upstream.has_ended():
                    await self._close(NORMAL, _ENDED)
                    return False
                found = await self._next_socket()
                if isinstance(found, bool):
                    return found
                socket = found
            return False
        finally:
            if self._incoming is not None:
                await end_tasks(self._incoming)

    async def _relay(self, socket: ClientConnection) -> bool:
        """Relay until ChromeDriver closes (True), or the client has ended the session or left (False)."""
        down = asyncio.create_task(self._to_client(socket))
        try:
            for set_up in self.client.replay():
                await socket.send(set_up)
            while not down.done():
                await asyncio.wait({down, self._message()}, return_when=asyncio.FIRST_COMPLETED)
                if self._message().done():
                    # A message that no ChromeDriver can have received is the first one for the next.
                    if socket.state is not State.OPEN or not self._upstream.seems_well():
                        return True
                    content = _content(self._message().result())
                    self._incoming = None
                    if content is None:
                        return False
                    command = bidi_end(content)
                    if command is not None:
                        await end_by_command(command, self._upstream.end, down, self._send)
                        return False
                    await socket.send(self.client.sends(content))
            return down.result()
        except ConnectionClosed:
            return True
        finally:
            await end_tasks(down)
            await socket.close()

    async def _to_client(self, socket: ClientConnection) -> bool:
        """Relay messages until ChromeDriver closes (True) or the client has left (False)."""
        try:
            while True:
                message = self.client.receives(await socket.recv())
                if message is not None:
                    await self._send_message(message)
        except ConnectionClosed:
            return True
        except OSError:
            return False

    async def _next_socket(self) -> ClientConnection | bool:
        """Have the session recovered; return the next socket if the client goes on, else the result."""
        for error in self.client.interrupted():
            await self._send_message(error)
        self._gives_way = asyncio.get_running_loop().create_future()
        recovery = asyncio.create_task(self._upstream.check())
        anything: set[asyncio.Future[Any]] = {self._message(), self._gives_way}
        try:
            await asyncio.wait(anything, timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
            is_taken = self._gives_way.done()
            if not is_taken and self._message().done():
                # It goes on over this socket, or has left: another one does not continue for it.
                self._gives_way = None
                has_left = _content(self._message().result()) is None
                return False if has_left else await self._upstream.dial()
        except DroverError as error:
            if self._upstream.has_ended():
                await self._close(NORMAL, _ENDED)
                return False
            await self._close(INTERNAL_ERROR, error.message)
            return True
        finally:
            self._gives_way = None
            await end_tasks(recovery)
        await self._close(SERVICE_RESTART, _RECONNECT)
        return not is_taken

    def _message(self) -> asyncio.Task[Message]:
        """Return the task that receives the client's next message; it outlives every ChromeDriver."""
        if self._incoming is None:
            self._incoming = asyncio.ensure_future(self._receive())
        return self._incoming

    async def _send_message(self, message: str | bytes) -> None:
        await self._send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

    async def _close(self, code: int, reason: str) -> None:
        with suppress(OSError):  # the client has left at the same moment
            await self._send(close_with(code, reason))


def _content(message: Message) -> str | bytes | None:
    """Return what a client has sent; None if it has left."""
    if message["type"] == "websocket.disconnect":
        return None
    text: str | None = message.get("text")
    content: str | bytes = message["bytes"] if text is None else text
    return content
