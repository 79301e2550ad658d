"""The sockets that the service listens on."""

from __future__ import annotations

import errno
import socket
import sys
import time

from drover.core.errors import start_refused
from drover.net import access

RELEASE_S = 10.0
"""How long a port may stay taken with SO_EXCLUSIVEADDRUSE, until its accepted connections are inactive."""
RETRY_S = 0.5
RESERVED_PORT = (
    "Windows has reserved it, as Hyper-V and WSL do; "
    "`netsh int ipv4 show excludedportrange protocol=tcp` lists the reserved ports"
)
_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on `host`; if it is a loopback address, on 127.0.0.1 and ::1.

    On Windows, clients try `localhost` as ::1 first, and a refused attempt costs them two seconds.

    Raises:
        StartRefused: The port is in use, or this machine does not have the address.
    """
    loopback = access.is_loopback(host)
    sockets = []
    for address in ("127.0.0.1", "::1") if loopback else (host,):
        try:
            sockets.append(_bound_in_time(address, port))
        except OSError as error:
            if sockets and error.errno in _NO_SUCH_ADDRESS:
                # The machine or container has no IPv6.
                continue
            raise start_refused(_failure(host, address, port, error), error) from error
    return sockets


def _failure(host: str, address: str, port: int, error: OSError) -> str:
    if error.errno in _NO_SUCH_ADDRESS or isinstance(error, socket.gaierror):
        return (
            f"DROVER_HOST is {host}: cannot listen on this address ({error.strerror}); "
            "use an address of this machine"
        )
    if sys.platform == "win32" and error.errno == errno.EACCES:
        return f"DROVER_PORT is {port}: {RESERVED_PORT}; choose another port"
    return (
        f"DROVER_PORT is {port}: cannot listen on {address} port {port} ({error.strerror}); "
        "stop the program that uses it, or choose another port"
    )


def _bound_in_time(address: str, port: int) -> socket.socket:
    """Return a listening socket; on Windows a port that was just given up may stay taken for a while."""
    deadline = time.monotonic() + (RELEASE_S if sys.platform == "win32" else 0)
    while True:
        try:
            return bound(address, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)


def bound(address: str, port: int) -> socket.socket:
    """Return a socket that listens on one address.

    Raises:
        OSError: The port is taken, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # asyncio disables Nagle's algorithm only for sockets created with IPPROTO_TCP; with it, a response in two
    # parts waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener
