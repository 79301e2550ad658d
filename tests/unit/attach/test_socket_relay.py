"""Relaying of a client's WebSocket, and what the client is told at its end."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import Close

from drover.attach.end_commands import cdp_end
from drover.attach.socket_relay import SocketRelay, close_message
from drover.core.errors import CleanupIncomplete
from drover.net.asgi import Message

END = json.dumps({"id": 1, "method": "Browser.close"})


class Browser:
    """The browser's side of a relay, which answers nothing."""

    def __init__(self) -> None:
        self.received: list[object] = []
        self.closed = asyncio.Event()

    async def send(self, message: object) -> None:
        self.received.append(message)

    async def recv(self) -> str:
        await self.closed.wait()
        raise ConnectionClosedError(None, None)

    async def close(self, *_: object) -> None:
        self.closed.set()


def relayed(messages: list[str], *, failure: str | None = None) -> tuple[list[object], list[Message]]:
    """Relay a client's messages; return what the browser and what the client received."""

    async def run() -> tuple[list[object], list[Message]]:
        browser, sent, waiting = Browser(), list[Message](), list(messages)

        async def receive() -> Message:
            if waiting:
                return {"type": "websocket.receive", "text": waiting.pop(0)}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        async def end_session() -> None:
            if failure is not None:
                raise CleanupIncomplete(failure)
            # The browser's side closes before the end is complete.
            browser.closed.set()
            await asyncio.sleep(0)

        relay = SocketRelay(cdp_end, end_session, lambda: True)
        await relay.run(cast("ClientConnection", browser), receive, send)
        return browser.received, sent

    return asyncio.run(asyncio.wait_for(run(), 10))


def test_a_command_that_ends_the_session_is_answered_after_the_end_and_not_passed_on() -> None:
    received, sent = relayed(["{}", END])
    assert received == ["{}"]
    assert sent == [
        {"type": "websocket.send", "text": json.dumps({"id": 1, "result": {}})},
        {"type": "websocket.close", "code": 1000, "reason": ""},
    ]


def test_a_session_that_cannot_be_ended_is_reported_to_its_client() -> None:
    _, sent = relayed([END], failure="A process is left")
    assert json.loads(sent[0]["text"])["error"]["message"] == "A process is left"
    assert sent[1]["code"] == 1011


@pytest.mark.parametrize(
    ("received", "has_ended", "code", "reason"),
    [
        (Close(1001, "bye"), False, 1001, "bye"),
        (None, True, 1000, "The session has ended."),
        (None, False, 1011, "Chrome closed this connection. Reconnect: a dead session is recovered then."),
        (Close(1006, ""), True, 1000, "The session has ended."),
    ],
)
def test_a_client_is_told_why_its_socket_closes(
    received: Close | None, has_ended: bool, code: int, reason: str
) -> None:
    closed: Any = ConnectionClosed(received, None, None)
    message = close_message(closed, has_ended=has_ended)
    assert (message["code"], message["reason"]) == (code, reason)
