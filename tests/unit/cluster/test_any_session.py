"""WebSockets that name a page or a browser, at a node of several."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from drover.attach.router import refuse_socket
from drover.cluster import clock
from drover.cluster.any_session import AnySession, is_of_any
from drover.cluster.fence import Fence
from drover.cluster.forwarding import Refused
from drover.cluster.guard import Guard
from drover.cluster.node_connection import NotSent
from drover.core.errors import NotOwner, StorageUnavailable
from drover.net.asgi import Header, Message, Receive, Response, Scope, Send
from tests.unit.examples import node

NODES = tuple(replace(node(number), url=f"http://{number}") for number in (2, 3, 4))
ACCEPTED = {"type": "websocket.accept"}


class Forwarded:
    """Other nodes, of which one has the page; one is dead, and one has another session."""

    def __init__(self, has: str | None) -> None:
        self.asked: list[str] = []
        self._has = has

    async def socket(self, _owner: UUID, url: str, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Accept the connection if the node has the page."""
        self.asked.append(url)
        if url != self._has:
            raise NotSent("dead") if url == "http://2" else Refused
        await send(ACCEPTED)


async def nothing() -> Message:
    raise AssertionError("nothing is read before the handshake is answered")


def answer(
    has: str | None, *, is_here: bool = False, serves: bool = True, headers: Sequence[Header] = ()
) -> tuple[list[Message], list[str]]:
    """Return what the client gets, and which nodes were asked."""
    fence, others, sent = Fence(), Forwarded(has), list[Message]()
    if serves:
        fence.extend(clock.now())

    async def local(_scope: Scope, _receive: Receive, send: Send) -> None:
        if is_here:
            await send(ACCEPTED)
        else:
            await refuse_socket(send, Response(404, b"unknown"))

    async def send(message: Message) -> None:
        sent.append(message)

    sockets: Any = AnySession(local, Guard(fence), others)  # type: ignore[arg-type]
    scope = {"type": "websocket", "path": "/devtools/page/P", "headers": list(headers)}
    asyncio.run(sockets.answer(scope, nothing, send, NODES))
    return sent, others.asked


def test_a_page_of_this_node_is_connected_here() -> None:
    assert answer(None, is_here=True) == ([ACCEPTED], [])


def test_a_page_of_another_node_is_looked_for_at_all_of_them() -> None:
    assert answer("http://3") == ([ACCEPTED], ["http://2", "http://3"])


def test_a_page_that_no_node_has_is_unknown() -> None:
    sent, asked = answer(None)
    assert (sent[0]["status"], sent[1]["body"], len(asked)) == (404, b"unknown", 3)


def test_a_node_that_is_asked_by_another_one_asks_no_further() -> None:
    with pytest.raises(NotOwner):
        answer("http://3", headers=[(b"drover-forwarded", b"1")])


def test_a_node_that_may_not_serve_connects_nobody_to_its_pages() -> None:
    with pytest.raises(StorageUnavailable):
        answer(None, is_here=True, serves=False)


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("websocket", "/devtools/page/P", True),
        ("websocket", "/devtools/browser/B/", True),
        ("websocket", "/sessions/a/devtools/page/P", False),
        ("http", "/devtools/page/P", False),
    ],
)
def test_the_addresses_of_chrome_itself_are_recognized(kind: str, path: str, *, expected: bool) -> None:
    assert is_of_any({"type": kind, "path": path}) is expected
