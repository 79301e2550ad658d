"""Connections to programs on this machine, and WebSockets to Chrome and ChromeDriver.

Windows tries a refused connection again for two seconds before it reports the refusal (measured by others:
pull request 2896 of libuv), which is as long as a health probe waits for its answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from typing import TypeVar

from websockets.asyncio import client

CONNECT_S = 5.0
CLOSE_S = 1.0
"""Seconds that a WebSocket has to open and to close."""

SomeProtocol = TypeVar("SomeProtocol", bound=asyncio.Protocol)

# SIO_TCP_INITIAL_RTO with TCP_INITIAL_RTO_PARAMETERS: the default time, and no second SYN (mstcpip.h).
_INITIAL_RTO = 0x98000011
_NO_SECOND_SYN = struct.pack("<HBx", 0xFFFF, 0xFE)


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """Return a connection to a program on this machine; a refusal is reported at once on every system.

    Raises:
        TimeoutError: There was no answer in time.
        OSError: The connection was refused, or could not be made for want of descriptors.
    """
    connection = _socket_for(host)
    try:
        connection.settimeout(timeout)
        connection.connect((host, port))
    except BaseException:
        connection.close()
        raise
    return connection


async def open_transport(
    host: str, port: int, protocol: Callable[[], SomeProtocol]
) -> tuple[asyncio.Transport, SomeProtocol]:
    """Return asyncio's transport over a new connection, made as in `connect`, with its protocol.

    Raises:
        OSError: As in `connect`.
    """
    connection = _socket_for(host)
    loop = asyncio.get_running_loop()
    try:
        connection.setblocking(False)
        await loop.sock_connect(connection, (host, port))
        return await loop.create_connection(protocol, sock=connection)
    except BaseException:
        connection.close()
        raise


async def open_socket(address: str) -> client.ClientConnection:
    """Return a WebSocket to a program on this machine, for messages of any size.

    Chrome and ChromeDriver accept a socket without an `Origin` header, and refuse a foreign origin.

    Raises:
        InvalidStatus: The address does not exist.
        WebSocketException: What answers speaks no WebSocket.
        OSError: The connection was refused.
        TimeoutError: There was no answer within `CONNECT_S` seconds.
    """
    try:
        return await client.connect(
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


def _socket_for(host: str) -> socket.socket:
    # asyncio switches Nagle's algorithm off only for sockets that say that they are TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    created = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform == "win32":
        _refuse_at_once(created)
    return created


if sys.platform == "win32":
    import ctypes

    def _refuse_at_once(connection: socket.socket) -> None:
        """Have Windows report the first refusal; systems before Windows 10 keep their default."""
        ignored = ctypes.c_uint()
        ctypes.WinDLL("ws2_32").WSAIoctl(
            ctypes.c_size_t(connection.fileno()),
            ctypes.c_uint(_INITIAL_RTO),
            _NO_SECOND_SYN,
            len(_NO_SECOND_SYN),
            None,
            0,
            ctypes.byref(ignored),
            None,
            None,
        )
