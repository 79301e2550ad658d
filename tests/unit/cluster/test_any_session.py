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
from drover.cluster.guard import Guard
from drover.cluster.node_connection import NotSent
from drover.core.errors import DroverError, NodeUnreachable, NotOwner, StorageUnavailable
from drover.net.asgi import Header, Message, Receive, Response, Scope, Send
from tests.unit.examples import node

NODES = tuple(replace(node(number), url=f"http://{number}") for number in (2, 3, 4))
ACCEPTED = {"type": "websocket.accept"}
CONNECT = {"type": "websocket.connect"}
FRAME = {"type": "websocket.receive", "text": "{}"}
BIDI = {"type": "websocket", "path": "/bidi/secret", "headers": list[Header]()}


class Forwarded:
    """Other nodes, of which one has the page; the others have not, or one is dead, or one may not serve."""

    def __init__(self, has: str | None, dead: str | None, fenced: str | None) -> None:
        self.asked: list[str] = []
        self._has = has
        self._dead = dead
        self._fenced = fenced

    async def socket(self, _owner: UUID, url: str, _scope: Scope, receive: Receive, send: Send) -> None:
        """Accept the connection if the node has the page."""
        self.asked.append(url)
        if url == self._dead:
            raise NotSent("dead")
        if url not in {self._has, self._fenced}:
            raise NotOwner("not here")
        assert await receive() == CONNECT
        if url == self._fenced:
            await refuse_socket(send, Response(503, b"fenced"))
        else:
            await send(ACCEPTED)
            assert await receive() == FRAME


def answer(
    has: str | None,
    *,
    is_here: bool = False,
    serves: bool = True,
    headers: Sequence[Header] = (),
    dead: str | None = None,
    fenced: str | None = None,
    fails: DroverError | None = None,
) -> tuple[list[Message], list[str]]:
    """Return what the client gets, and which nodes were asked.

    With `fails` it is a WebSocket with a secret address, which this node does not answer for that reason.
    """
    fence, others, sent = Fence(), Forwarded(has, dead, fenced), list[Message]()
    messages = [FRAME, CONNECT]
    if serves:
        fence.extend(clock.now())

    async def local(_scope: Scope, receive: Receive, send: Send) -> None:
        if is_here:
            await send(ACCEPTED)
            return
        # An endpoint has read the request to connect before it finds that the page is gone.
        await receive()
        if fails is not None:
            raise fails
        await refuse_socket(send, Response(404, b"unknown"))

    async def receive() -> Message:
        return messages.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    forwarder: Any = others
    sockets = AnySession(local, Guard(fence), forwarder)
    if fails is None:
        scope = {"type": "websocket", "path": "/devtools/page/P", "headers": list(headers)}
        asyncio.run(sockets.answer(scope, receive, send, NODES))
    else:
        asyncio.run(sockets.answer_named(local, {**BIDI, "headers": list(headers)}, receive, send, NODES))
    return sent, others.asked


def test_a_page_of_this_node_is_connected_here() -> None:
    assert answer(None, is_here=True) == ([ACCEPTED], [])


def test_a_page_of_another_node_is_looked_for_at_all_of_them() -> None:
    assert answer("http://3") == ([ACCEPTED], ["http://2", "http://3"])
    assert answer("http://3", dead="http://2") == ([ACCEPTED], ["http://2", "http://3"])


def test_a_page_that_no_node_has_is_unknown() -> None:
    sent, asked = answer(None)
    assert (sent[0]["status"], sent[1]["body"], len(asked)) == (404, b"unknown", 3)


def test_a_page_that_a_dead_node_may_have_is_not_said_to_be_unknown() -> None:
    with pytest.raises(NodeUnreachable):
        answer(None, dead="http://3")


def test_a_node_that_may_not_serve_does_not_keep_the_others_from_being_asked() -> None:
    assert answer("http://3", fenced="http://2") == ([ACCEPTED], ["http://2", "http://3"])
    sent, asked = answer(None, fenced="http://2")
    assert (sent[0]["status"], sent[1]["body"], len(asked)) == (503, b"fenced", 3)


def test_a_node_that_is_asked_by_another_one_asks_no_further() -> None:
    forwarded = [(b"drover-forwarded", b"1")]
    with pytest.raises(NotOwner):
        answer("http://3", headers=forwarded)
    with pytest.raises(StorageUnavailable):
        answer("http://3", headers=forwarded, serves=False)
    with pytest.raises(StorageUnavailable):
        answer("http://3", headers=forwarded, fails=StorageUnavailable("no database"))


def test_a_node_that_may_not_serve_connects_clients_to_pages_of_other_nodes_only() -> None:
    assert answer("http://3", is_here=True, serves=False) == ([ACCEPTED], ["http://2", "http://3"])
    with pytest.raises(StorageUnavailable):
        answer(None, is_here=True, serves=False)


def test_a_node_that_cannot_ask_whose_a_secret_address_is_asks_all_other_nodes() -> None:
    no_database = StorageUnavailable("no database")
    assert answer("http://3", fails=no_database) == ([ACCEPTED], ["http://2", "http://3"])
    with pytest.raises(StorageUnavailable):
        answer(None, fails=no_database)
    # The node that has it says why it does not answer.
    with pytest.raises(NodeUnreachable):
        answer("http://3", fails=NodeUnreachable("cut off"))


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
