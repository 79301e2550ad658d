"""WebSockets to Chrome and ChromeDriver."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection, connect

CONNECT_S = 5.0
CLOSE_S = 1.0


async def open_socket(address: str) -> ClientConnection:
    """Return a WebSocket to a program on this machine, for messages of any size.

    Chrome and ChromeDriver accept a socket without an `Origin` header, and refuse a foreign origin.

    Raises:
        InvalidStatus: The address does not exist.
        WebSocketException: What answers speaks no WebSocket.
        OSError: The connection was refused.
        TimeoutError: There was no answer within `CONNECT_S` seconds.
    """
    try:
        return await connect(
            address,
            compression=None,
            max_size=None,
            open_timeout=CONNECT_S,
            close_timeout=CLOSE_S,
            ping_interval=None,
            proxy=None,
        )
    except asyncio.TimeoutError as error:
        # Up to Python 3.10 it is no `TimeoutError`.
        raise TimeoutError(str(error)) from error
