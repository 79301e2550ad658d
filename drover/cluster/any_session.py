"""WebSockets whose address names a page or a browser, as Chrome's own do, and not the session.

The database does not know them: if this node has no such page or browser, the other nodes are asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from drover.cluster.forwarding import Forwarder, Refused
from drover.cluster.guard import Guard
from drover.cluster.node_connection import NotSent
from drover.cluster.requests import FORWARDED
from drover.core.errors import NotOwner
from drover.net.asgi import Application, Message, Receive, Scope, Send, header
from drover.storage.cluster_values import Node

_OF_ANY: Final = re.compile("/devtools/(?:page|browser)/[^/]+/?")


def is_of_any(scope: Scope) -> bool:
    """Return whether a connection is such a WebSocket."""
    return scope["type"] == "websocket" and _OF_ANY.fullmatch(scope["path"]) is not None


class AnySession:
    """Answers such WebSockets.

    Args:
        local: Answers for this node.
        guard: Lets it do so only while this node may serve.
        forwarder: Passes connections on to other nodes.
    """

    def __init__(self, local: Application, guard: Guard, forwarder: Forwarder) -> None:
        self._local = local
        self._guard = guard
        self._forwarder = forwarder

    async def answer(self, scope: Scope, receive: Receive, send: Send, others: Iterable[Node]) -> None:
        """Answer one WebSocket here, or where its page or browser is.

        Raises:
            DroverError: This node may not serve.
            NotOwner: Another node has forwarded it, and the page or browser is not here.
        """
        handshake = _Handshake(send)
        await self._guard.run(self._local, scope, receive, handshake.send)
        if not handshake.refusal:
            return
        if header(scope, FORWARDED) is not None:
            raise NotOwner("This node does not have the session")
        for node in others:
            with suppress(NotSent, Refused):
                await self._forwarder.socket(node.incarnation, node.url, scope, receive, send)
                return
        for message in handshake.refusal:
            await send(message)


class _Handshake:
    """A `send` that holds back the answer that nothing is known by this address."""

    def __init__(self, send: Send) -> None:
        self.refusal: list[Message] = []
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass on a message, unless it belongs to that answer."""
        if self.refusal or message.get("status") == HTTPStatus.NOT_FOUND:
            self.refusal.append(message)
        else:
            await self._send(message)
