"""The guard of a node: what is withheld once the node may not serve any more."""

from __future__ import annotations

import asyncio

import pytest

from drover.cluster import clock
from drover.cluster.fence import Fence
from drover.cluster.guard import Guard
from drover.net.asgi import PART_BYTES, Message, Receive, Response, Scope, Send, send_answer


async def no_body() -> Message:
    return {"type": "http.request"}


def test_a_long_answer_is_cut_off_when_the_node_may_not_serve_any_more() -> None:
    fence = Fence()
    fence.extend(clock.now())
    sent: list[Message] = []

    async def client(message: Message) -> None:
        sent.append(message)
        if message.get("more_body"):
            fence.close()

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send_answer(send, Response(200, bytes(3 * PART_BYTES)))

    with pytest.raises(OSError, match="may not serve"):
        asyncio.run(Guard(fence).run(application, {"type": "http"}, no_body, client))
    assert [len(message.get("body", b"")) for message in sent] == [0, PART_BYTES]
