"""Requests on their way to another node: what ends them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from drover.cluster.forwarding import Forwarder, Refused
from drover.core.errors import NodeUnreachable
from drover.net.asgi import Message, Scope

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


async def forward(answer: bytes | None, living: UUID) -> list[Message]:
    """Forward a request to a node that answers so, or never; return what the client gets."""
    sent: list[Message] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is not None:
            writer.write(answer)
        # A node that hangs accepts the connection and answers nothing.
        with suppress(OSError):
            await reader.read()
        writer.close()

    async def send(message: Message) -> None:
        sent.append(message)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address: Any = server.sockets[0].getsockname()
        forwarder = Forwarder(lambda: OTHER)
        try:
            url = f"http://127.0.0.1:{address[1]}"
            asked = asyncio.create_task(forwarder.request(OWNER, url, SCOPE, b"", connected, send))
            while not asked.done():
                await asyncio.sleep(0.05)
                forwarder.end_silent(frozenset({living}))
            await asked
        finally:
            forwarder.close()
    return sent


def test_a_request_to_a_node_that_hangs_ends_when_that_node_is_lost() -> None:
    with pytest.raises(NodeUnreachable):
        asyncio.run(asyncio.wait_for(forward(None, living=OTHER), 20))


def test_the_answer_of_a_node_that_lives_is_passed_on() -> None:
    answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"
    sent = asyncio.run(asyncio.wait_for(forward(answer, living=OWNER), 20))
    assert (sent[0]["status"], sent[1]["body"]) == (404, b"{}")


def test_a_node_without_the_session_is_not_heard_by_the_client() -> None:
    answer = b"HTTP/1.1 421 Misdirected Request\r\ndrover-not-owner: 1\r\ncontent-length: 2\r\n\r\n{}"
    with pytest.raises(Refused):
        asyncio.run(asyncio.wait_for(forward(answer, living=OWNER), 20))
