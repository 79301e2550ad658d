"""Run the service until a signal stops it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from drover.browser.capabilities.policy import check_chrome_args
from drover.core import events
from drover.core.logs import set_up_logging
from drover.core.settings import Settings, named_variables, unknown_variables
from drover.core.version import VERSION
from drover.net import access
from drover.net.listening import listen
from drover.processes.host.descriptors import raise_descriptor_limit
from drover.processes.host.windows_console import end_with_console
from drover.server.service import Drover, token_of

LINGER_S = 2
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""The largest message in bytes that a client may send over a WebSocket; Chrome's messages are not limited."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: ours closes the sessions while the server still answers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(settings: Settings) -> int:
    """Run the service until it is stopped; return the exit code.

    Raises:
        StartRefused: The set-up does not allow it.
    """
    drover = prepare(settings)
    _run(drover, listen(settings.host, settings.port))
    return 0


def prepare(settings: Settings) -> Drover:
    """Return the service with its log set up and its data folder locked, ready to start.

    Raises:
        StartRefused: The set-up does not allow it.
    """
    raise_descriptor_limit()
    check_chrome_args(settings.chrome_args)
    access.check_bind(settings.host, token_of(settings))
    drover = Drover(settings)
    drover.hub.subscribe(set_up_logging(settings.log_format, settings.log_level, drover.stream.hear_line))
    for variable in unknown_variables(named_variables()):
        drover.hub.emit(events.SettingIgnored(variable))
    drover.take_possession()
    return drover


def _run(drover: Drover, sockets: list[socket.socket]) -> None:
    server = _Server(
        uvicorn.Config(
            drover.asgi(),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=LINGER_S,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            # A client that is paused in a debugger answers no ping, but is still connected.
            ws_ping_timeout=None,
        )
    )
    _stop_upon_signals(drover, server)
    drover.start()
    url = f"http://localhost:{drover.settings.port}"
    drover.hub.emit(events.ServiceStarted(url, VERSION, str(drover.settings.data_dir)))
    asyncio.run(server.serve(sockets=sockets))


def _stop_upon_signals(drover: Drover, server: _Server) -> None:
    """Stop in order at the first signal, and at once at the second."""
    stopping = threading.Event()

    def stop_in_order(name: str) -> None:
        drover.hub.emit(events.ServiceStopping(name))
        drover.stop()
        server.should_exit = True

    def handle(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            drover.manager.kill()
            os._exit(128 + number)
        stopping.set()
        name = signal.Signals(number).name
        threading.Thread(target=stop_in_order, args=[name], name="stop").start()

    end_with_console(drover.end_at_once)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handle)
