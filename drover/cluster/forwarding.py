"""Forwarding of one request or WebSocket to the node that has its session: once, and never in a circle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit
from uuid import UUID

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from drover.attach.router import refuse_socket
from drover.attach.socket_relay import SocketRelay, close_with
from drover.cluster.node_connection import CONNECT_S, Head, Interrupted, NodeConnections, NotSent, connected
from drover.cluster.requests import FORWARDED
from drover.core.errors import NodeUnreachable
from drover.core.log_context import current_request
from drover.core.tasks import running_task
from drover.net.addresses import CLIENT
from drover.net.asgi import (
    Header,
    Receive,
    Response,
    Scope,
    Send,
    caller_left,
    header,
    not_owner,
    raw_headers,
)
from drover.net.request_log import RAW_REQUEST_ID

TRY_AGAIN_LATER: Final = 1013
HANDSHAKE_S: Final = 125.0
"""How long a handshake may take: the other node recovers a dead session before it accepts."""
_REPEATABLE: Final = frozenset({"GET", "HEAD"})
# Of the connection, not of the request or answer (RFC 9110, 7.6.1); and what we set ourselves.
_OF_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_OF_ANSWER: Final = frozenset({b"date", RAW_REQUEST_ID})
"""What this node sets itself in every answer."""
_OF_REFUSAL: Final = frozenset({b"content-type", b"retry-after", b"www-authenticate"})
_OF_HANDSHAKE: Final = frozenset(
    {
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
    }
)


@dataclass(eq=False, repr=False)
class Forwarder:
    """Passes requests on to other nodes, with the hang-up of their clients.

    Args:
        incarnation: Returns the present incarnation of this node, which the other one is told.
    """

    _incarnation: Callable[[], UUID]
    _connections: NodeConnections = field(default_factory=NodeConnections, init=False)
    _running: dict[asyncio.Future[None], UUID] = field(default_factory=dict, init=False)

    async def request(
        self, owner: UUID, url: str, scope: Scope, body: bytes, receive: Receive, send: Send
    ) -> None:
        """Forward an HTTP request whose body was read, and pass the answer on.

        Raises:
            NotSent: The node does not accept connections.
            NotOwner: It does not have the session, or no room for it: nothing was done there.
            NodeUnreachable: The connection broke before the answer; the request may have been executed.
        """
        async with (
            running_task(caller_left(receive, Future())) as leaving,
            running_task(self._exchange(url, scope, body, send)) as exchange,
        ):
            if await self._is_lost(owner, {exchange, leaving}):
                raise _broken("it is lost")
            if exchange.done():
                exchange.result()

    async def socket(self, owner: UUID, url: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a WebSocket until one side closes it.

        Raises:
            NotSent: The node does not accept connections.
            NotOwner: It does not have the session, or no room for it: nothing was done there.
        """
        try:
            async with running_task(self._handshake(url, scope)) as handshake:
                if await self._is_lost(owner, {handshake}):
                    raise NotSent("it is lost")
                upstream = handshake.result()
        except InvalidStatus as error:
            answer = error.response
            raw = raw_headers(answer.headers.raw_items())
            refusal = not_owner(raw)
            if refusal is not None:
                raise refusal from error
            headers = tuple(one for one in raw if one[0] in _OF_REFUSAL)
            await receive()
            await refuse_socket(send, Response(answer.status_code, bytes(answer.body or b""), headers))
            return
        except (WebSocketException, OSError, asyncio.TimeoutError) as error:
            raise NotSent(str(error) or "no answer") from error
        try:
            await receive()
            await send({"type": "websocket.accept", "subprotocol": upstream.subprotocol})
            await self._relay(owner, upstream, receive, send)
        finally:
            # Its client may have left during the handshake.
            await upstream.close()

    def end_silent(self, living: frozenset[UUID]) -> None:
        """End what is on its way to nodes that are no longer living; called on the event loop."""
        for lost, owner in self._running.items():
            if owner not in living and not lost.done():
                lost.set_result(None)

    def close(self) -> None:
        """Close the idle connections."""
        self._connections.close()

    async def _exchange(self, url: str, scope: Scope, body: bytes, send: Send) -> None:
        head = self._head(url, scope, body)
        connection = await self._connections.get(url)
        try:
            try:
                answer = await connection.send(head, body)
            except Interrupted as error:
                if scope["method"] not in _REPEATABLE:
                    raise _broken(error) from error
                connection.close()
                connection = await self._connections.get(url)
                answer = await connection.send(head, body)
            async with aclosing(connection.body(is_head=scope["method"] == "HEAD")) as parts:
                await _pass_on(answer, parts, send)
        except Interrupted as error:
            raise _broken(error) from error
        finally:
            self._connections.give_back(url, connection)

    async def _handshake(self, url: str, scope: Scope) -> ClientConnection:
        connection = await asyncio.wait_for(connected(url), CONNECT_S)
        asked = [Subprotocol(one) for one in scope.get("subprotocols", ())]
        return await connect(
            url.replace("http", "ws", 1) + _target(scope),
            sock=connection,
            additional_headers=[
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in self._headers(scope)
                if name not in _OF_HANDSHAKE
            ],
            subprotocols=asked or None,
            compression=None,
            max_size=None,
            open_timeout=HANDSHAKE_S,
            close_timeout=CONNECT_S,
            ping_interval=None,
            proxy=None,
        )

    async def _relay(self, owner: UUID, upstream: ClientConnection, receive: Receive, send: Send) -> None:
        relay = SocketRelay(lambda _: None, _never, lambda: False)
        async with running_task(relay.run(upstream, receive, send)) as running:
            is_lost = await self._is_lost(owner, {running})
        if is_lost:
            await send(close_with(TRY_AGAIN_LATER, "The node of this session is lost; reconnect."))

    async def _is_lost(self, owner: UUID, tasks: set[asyncio.Task[Any]]) -> bool:
        """Wait until one of the tasks is done, or the node is lost; return whether it is."""
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running[lost] = owner
        try:
            await asyncio.wait({*tasks, lost}, return_when=asyncio.FIRST_COMPLETED)
            return lost.done() and not any(task.done() for task in tasks)
        finally:
            del self._running[lost]

    def _head(self, url: str, scope: Scope, body: bytes) -> bytes:
        lines = [
            f"{scope['method']} {_target(scope)} HTTP/1.1".encode("latin-1"),
            b"host: " + urlsplit(url).netloc.encode(),
        ]
        lines += [name + b": " + value for name, value in self._headers(scope)]
        lines.append(b"content-length: " + str(len(body)).encode())
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _headers(self, scope: Scope) -> list[Header]:
        # The origin was compared with the host that the client has used, which is another one there.
        # A body that was waited for with `100 Continue` has come, and is sent at once.
        left_out = _OF_CONNECTION | {b"host", b"content-length", b"expect", b"origin", FORWARDED, CLIENT}
        request = current_request()
        if request is not None:
            left_out |= {RAW_REQUEST_ID}
        headers = [(name, value) for name, value in scope["headers"] if name not in left_out]
        client = f"{scope['scheme']}://{header(scope, b'host') or ''}".encode("latin-1")
        own = [] if request is None else [(RAW_REQUEST_ID, request.request_id.encode())]
        return [*headers, *own, (FORWARDED, str(self._incarnation()).encode()), (CLIENT, client)]


def _target(scope: Scope) -> str:
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.partition(b"?")[0].decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _broken(reason: object) -> NodeUnreachable:
    return NodeUnreachable(
        f"The node that has this session broke off ({reason}); the request may have been executed. Retry"
    )


async def _pass_on(answer: Head, parts: AsyncIterator[bytes], send: Send) -> None:
    refusal = not_owner(answer.headers)
    if refusal is not None:
        async for _ in parts:
            pass
        raise refusal
    left_out = _OF_CONNECTION | _OF_ANSWER
    headers = [(name, value) for name, value in answer.headers if name not in left_out]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _never() -> None:
    raise AssertionError("a forwarded message ends no session here")
