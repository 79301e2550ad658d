"""The error for a WebSocket client if the browser accepts no connection."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.http11 import Response

from drover.attach import devtools_sockets
from drover.attach.devtools_sockets import DevToolsSockets
from drover.attach.end_commands import cdp_end
from drover.core.errors import BrowserUnavailable, DroverError, NotFound
from drover.net.asgi import Message
from drover.sessions.pool.driver_access import DriverAccess
from session_manager import SessionManager
from tests.unit.examples import session


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InvalidStatus(Response(404, "Not Found", Headers())), NotFound),
        (ConnectionRefusedError("refused"), BrowserUnavailable),
        (InvalidMessage("cut off"), BrowserUnavailable),
        (TimeoutError("silent"), BrowserUnavailable),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_browser_that_ended_is_distinguished_from_a_missing_page(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[DroverError]
) -> None:
    async def connect(*_: object, **__: object) -> None:
        raise error

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(_: Message) -> None:
        raise AssertionError("a socket without a page was accepted")

    monkeypatch.setattr(devtools_sockets, "connect", connect)
    with ThreadPoolExecutor(1) as pool:
        unused = cast("SessionManager", None), cast("DriverAccess", None)
        sockets = DevToolsSockets(*unused, pool, port=5010, probe_timeout=1.0)
        with pytest.raises(told):
            asyncio.run(sockets._join(session("one"), "ws://127.0.0.1:1/", cdp_end, receive, send))
