"""Viewers of one session share one control, and get whatever text its page has."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from drover.attach import view_sockets
from drover.attach.view_client import ViewClient
from drover.attach.view_control import Control, Viewer
from drover.attach.view_sockets import ViewSockets
from drover.net.asgi import Message
from tests.unit.examples import session


class Viewing:
    """Views that last until a test ends them; notes the control that each has."""

    def __init__(self) -> None:
        self.controls: list[object] = []
        self.two_view = asyncio.Event()
        self.over = asyncio.Event()

    def __call__(self, _: object, control: object, *__: object, **___: object) -> Viewing:
        self.controls.append(control)
        if len(self.controls) > 1:
            self.two_view.set()
        return self

    async def run(self, _: object) -> None:
        """View until the end."""
        await self.over.wait()


async def sent(_: Message) -> None:
    """Take a message."""


def test_a_viewer_that_connects_while_the_last_other_one_leaves_shares_its_control_with_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = session("one")
    access: Any = SimpleNamespace(driver_access=SimpleNamespace(session=lambda _: there))

    async def view(sockets: ViewSockets, connects: asyncio.Event) -> None:
        async def receive() -> Message:
            await connects.wait()
            return {"type": "websocket.connect"}

        scope = {"query_string": b"", "headers": []}
        await sockets._view(scope, receive, sent, "one")

    async def run() -> list[object]:
        sockets, at_once, later = ViewSockets(access), asyncio.Event(), asyncio.Event()
        at_once.set()
        first, others = Viewing(), Viewing()
        monkeypatch.setattr(view_sockets, "ViewClient", first)
        leaving = asyncio.create_task(view(sockets, at_once))
        await asyncio.sleep(0)
        connecting = asyncio.create_task(view(sockets, later))
        await asyncio.sleep(0)
        first.over.set()
        await leaving
        monkeypatch.setattr(view_sockets, "ViewClient", others)
        later.set()
        next_one = asyncio.create_task(view(sockets, at_once))
        await others.two_view.wait()
        others.over.set()
        await asyncio.gather(connecting, next_one)
        assert sockets._controls == {}
        return others.controls

    one, other = asyncio.run(run())
    assert one is other


def test_a_viewer_that_leaves_while_it_connects_leaves_no_control() -> None:
    there = session("one")
    access: Any = SimpleNamespace(driver_access=SimpleNamespace(session=lambda _: there))
    sockets = ViewSockets(access)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(_: Message) -> None:
        raise OSError("the client has left")

    with pytest.raises(OSError, match="has left"):
        asyncio.run(sockets._view({"query_string": b"", "headers": []}, receive, send, "one"))
    assert sockets._controls == {}


def test_a_page_with_half_of_a_surrogate_pair_ends_no_view() -> None:
    told: list[str] = []

    async def send(message: Message) -> None:
        told.append(message["text"].encode())

    nothing: Any = None
    client = ViewClient(nothing, Control(nothing), Viewer(""), send, view_only=False)
    asyncio.run(client._tell("copied", {"text": "half of a pair: \ud83d"}))
    assert json.loads(told[0]) == {"type": "copied", "text": "half of a pair: \ud83d"}
