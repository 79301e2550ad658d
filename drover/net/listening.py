"""The sockets that the service listens on."""

from __future__ import annotations

import errno
import socket
import sys

from drover.core.errors import start_refused
from drover.net import access

_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on `host`; on both loopback addresses where it is one of them.

    On Windows `localhost` is tried as ::1 first, and a refused attempt costs its caller two seconds.

    Raises:
        StartRefused: The port is taken, or this machine has no such address.
    """
    loopback = access.is_loopback(host)
    sockets = []
    for address in ("127.0.0.1", "::1") if loopback else (host,):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sockets.append(_bound(family, address, port))
        except OSError as error:
            if sockets and error.errno in _NO_SUCH_ADDRESS:
                # A machine or container without IPv6.
                continue
            raise start_refused(_why_not(host, address, port, error), error) from error
    return sockets


def _why_not(host: str, address: str, port: int, error: OSError) -> str:
    if error.errno in _NO_SUCH_ADDRESS or isinstance(error, socket.gaierror):
        return (
            f"DROVER_HOST is {host}: nobody can listen there ({error.strerror}); "
            "name an address of this machine"
        )
    return (
        f"DROVER_PORT is {port}: {address} port {port} cannot be listened on ({error.strerror}); "
        "stop what uses it, or choose another port"
    )


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # asyncio switches Nagle's algorithm off only for sockets that say that they are TCP; with it, an answer
    # in two parts waits 40 ms for the client's delayed acknowledgement.
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
