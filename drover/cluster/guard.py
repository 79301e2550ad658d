"""The guard before and behind everything that a node serves: no command, answer or frame after its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

from drover.attach.socket_relay import close_with
from drover.cluster.fence import Fence
from drover.cluster.forwarding import TRY_AGAIN_LATER
from drover.core.errors import DroverError, NotOwner, ShuttingDown, StorageUnavailable
from drover.net.asgi import NOT_OWNER, Application, Message, Receive, Scope, Send

Doubt = Callable[[], Awaitable[DroverError | None]]
_NOT_OWNER = NOT_OWNER.lower().encode()


class Guard:
    """Lets the application of this node answer only while the node may serve.

    Args:
        fence: Whether it may.
    """

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._sockets: set[_Socket] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def run(
        self,
        application: Application,
        scope: Scope,
        receive: Receive,
        send: Send,
        doubt: Doubt | None = None,
    ) -> None:
        """Have one connection answered.

        Args:
            application: Answers it.
            scope: As in ASGI.
            receive: As in ASGI.
            send: As in ASGI.
            doubt: Returns why an answer that is about to be given must not be, if it must not; see `Raises`.
                A WebSocket that the application closes then tells its client to connect again.

        Raises:
            DroverError: This node may not serve, or may not any more: nothing was answered, for this reason.
            NotOwner: Another node has the session; nothing was answered.
        """
        self.check()
        if scope["type"] == "websocket":
            socket = _Socket(self._fence, receive, send, doubt)
            self._sockets.add(socket)
            try:
                await application(scope, socket.receive, socket.send)
            finally:
                self._sockets.discard(socket)
            return
        answer = _Answer(self._fence, send, doubt)
        await application(scope, receive, answer.send)
        if answer.withheld is not None:
            raise answer.withheld

    def check(self) -> None:
        """Raise if this node may not serve.

        Raises:
            DroverError: It may not, for this reason.
        """
        refusal = refusal_of(self._fence)
        if refusal is not None:
            raise refusal

    def close_if_fenced(self) -> None:
        """Close every open WebSocket if this node may not serve any more."""
        if self._fence.may_serve():
            return
        for socket in self._sockets:
            task = asyncio.get_running_loop().create_task(socket.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class _Answer:
    """The answer to one request, withheld if this node may not give it."""

    def __init__(self, fence: Fence, send: Send, doubt: Doubt | None) -> None:
        self.withheld: DroverError | None = None
        self._fence = fence
        self._send = send
        self._doubt = doubt
        self._is_begun = False

    async def send(self, message: Message) -> None:
        """Pass on a message, unless the answer is withheld."""
        if not self._is_begun:
            headers = message.get("headers", ())
            if any(name.lower() == _NOT_OWNER for name, _ in headers):
                self.withheld = NotOwner("This node does not have the session")
            if self.withheld is None and self._doubt is not None:
                self.withheld = await self._doubt()
            self.withheld = refusal_of(self._fence) or self.withheld
        elif not self._fence.may_serve():
            raise OSError(HTTPStatus.SERVICE_UNAVAILABLE, "this node may not serve any more")
        if self.withheld is None:
            self._is_begun = True
            await self._send(message)


class _Socket:
    """One WebSocket, closed when this node may not serve it any more."""

    def __init__(self, fence: Fence, receive: Receive, send: Send, doubt: Doubt | None) -> None:
        self._fence = fence
        self._receive = receive
        self._send = send
        self._doubt = doubt
        self._is_accepted = False
        self._is_closed = False

    async def receive(self) -> Message:
        """Return the next message of the client."""
        message = await self._receive()
        if self._is_closed or not self._fence.may_serve():
            await self.close()
            return {"type": "websocket.disconnect", "code": TRY_AGAIN_LATER}
        return message

    async def send(self, message: Message) -> None:
        """Send a message to the client."""
        if self._is_closed or not self._fence.may_serve():
            await self.close()
            raise OSError(TRY_AGAIN_LATER, "this node may not serve any more")
        self._is_accepted |= message["type"] == "websocket.accept"
        if message["type"] == "websocket.close":
            self._is_closed = True
            if self._is_accepted and self._doubt is not None and await self._doubt() is not None:
                message = close_with(TRY_AGAIN_LATER, "The session leaves this node; reconnect.")
        await self._send(message)

    async def close(self) -> None:
        """Close it, so that its client connects again elsewhere."""
        if self._is_closed or not self._is_accepted:
            return
        self._is_closed = True
        with suppress(OSError):
            await self._send(close_with(TRY_AGAIN_LATER, "This node has lost the database; reconnect."))


def refusal_of(fence: Fence) -> DroverError | None:
    """Return why this node may not serve now; None if it may."""
    if fence.may_serve():
        return None
    if fence.has_left:
        return ShuttingDown("This node is stopping: retry, at another node if there is one")
    return StorageUnavailable(
        "This node has had no answer from the database for some seconds, so another node may have its "
        "sessions: retry, at another node if there is one"
    )
