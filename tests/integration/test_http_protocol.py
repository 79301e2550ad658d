"""The HTTP protocol of the server: endless heads, idle connections, and more connections than allowed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from drover.net.asgi import Receive, Scope, Send, read_body
from drover.net.http_response import parse_head
from drover.net.listening import bound
from drover.server import connections, http_protocol, serve
from tests.machine import wait_until

WAIT_S = 10.0
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Server:
    """A server whose answers to `/slow` wait until they are released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        listener = bound("127.0.0.1", 0)
        self.address = listener.getsockname()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await self._answer(scope, receive, send)

        self.server = serve._server(application, max_sessions=1)
        self._thread = threading.Thread(target=self.server.run_until_stopped, args=[[listener]])
        self._thread.start()
        wait_until(lambda: self.server.started, "the server has started")
        self._clients = contextlib.ExitStack()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive, 1024)
        if scope["path"] == "/slow":
            await asyncio.to_thread(self.release.wait, WAIT_S)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"here"})

    def connect(self) -> socket.socket:
        """Open a connection that sends nothing."""
        return self._clients.enter_context(socket.create_connection(self.address, WAIT_S))

    def open_connections(self) -> int:
        """Return how many connections the server has."""
        return len(self.server.server_state.connections)

    def close(self) -> None:
        """Stop the server."""
        self.release.set()
        self._clients.close()
        self.server.should_exit = True
        self._thread.join(WAIT_S)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(connections, "LEAST", 4)
    monkeypatch.setattr(connections, "MOST", 4)
    monkeypatch.setattr(connections, "MOST_ON_WINDOWS", 4)
    monkeypatch.setattr(connections, "RESERVE", 2)
    monkeypatch.setattr(http_protocol, "HEAD_S", 0.5)
    started = Server()
    yield started
    started.close()


def ask(connection: socket.socket, path: bytes = b"/") -> bytes:
    connection.sendall(GET % path)
    return receive(connection)


def receive(connection: socket.socket) -> bytes:
    """Return a whole answer; nothing if the server closed the connection."""
    content = b""
    while (end := content.find(b"\r\n\r\n") + 4) < 4 or len(content) < end + parse_head(content[:end]).length:
        try:
            received = connection.recv(65536)
        except ConnectionResetError:
            received = b""
        if not received:
            return b""
        content += received
    return content


def test_a_connection_stays_open_after_an_answer(server: Server) -> None:
    connection = server.connect()
    for _ in range(3):
        assert b"200 OK" in ask(connection)
    assert http_protocol.IDLE_S >= 600
    connection.settimeout(3 * http_protocol.HEAD_S)
    with pytest.raises(TimeoutError):
        connection.recv(1)


@pytest.mark.parametrize("start", [b"", b"GET / HT", GET[:-2] % b"/"])
def test_a_head_that_never_ends_is_cut_off(server: Server, start: bytes) -> None:
    connection = server.connect()
    connection.sendall(start)
    assert receive(connection) == b""


def test_the_head_of_a_later_request_has_a_time_limit_of_its_own(server: Server) -> None:
    connection = server.connect()
    assert b"200 OK" in ask(connection)
    connection.sendall(b"GET / HT")
    assert receive(connection) == b""


def test_silent_connections_make_room_for_clients(server: Server) -> None:
    silent = [server.connect() for _ in range(4)]
    wait_until(lambda: server.open_connections() == 4, "all are connected")
    assert b"200 OK" in ask(server.connect())
    assert receive(silent[0]) == b""


def test_a_connection_that_serves_a_request_is_not_closed_for_another(server: Server) -> None:
    busy = [server.connect() for _ in range(4)]
    for connection in busy:
        connection.sendall(GET % b"/slow")
    wait_until(lambda: len(server.server.server_state.tasks) == 4, "all are served")
    refused = ask(server.connect(), b"/anything")
    assert b"503 Service Unavailable" in refused
    assert b'"code": "overloaded"' in refused
    assert b"retry-after" in refused.lower()
    assert b"200 OK" in ask(server.connect(), b"/health")
    for _ in range(2):
        server.connect()
    server.release.set()
    assert all(b"200 OK" in receive(connection) for connection in busy)


def test_what_is_no_http_is_refused_in_json(server: Server) -> None:
    connection = server.connect()
    connection.sendall(b"\x00\x01 nonsense\r\n\r\n")
    answer = receive(connection)
    assert b"400 Bad Request" in answer
    assert b'"code": "invalid_request"' in answer
