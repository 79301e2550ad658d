"""What a client of a socket is told where the browser takes none."""

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
def test_a_browser_that_went_down_meanwhile_is_told_from_a_page_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[DroverError]
) -> None:
    async def connect(*_: object, **__: object) -> None:
        raise error

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(_: Message) -> None:
        raise AssertionError("a socket that there is not was accepted")

    monkeypatch.setattr(devtools_sockets, "connect", connect)
    with ThreadPoolExecutor(1) as pool:
        nobody = cast("SessionManager", None), cast("DriverAccess", None)
        sockets = DevToolsSockets(*nobody, pool, port=5010, probe_timeout=1.0)
        with pytest.raises(told):
            asyncio.run(sockets._join(session("one"), "ws://127.0.0.1:1/", receive, send))
