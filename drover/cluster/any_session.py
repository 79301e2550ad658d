"""WebSockets of which the database does not say where they lead, or does not answer: all nodes are asked.

Those whose address names a page or a browser, as Chrome's own do, and not the session; and those with a
secret in their address, if this node cannot ask the database whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from drover.cluster.forwarding import Forwarder
from drover.cluster.guard import Guard
from drover.cluster.node_connection import NotSent
from drover.cluster.requests import FORWARDED
from drover.core.errors import DroverError, NodeUnreachable, NotOwner, ShuttingDown, StorageUnavailable
from drover.net.asgi import Application, Message, Receive, Scope, Send, header
from drover.storage.cluster_values import Node

_OF_ANY: Final = re.compile("/devtools/(?:page|browser)/[^/]+/?")
_START: Final = "websocket.http.response.start"


def is_of_any(scope: Scope) -> bool:
    """Return whether a connection is a WebSocket that names a page or a browser only."""
    return scope["type"] == "websocket" and _OF_ANY.fullmatch(scope["path"]) is not None


@dataclass(eq=False, repr=False)
class AnySession:
    """Answers such WebSockets here, or has them answered by other nodes."""

    _local: Application
    _guard: Guard
    _forwarder: Forwarder

    async def answer(self, scope: Scope, receive: Receive, send: Send, others: Iterable[Node]) -> None:
        """Answer a WebSocket that names a page or a browser here, or where that is.

        Raises:
            DroverError: This node may not serve, and no other one has the page or browser.
            NodeUnreachable: A node that may have it does not answer.
            NotOwner: Another node has forwarded it, and the page or browser is not here.
        """
        handshake, refusal = _Handshake(receive, send), None
        try:
            await self._guard.run(self._local, scope, handshake.receive, handshake.send)
        except (StorageUnavailable, ShuttingDown) as error:
            refusal = error
        if refusal is None and not handshake.is_refused:
            return
        if header(scope, FORWARDED) is not None:
            raise refusal or NotOwner("This node does not have the session")
        if not await self._is_elsewhere(handshake, scope, others, refusal):
            await handshake.refuse()

    async def answer_named(
        self, answer: Application, scope: Scope, receive: Receive, send: Send, others: Iterable[Node]
    ) -> None:
        """Have a WebSocket with a secret address answered, by any node if this one cannot ask the database.

        Raises:
            DroverError: What `answer` raises.
        """
        handshake = _Handshake(receive, send, holds_back=False)
        try:
            await answer(scope, handshake.receive, handshake.send)
        except (StorageUnavailable, ShuttingDown) as error:
            if handshake.is_answered or header(scope, FORWARDED) is not None:
                raise
            handshake.holds_back = True
            await self._is_elsewhere(handshake, scope, others, error)

    async def _is_elsewhere(
        self, handshake: _Handshake, scope: Scope, others: Iterable[Node], refusal: DroverError | None
    ) -> bool:
        """Ask the other nodes; return whether one has answered.

        Raises:
            DroverError: None has, and `refusal` is not None; or one of them may have it, and cannot be asked.
        """
        for node in others:
            handshake.begin_again()
            try:
                await self._forwarder.socket(
                    node.incarnation, node.url, scope, handshake.receive, handshake.send
                )
            except NotOwner:
                continue
            except NotSent as error:
                refusal = refusal or NodeUnreachable(
                    f"A node that may have it does not answer ({error}); retry"
                )
                continue
            if not handshake.is_refused:
                return True
        if refusal is not None:
            raise refusal
        return False


class _Handshake:
    """The handshake of one client's WebSocket, which several nodes may be asked to answer.

    It holds back the answers that a node does not know the address, or cannot say whether it does.

    Attributes:
        is_answered: Whether the client got an answer.
        holds_back: Whether it does so.
    """

    def __init__(self, receive: Receive, send: Send, *, holds_back: bool = True) -> None:
        self.is_answered = False
        self.holds_back = holds_back
        self._receive = receive
        self._send = send
        self._connect: Message | None = None
        self._is_read = False
        self._refusals: dict[int, list[Message]] = {}
        self._refused_with: int | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the last answer was held back."""
        return self._refused_with is not None

    def begin_again(self) -> None:
        """Let another node answer."""
        self._is_read = False
        self._refused_with = None

    async def receive(self) -> Message:
        """Return the next message of the client; its request to connect is the first for every node."""
        if self._connect is None:
            self._connect = await self._receive()
        elif self._is_read:
            return await self._receive()
        self._is_read = True
        return self._connect

    async def send(self, message: Message) -> None:
        """Pass on a message, unless it belongs to an answer that is held back."""
        status = message.get("status") if message["type"] == _START else None
        if self.holds_back and status in {HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE}:
            self._refused_with = status
            self._refusals[status] = [message]
        elif self._refused_with is not None:
            self._refusals[self._refused_with].append(message)
        else:
            self.is_answered = True
            await self._send(message)

    async def refuse(self) -> None:
        """Answer what was held back: that a node cannot say it, or else that none knows the address."""
        unavailable = self._refusals.get(HTTPStatus.SERVICE_UNAVAILABLE)
        for message in unavailable or self._refusals[HTTPStatus.NOT_FOUND]:
            await self._send(message)
