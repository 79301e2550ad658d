"""Run the service until a signal stops it."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

import uvicorn

from drover.attach.direct_commands import DirectCommands
from drover.browser.capabilities.switches import check_chrome_args
from drover.core import events
from drover.core.errors import Overloaded, StartObstructed
from drover.core.logs import set_up_logging
from drover.core.settings import Settings, named_variables, unknown_variables
from drover.core.threads import fill_loop_threads, start_thread
from drover.core.version import VERSION
from drover.net import access
from drover.net.asgi import Application
from drover.net.listening import bound, listen
from drover.processes.host.descriptors import descriptor_limit, raise_descriptor_limit
from drover.processes.host.windows_console import end_with_console
from drover.server.connections import ConnectionTable, connection_limit
from drover.server.http_protocol import IDLE_S, HttpProtocol, SocketProtocol, match_in_linear_time
from drover.server.log_noise import AcceptErrors, ignore_what_clients_may_do
from drover.server.port_watch import Address
from drover.server.service import Drover
from drover.server.signals import StopSignals, unblock_stop_signals

# Not the proactor loop, asyncio's default on Windows: it closes the listening socket when one client hangs up
# before it is accepted (CPython gh-93821).
_new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
with suppress(ImportError):
    # It takes a fifth off the processor time of a command; Windows has none.
    import uvloop

    _new_event_loop = uvloop.new_event_loop

LINGER_S = 2
BACKLOG = 128
LISTEN_S = 5.0
PORT_LOST = 75
"""The exit code if the port is lost: EX_TEMPFAIL, upon which a supervisor starts the service again."""
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""The largest message in bytes that a client may send over a WebSocket; Chrome's messages are not limited."""


if sys.version_info < (3, 11):

    class _LoopPolicy(asyncio.DefaultEventLoopPolicy):
        """Makes the loops of `asyncio.run`."""

        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return _new_event_loop()


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: ours closes the sessions while the server still answers."""

    _loop: asyncio.AbstractEventLoop | None = None

    def run_until_stopped(self, sockets: list[socket.socket]) -> None:
        """Answer requests until `end`."""
        if sys.version_info >= (3, 11):
            with asyncio.Runner(loop_factory=_new_event_loop) as runner:
                runner.run(self.serve(sockets=sockets))
        else:
            asyncio.set_event_loop_policy(_LoopPolicy())
            asyncio.run(self.serve(sockets=sockets))

    async def main_loop(self) -> None:
        """Wait until `end`; `date_headers` does what uvicorn's own loop does."""
        await self._ending.wait()

    def end(self) -> None:
        """Have the server end; may be called by any thread, and before the server has started."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ending.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        self._ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(AcceptErrors().handle)
        await fill_loop_threads()
        await super().startup(sockets)

    def listen_again(self, index: int, address: Address) -> None:
        """Listen anew in place of the listening socket with this index; called by another thread.

        Raises:
            OSError: The port cannot be listened on, or the event loop does not answer.
        """
        if self._loop is None:
            raise OSError("the server has not started")
        listening = asyncio.run_coroutine_threadsafe(self._listen_again(index, address), self._loop)
        try:
            listening.result(LISTEN_S)
        except FutureTimeoutError as error:
            raise OSError(f"the event loop did not answer within {LISTEN_S:.0f} s") from error

    async def _listen_again(self, index: int, address: Address) -> None:
        servers = self.servers
        # A listener whose socket is closed cannot be closed once more.
        if any(old.fileno() >= 0 for old in servers[index].sockets):
            servers[index].close()
        listener = bound(*address)
        try:
            await super().startup([listener])
            servers[index] = self.servers[0]
        finally:
            self.servers = servers

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(settings: Settings) -> int:
    """Run the service until it is stopped; return the exit code: 75 if its port was lost, else 0.

    Raises:
        StartRefused: The set-up does not allow it.
    """
    try:
        return _Service(settings).run()
    except Overloaded as error:
        raise StartObstructed(error.message) from error


def prepare(settings: Settings, *, is_whole_program: bool = False) -> Drover:
    """Return the service with its log set up and its data folder locked, ready to start.

    Args:
        is_whole_program: Whether the program runs nothing else.

    Raises:
        StartRefused: The set-up does not allow it.
    """
    raise_descriptor_limit()
    check_chrome_args(settings.chrome_args)
    access.check_bind(settings.host, settings.token)
    drover = Drover(settings, is_whole_program=is_whole_program)
    drover.hub.subscribe(
        set_up_logging(settings.log_format, settings.log_level, drover.endpoints.stream.hear_line)
    )
    for variable in unknown_variables(named_variables()):
        drover.hub.emit(events.SettingIgnored(variable))
    drover.take_possession()
    return drover


class _Service:
    """The service with the server that carries it, from its start to its stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._drover: Drover | None = None
        self._server: _Server | None = None
        self._is_started = threading.Event()
        self._failure: BaseException | None = None
        self._port_lost = False

    def run(self) -> int:
        """Start, answer requests, and return the exit code when the service has stopped.

        The server runs before the start is over, so that `GET /ready` can say so.
        """
        unblock_stop_signals()
        # Until here nothing has been started: a signal simply ends the program.
        drover = self._drover = prepare(self._settings, is_whole_program=True)
        sockets = listen(self._settings.host, self._settings.port)
        try:
            signals = StopSignals(self._stop, drover.sessions.shutdown.kill, self._drain)
            if drover.sessions.cluster is not None:
                drover.sessions.cluster.leave_with(signals.stop_for)
            drover.sessions.drain.over.add_done_callback(lambda _: signals.stop_for("drained"))
            signals.install()
            server = self._server = _server(
                drover.endpoints.asgi(), self._settings.max_sessions, drover.endpoints.direct_commands()
            )
            end_with_console(drover.end_at_once)
            drover.endpoints.gate.close()
            start_thread(partial(self._start, drover, server, sockets, signals), "start")
        except BaseException:
            # What is started by now is stopped again, and no signal is waited for.
            self._is_started.set()
            drover.stop()
            raise
        server.run_until_stopped(sockets)
        self._is_started.wait()
        if self._failure is not None:
            raise self._failure
        return PORT_LOST if self._port_lost else 0

    def _start(
        self, drover: Drover, server: _Server, sockets: list[socket.socket], signals: StopSignals
    ) -> None:
        try:
            drover.start(lambda: signals.stopping)
            self._watch_port(drover, server, sockets, signals)
            drover.fill_threads()
            # What the start has made lives as long as the service; a full collection would walk it for 40 ms.
            gc.freeze()
            if not signals.stopping:
                url = f"http://localhost:{self._settings.port}"
                drover.hub.emit(events.ServiceStarted(url, VERSION, str(self._settings.data_dir)))
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            if not signals.stopping:
                self._failure = error
                drover.stop()
                server.end()
        finally:
            # After a start that failed or was given up, what has waited is told that the service is stopping.
            drover.endpoints.gate.open()
            self._is_started.set()

    def _watch_port(
        self, drover: Drover, server: _Server, sockets: list[socket.socket], signals: StopSignals
    ) -> None:
        addresses = [listener.getsockname()[:2] for listener in sockets]

        def give_up() -> None:
            self._port_lost = True
            signals.stop_for("port lost")

        drover.port_watch.start(
            addresses, lambda index: server.listen_again(index, addresses[index]), give_up
        )

    def _drain(self) -> bool:
        """Begin a drain, if SIGTERM asks for one and the service has started."""
        if self._drover is None or not (self._settings.drains_upon_sigterm and self._is_started.is_set()):
            return False
        self._drover.sessions.drain.begin()
        return True

    def _stop(self, name: str) -> None:
        """Stop in order; the server ends whatever fails, or the program would never end."""
        assert self._drover is not None, "signals are handled once the service is prepared"
        self._drover.hub.emit(events.ServiceStopping(name))
        self._drover.give_up_start()
        self._is_started.wait()
        try:
            self._drover.stop(keep_browsers=self._port_lost)
        finally:
            if self._server is not None:
                self._server.end()


def _server(
    application: Application, max_sessions: int, direct_commands: DirectCommands | None = None
) -> _Server:
    limit = connection_limit(descriptor_limit(), max_sessions, windows=sys.platform == "win32")
    ignore_what_clients_may_do()
    match_in_linear_time()
    return _Server(
        uvicorn.Config(
            application,
            http=cast(
                "Any",
                partial(HttpProtocol, table=ConnectionTable(limit), direct_commands=direct_commands),
            ),
            timeout_keep_alive=IDLE_S,
            # asyncio tries a failing accept() as often in a row as the backlog is long (measured).
            backlog=BACKLOG,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=LINGER_S,
            ws=SocketProtocol,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            # A client that is paused in a debugger answers no ping, but is still connected.
            ws_ping_timeout=None,
        )
    )
