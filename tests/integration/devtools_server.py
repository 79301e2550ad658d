"""A browser's DevTools over a WebSocket, with faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from drover.browser.running_browser import RunningBrowser
from tests.unit.examples import RUNNING

FLOOD = 5_000
Answer = dict[str, Any]


class FakeDevTools:
    """A DevTools server that answers every command from `results`, unless a fault is set for it.

    Attributes:
        commands: The methods received, in order.
        results: The result by method; a callable receives the parameters.
        refused: Methods that are answered with an error.
        ignored: Methods that get no answer.
        fatal: Methods that break the connection without an answer.
        flooding: Methods whose answer follows thousands of events.
        connections: The number of connections so far.
    """

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.parameters: list[Answer] = []
        self.results: dict[str, Answer | Callable[[Answer], Answer]] = {
            "Target.attachToTarget": {"sessionId": "S1"}
        }
        self.refused: set[str] = set()
        self.ignored: set[str] = set()
        self.fatal: set[str] = set()
        self.flooding: set[str] = set()
        self.connections = 0
        self._open: set[ServerConnection] = set()
        self._server: Server = serve(self._handle, "127.0.0.1", 0, compression=None)
        self._thread = threading.Thread(target=self._server.serve_forever, name="fake devtools")
        self._thread.start()

    @property
    def running(self) -> RunningBrowser:
        """The browser that this server represents."""
        port = self._server.socket.getsockname()[1]
        return replace(RUNNING, debugger_address=f"127.0.0.1:{port}")

    def tell(self, method: str, **parameters: object) -> None:
        """Send an event to every connected client."""
        for socket in tuple(self._open):
            _send(socket, {"method": method, "params": parameters})

    def page(self, target_id: str, kind: str = "page") -> None:
        """Announce a new target."""
        self.tell("Target.targetCreated", targetInfo={"targetId": target_id, "type": kind})

    def break_off(self) -> None:
        """Break every connection without a closing handshake, as a killed browser does."""
        for socket in tuple(self._open):
            socket.socket.close()

    def close(self) -> None:
        """Stop the server."""
        for socket in tuple(self._open):
            with suppress(OSError):
                socket.socket.shutdown(2)
        self._server.shutdown()
        self._thread.join()

    def _handle(self, socket: ServerConnection) -> None:
        self.connections += 1
        self._open.add(socket)
        try:
            for text in socket:
                self._take(socket, json.loads(text))
        except (ConnectionClosed, OSError):
            return
        finally:
            self._open.discard(socket)

    def _take(self, socket: ServerConnection, command: Answer) -> None:
        method = command["method"]
        self.commands.append(method)
        self.parameters.append(command["params"])
        if method in self.fatal:
            socket.socket.shutdown(2)
        elif method in self.refused:
            _send(socket, {"id": command["id"], "error": {"code": -32000, "message": "not today"}})
        elif method not in self.ignored:
            for number in range(FLOOD if method in self.flooding else 0):
                _send(socket, {"method": "Network.dataReceived", "params": {"number": number}})
            result = self.results.get(method, {})
            answer = result(command["params"]) if callable(result) else result
            _send(socket, {"id": command["id"], "result": answer})


def _send(socket: ServerConnection, message: Answer) -> None:
    with suppress(ConnectionClosed):
        socket.send(json.dumps(message))


@contextmanager
def fake_devtools() -> Iterator[FakeDevTools]:
    """Run a server for the duration of a test."""
    server = FakeDevTools()
    try:
        yield server
    finally:
        server.close()
