"""The guard of a node: what is withheld once the node may not serve any more."""

from __future__ import annotations

import asyncio

import pytest

from drover.attach.router import refuse_socket
from drover.attach.socket_relay import close_with
from drover.cluster import clock
from drover.cluster.fence import Fence
from drover.cluster.guard import Guard
from drover.core.errors import DroverError, NodeUnreachable, NotOwner, ShuttingDown, StorageUnavailable
from drover.net.asgi import NOT_OWNER, PART_BYTES, Message, Receive, Response, Scope, Send, send_answer


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


async def answers(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send_answer(send, Response(200, b"{}"))


def test_nothing_is_asked_of_a_node_that_may_not_serve() -> None:
    asked: list[Scope] = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        asked.append(scope)

    with pytest.raises(StorageUnavailable):
        asyncio.run(Guard(Fence()).run(application, {"type": "http"}, no_body, no_answer))
    assert asked == []


async def no_answer(message: Message) -> None:
    raise AssertionError(message)


def test_an_answer_is_withheld_if_the_node_may_not_serve_any_more() -> None:
    fence = Fence()
    fence.extend(clock.now())

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        fence.close()
        await answers(scope, receive, send)

    with pytest.raises(StorageUnavailable):
        asyncio.run(Guard(fence).run(application, {"type": "http"}, no_body, no_answer))


def test_an_answer_that_is_in_doubt_is_withheld() -> None:
    fence = Fence()
    fence.extend(clock.now())

    async def doubt() -> DroverError:
        return NodeUnreachable("it has moved")

    with pytest.raises(NodeUnreachable):
        asyncio.run(Guard(fence).run(answers, {"type": "http"}, no_body, no_answer, doubt))


def test_a_node_that_has_left_says_so() -> None:
    fence = Fence()
    fence.extend(clock.now())
    fence.leave()
    # The answer to a sign of life that was sent before comes late.
    fence.extend(clock.now())
    with pytest.raises(ShuttingDown):
        Guard(fence).check()


def test_the_whole_answer_that_a_session_is_elsewhere_is_withheld() -> None:
    fence = Fence()
    fence.extend(clock.now())

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send_answer(send, Response(404, b"{}", ((NOT_OWNER.encode(), b"1"),)))

    with pytest.raises(NotOwner):
        asyncio.run(Guard(fence).run(application, {"type": "http"}, no_body, no_answer))


def test_a_stream_ends_when_its_answer_is_withheld() -> None:
    fence = Fence()
    fence.extend(clock.now())

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        fence.close()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise AssertionError("nobody sees this stream")

    with pytest.raises(StorageUnavailable):
        asyncio.run(Guard(fence).run(application, {"type": "http"}, no_body, no_answer))


def test_a_handshake_is_refused_with_the_reason_if_the_node_may_not_serve_any_more() -> None:
    fence = Fence()
    fence.extend(clock.now())

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        fence.close()
        await send({"type": "websocket.accept"})

    with pytest.raises(StorageUnavailable):
        asyncio.run(Guard(fence).run(application, {"type": "websocket"}, no_body, no_answer))


def test_a_handshake_with_a_session_that_leaves_the_node_is_not_refused_as_if_it_had_ended() -> None:
    fence = Fence()
    fence.extend(clock.now())

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await refuse_socket(send, Response(404, b"{}"))

    async def moved() -> DroverError:
        return NodeUnreachable("it moves")

    with pytest.raises(NodeUnreachable):
        asyncio.run(Guard(fence).run(application, {"type": "websocket"}, no_body, no_answer, moved))


def test_open_sockets_are_closed_when_the_node_may_not_serve_any_more() -> None:
    fence = Fence()
    fence.extend(clock.now())
    guard, sent = Guard(fence), list[Message]()

    async def client(message: Message) -> None:
        sent.append(message)

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "served"})
        fence.close()
        guard.close_if_fenced()
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="may not serve"):
            await send({"type": "websocket.send", "text": "too late"})

    asyncio.run(guard.run(application, {"type": "websocket"}, no_body, client))
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert sent[-1]["code"] == 1013


@pytest.mark.parametrize(("doubt", "code"), [(NodeUnreachable("it moves"), 1013), (None, 1000)])
def test_a_socket_of_a_session_that_leaves_the_node_tells_its_client_to_connect_again(
    doubt: DroverError | None, code: int
) -> None:
    fence, sent = Fence(), list[Message]()
    fence.extend(clock.now())

    async def client(message: Message) -> None:
        sent.append(message)

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send(close_with(1000, "The session has ended."))

    async def moved() -> DroverError | None:
        return doubt

    asyncio.run(Guard(fence).run(application, {"type": "websocket"}, no_body, client, moved))
    assert sent[-1]["code"] == code
