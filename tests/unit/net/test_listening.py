"""The error for a WebSocket client if the browser accepts no connection."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.http11 import Response

from drover.attach import attaching
from drover.attach.attaching import Attaching
from drover.core.errors import BrowserUnavailable, DroverError, NotFound
from drover.net.request_threads import RequestThreads
from session_manager import SessionManager


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

    monkeypatch.setattr(attaching, "open_socket", connect)
    unused = cast("SessionManager", None), cast("RequestThreads", None)
    with pytest.raises(told):
        asyncio.run(Attaching(*unused).dial("one", "ws://127.0.0.1:1/"))
