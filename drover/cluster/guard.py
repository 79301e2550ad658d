"""The guard before and behind everything that a node serves: no command, answer or frame after its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from drover.attach.socket_relay import close_with
from drover.cluster.fence import Fence
from drover.cluster.forwarding import TRY_AGAIN_LATER
from drover.core.errors import DroverError, ShuttingDown, StorageUnavailable
from drover.net.asgi import Application, Message, Receive, Scope, Send, not_owner

Doubt = Callable[[], Awaitable[DroverError | None]]


@dataclass(eq=False, repr=False)
class Guard:
    """Lets the application of this node answer only while the node may serve."""

    _fence: Fence
    _sockets: set[_Socket] = field(default_factory=set, init=False)
    _closing: set[asyncio.Task[None]] = field(default_factory=set, init=False)

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
            doubt: Returns why an answer that is about to be given must not be, if it must not; see `Raises`.
                An open WebSocket that the application closes then tells its client to connect again.

        Raises:
            DroverError: This node may not serve, or may not any more: nothing was answered, for this reason.
            NotOwner: Another node has the session; nothing was answered.
        """
        self.check()
        if scope["type"] == "websocket":
            socket = _Socket(self._fence, receive, send, doubt)
            self._sockets.add(socket)
            try:
                await _run(partial(application, scope, socket.receive), socket)
            finally:
                self._sockets.discard(socket)
        else:
            await _run(partial(application, scope, receive), _Answer(self._fence, send, doubt))

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


class _Guarded:
    """What a client gets, withheld if this node may not give it.

    Attributes:
        withheld: Why nothing is answered; None if something was, or may still be.
    """

    def __init__(self, fence: Fence, send: Send, doubt: Doubt | None) -> None:
        self.withheld: DroverError | None = None
        self._fence = fence
        self._send = send
        self._doubt = doubt
        self._is_begun = False

    async def _begin(self, message: Message) -> None:
        """Raise if the answer must not begin with this message: to the application its client has left."""
        if self.withheld is None:
            self.withheld = not_owner(message.get("headers", ()))
            if self.withheld is None and self._doubt is not None and message["type"] != "websocket.accept":
                self.withheld = await self._doubt()
            self.withheld = refusal_of(self._fence) or self.withheld
        if self.withheld is not None:
            raise OSError(HTTPStatus.SERVICE_UNAVAILABLE, "this answer is withheld")
        self._is_begun = True


async def _run(application: Callable[[Send], Awaitable[None]], answer: _Answer | _Socket) -> None:
    """Have one connection answered; raise if its answer is withheld."""
    try:
        await application(answer.send)
    except OSError:
        if answer.withheld is None:
            raise
    if answer.withheld is not None:
        raise answer.withheld


class _Answer(_Guarded):
    """The answer to one request."""

    async def send(self, message: Message) -> None:
        """Pass on a message."""
        if not self._is_begun:
            await self._begin(message)
        elif not self._fence.may_serve():
            raise OSError(HTTPStatus.SERVICE_UNAVAILABLE, "this node may not serve any more")
        await self._send(message)


class _Socket(_Guarded):
    """One WebSocket, closed when this node may not serve it any more."""

    def __init__(self, fence: Fence, receive: Receive, send: Send, doubt: Doubt | None) -> None:
        super().__init__(fence, send, doubt)
        self._receive = receive
        self._is_accepted = self._is_closed = False

    async def receive(self) -> Message:
        """Return the next message of the client."""
        message = await self._receive()
        if self._is_closed or not self._fence.may_serve():
            await self.close()
            return {"type": "websocket.disconnect", "code": TRY_AGAIN_LATER}
        return message

    async def send(self, message: Message) -> None:
        """Pass on a message."""
        if not self._is_begun:
            await self._begin(message)
            self._is_accepted = message["type"] == "websocket.accept"
        elif self._is_closed or not self._fence.may_serve():
            await self.close()
            raise OSError(TRY_AGAIN_LATER, "this node may not serve any more")
        elif message["type"] == "websocket.close":
            self._is_closed = True
            if self._doubt is not None and await self._doubt() is not None:
                message = close_with(TRY_AGAIN_LATER, "The session leaves this node; reconnect.")
        await self._send(message)

    async def close(self) -> None:
        """Close it, so that its client connects again elsewhere."""
        if self._is_closed or not self._is_accepted:
            return
        self._is_closed = True
        with suppress(OSError):
            await self._send(close_with(TRY_AGAIN_LATER, "This node may not serve now; reconnect."))


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
