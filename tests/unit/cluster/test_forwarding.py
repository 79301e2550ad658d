"""Requests on their way to another node: what ends them."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from contextlib import ExitStack, closing, suppress
from typing import Any
from uuid import UUID

import pytest
from websockets.asyncio.server import ServerConnection, serve

from drover.cluster.forwarding import Forwarder
from drover.cluster.node_connection import NodeConnections, NotSent
from drover.core.errors import NodeUnreachable, NotOwner, SentAway
from drover.core.log_context import RequestContext, asked_by
from drover.net.asgi import Header, Message, Scope

OWNER, OTHER = UUID(int=1), UUID(int=2)
SCOPE: Scope = {
    "type": "http",
    "method": "POST",
    "path": "/sessions/one",
    "query_string": b"",
    "headers": [],
    "scheme": "http",
}


async def connected() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("the client stays")


class Node:
    """Another node, which answers so, or never.

    Attributes:
        heads: The heads of the requests that it has got.
    """

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection, whether the body of the request has come or not."""
        # The client may leave at any time.
        with suppress(OSError, EOFError), closing(writer):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self._answer or b"")
            # What was not read of a body makes the close a reset. A node that hangs answers nothing.
            while CLOSES not in (self._answer or b"") and await reader.read(65536):
                pass


CLOSES = b"connection: close"


async def forward(
    node: Node, living: UUID, body: bytes = b"", headers: tuple[Header, ...] = (), kind: str = "http"
) -> list[Message]:
    """Forward a request or a WebSocket to a node; return what the client gets."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async with await asyncio.start_server(node.serve, "127.0.0.1", 0) as server:
        address: Any = server.sockets[0].getsockname()
        forwarder = Forwarder(lambda: OTHER)
        url, scope = f"http://127.0.0.1:{address[1]}", {**SCOPE, "headers": list(headers)}
        try:
            asked = asyncio.create_task(
                forwarder.request(OWNER, url, scope, body, connected, send)
                if kind == "http"
                else forwarder.socket(OWNER, url, scope, connected, send)
            )
            while not asked.done():
                await asyncio.sleep(0.05)
                forwarder.end_silent(frozenset({living}))
            await asked
        finally:
            forwarder.close()
    return sent


def test_a_request_to_a_node_that_hangs_ends_when_that_node_is_lost() -> None:
    with pytest.raises(NodeUnreachable):
        asyncio.run(asyncio.wait_for(forward(Node(None), living=OTHER), 20))


def test_the_answer_of_a_node_that_lives_is_passed_on() -> None:
    answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"
    sent = asyncio.run(asyncio.wait_for(forward(Node(answer), living=OWNER), 20))
    assert (sent[0]["status"], sent[1]["body"]) == (404, b"{}")


@pytest.mark.parametrize(("value", "refusal"), [(b"1", NotOwner), (b"sent-away", SentAway)])
def test_a_node_without_the_session_is_not_heard_by_the_client(value: bytes, refusal: type[NotOwner]) -> None:
    answer = b"HTTP/1.1 421 Misdirected Request\r\ndrover-not-owner: %b\r\ncontent-length: 2\r\n\r\n{}"
    with pytest.raises(NotOwner) as refused:
        asyncio.run(asyncio.wait_for(forward(Node(answer % value), living=OWNER), 20))
    assert type(refused.value) is refusal


def test_a_handshake_with_a_node_that_hangs_ends_when_that_node_is_lost() -> None:
    with pytest.raises(NotSent):
        asyncio.run(asyncio.wait_for(forward(Node(None), living=OTHER, kind="websocket"), 20))


@pytest.mark.skipif(sys.platform != "linux", reason="what a full queue of connections does is the system's")
def test_a_handshake_with_a_node_that_cannot_be_reached_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drover.cluster.forwarding.CONNECT_S", 0.3)

    async def reach(url: str) -> None:
        await Forwarder(lambda: OTHER).socket(OWNER, url, SCOPE, opened, left)

    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(NotSent):
            asyncio.run(asyncio.wait_for(reach(f"http://127.0.0.1:{full.getsockname()[1]}"), 20))


def test_a_client_that_leaves_during_the_handshake_leaves_no_connection_to_the_other_node() -> None:
    async def leave() -> None:
        ended = asyncio.Event()

        async def wait(upstream: ServerConnection) -> None:
            await upstream.wait_closed()
            ended.set()

        async with serve(wait, "127.0.0.1", 0) as server:
            address: Any = next(iter(server.sockets)).getsockname()
            forwarder = Forwarder(lambda: OTHER)
            with pytest.raises(OSError, match="has left"):
                await forwarder.socket(OWNER, f"http://127.0.0.1:{address[1]}", SCOPE, opened, left)
            await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(leave())


async def opened() -> Message:
    return {"type": "websocket.connect"}


async def left(_: Message) -> None:
    raise OSError("the client has left")


def test_an_answer_that_comes_before_the_end_of_a_long_request_is_passed_on() -> None:
    text = b"x" * 3000
    answer = b"HTTP/1.1 413 Too Large\r\n%b\r\ncontent-length: %d\r\n\r\n%b" % (CLOSES, len(text), text)
    body = bytes(64 * 1024 * 1024)
    sent = asyncio.run(asyncio.wait_for(forward(Node(answer), OWNER, body), 20))
    assert (sent[0]["status"], b"".join(one.get("body", b"") for one in sent)) == (413, text)


def test_a_body_that_was_waited_for_with_100_continue_is_sent_at_once() -> None:
    node = Node(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    sent = asyncio.run(asyncio.wait_for(forward(node, OWNER, b"{}", ((b"expect", b"100-continue"),)), 20))
    assert "expect" not in node.heads[0].lower()
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"{}")


def test_an_idle_connection_that_the_other_node_closes_is_closed_here_too() -> None:
    async def wait() -> None:
        closed = asyncio.Event()

        async def serve_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            writer.write_eof()
            await reader.read()
            closed.set()
            writer.close()

        async with await asyncio.start_server(serve_once, "127.0.0.1", 0) as server:
            url, connections = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", NodeConnections()
            connection = await connections.get(url)
            await connection.send(b"GET / HTTP/1.1\r\n\r\n", b"")
            assert [part async for part in connection.body(is_head=False)] == [b"{}"]
            await asyncio.wait_for(closed.wait(), 10)

    asyncio.run(wait())


def test_a_request_has_one_id_at_both_nodes_and_its_answer_has_each_header_once() -> None:
    node = Node(
        b"HTTP/1.1 200 OK\r\ndate: now\r\nx-request-id: other\r\netag: 1\r\ncontent-length: 0\r\n\r\n"
    )
    with asked_by(RequestContext("mine", "client:1")):
        sent = asyncio.run(asyncio.wait_for(forward(node, OWNER, headers=((b"x-request-id", b"odd\0"),)), 20))
    assert re.findall("x-request-id: (.*)\r\n", node.heads[0]) == ["mine"]
    assert [name for name, _ in sent[0]["headers"]] == [b"etag", b"content-length"]
