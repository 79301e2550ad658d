"""The HTTP protocol of the server: endless heads, idle connections, and more connections than allowed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from drover.attach.router import refuse_socket
from drover.net.asgi import Receive, Response, Scope, Send, read_body, send_answer
from drover.net.listening import bound
from drover.net.loopback_http import parse_head
from drover.server import connections, http_protocol, serve
from tests.machine import wait_until

WAIT_S = 10.0
LONG = b"x" * 20_000_000
"""More than the buffers of two sockets hold."""
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Server:
    """A server whose answers to `/slow` wait until they are released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.has_handshake = threading.Event()
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
        content = b"here"
        if scope["type"] == "websocket":
            self.has_handshake.set()
            await asyncio.to_thread(self.release.wait, WAIT_S)
            await refuse_socket(send, Response(503, b"stopping"))
            return
        if not scope["path"].endswith("/early"):
            content = b"%d" % len(await read_body(receive, 1 << 20))
        if scope["path"].endswith("/long"):
            content = LONG
        if scope["path"] == "/slow":
            await asyncio.to_thread(self.release.wait, WAIT_S)
        await send_answer(send, Response(200, content))

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
        self.server.end()
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


@pytest.mark.parametrize("extra", [b"", b"Expect: nothing\r\n"], ids=["plain", "read by h11"])
def test_a_response_has_the_date_of_its_request_after_an_idle_time(
    server: Server, monkeypatch: pytest.MonkeyPatch, extra: bytes
) -> None:
    connection = server.connect()
    seen = ((1_700_000_000.5, b"22:13:20"), (1_700_000_000.9, b"22:13:20"), (1_700_000_061.0, b"22:14:21"))
    for now, date in seen:
        monkeypatch.setattr(http_protocol.time, "time", lambda now=now: now)  # type: ignore[attr-defined]
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % extra)
        assert b"date: tue, 14 nov 2023 %s gmt" % date in receive(connection).lower()


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


@pytest.mark.parametrize("path", [b"/early", b"/wd/hub/session/a/early"], ids=["h11", "plain"])
def test_a_connection_is_idle_when_the_rest_of_a_body_has_come_that_nothing_has_read(
    server: Server, path: bytes
) -> None:
    idle = [server.connect() for _ in range(4)]
    for connection in idle:
        connection.sendall(b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n" % path)
        assert b"200 OK" in receive(connection)
        connection.sendall(b"x")
    assert b"200 OK" in ask(server.connect(), b"/anything")


def test_what_is_no_http_is_refused_in_json(server: Server) -> None:
    connection = server.connect()
    connection.sendall(b"\x00\x01 nonsense\r\n\r\n")
    answer = receive(connection)
    assert b"400 Bad Request" in answer
    assert b'"code": "invalid_request"' in answer


def test_a_head_that_is_mostly_white_space_is_refused_at_once(server: Server) -> None:
    connection = server.connect()
    connection.sendall((GET % b"/")[:-2] + b"X:" + b" " * 60_000 + b"\x0b\r\n\r\n")
    assert b"400 Bad Request" in receive(connection)


COMMAND = b"%b /wd/hub/session/a/url HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
LEFT_TO_H11 = b"X: \xe9\r\n"
"""A header with a character beyond ASCII."""


def without_date(answer: bytes) -> bytes:
    return re.sub(rb"date: [^\r]*\r\n", b"", answer)


@pytest.mark.parametrize(
    ("method", "fields", "body"),
    [
        (b"GET", b"", b""),
        (b"DELETE", b"Connection: keep-alive\r\n", b""),
        (b"POST", b"Content-Length: 2\r\n", b"{}"),
        (b"POST", b"Content-Length: 200000\r\n", b"x" * 200_000),
    ],
)
def test_a_plain_request_gets_the_answer_that_h11_would_send(
    server: Server, method: bytes, fields: bytes, body: bytes
) -> None:
    connection = server.connect()
    answers = []
    for more in (b"", LEFT_TO_H11, b""):
        connection.sendall(COMMAND % (method, fields + more) + body)
        answers.append(without_date(receive(connection)))
    assert answers[0].endswith(b"\r\n\r\n%d" % len(body))
    assert len(set(answers)) == 1


def test_the_body_of_a_plain_request_may_come_in_parts(server: Server) -> None:
    connection = server.connect()
    for part in (COMMAND % (b"POST", b"Content-Length: 5\r\n"), b"a", b"bcd", b"e"):
        connection.sendall(part)
        time.sleep(0.02)
    assert receive(connection).endswith(b"\r\n\r\n5")


def test_requests_that_come_together_are_answered_in_their_order(server: Server) -> None:
    connection = server.connect()
    sent = [
        COMMAND % (b"POST", b"%bContent-Length: %d\r\n" % (odd, size)) + b"x" * size
        for size in range(8)
        for odd in (b"", LEFT_TO_H11)
    ]
    connection.sendall(b"".join(sent))
    content = b""
    while content.count(b"HTTP/1.1 200 OK") < len(sent) or not content.endswith(b"\r\n\r\n7"):
        received = connection.recv(65536)
        assert received
        content += received
    assert [int(size) for size in re.findall(rb"\r\n\r\n(\d)", content)] == [n // 2 for n in range(16)]


def test_the_rest_of_a_body_that_nothing_has_read_is_no_request(server: Server) -> None:
    connection = server.connect()
    smuggled = COMMAND % (b"GET", b"")
    connection.sendall(
        COMMAND.replace(b"url", b"early") % (b"POST", b"Content-Length: %d\r\n" % len(smuggled))
    )
    assert receive(connection).endswith(b"\r\n\r\nhere")
    connection.sendall(smuggled + COMMAND % (b"POST", b"Content-Length: 3\r\n") + b"abc")
    assert receive(connection).endswith(b"\r\n\r\n3")


def test_a_long_answer_waits_for_a_client_that_reads_slowly(server: Server) -> None:
    connection = server.connect()
    connection.sendall(COMMAND.replace(b"url", b"long") % (b"GET", b""))
    wait_until(lambda: bool(server.server.server_state.tasks), "the answer is on its way")
    time.sleep(0.1)
    assert server.server.server_state.tasks
    with connection.makefile("rb") as answer:
        while answer.readline() != b"\r\n":
            pass
        assert answer.read(len(LONG)) == LONG
    assert b"200 OK" in ask(connection)


def test_a_client_that_leaves_in_the_middle_of_a_long_answer_leaves_nothing(server: Server) -> None:
    connection = server.connect()
    connection.sendall(COMMAND.replace(b"url", b"long") % (b"GET", b""))
    assert connection.recv(1)
    connection.close()
    wait_until(lambda: not server.server.server_state.tasks, "the answer is given up")
    assert b"200 OK" in ask(server.connect())


HANDSHAKE = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    "handshake",
    [
        HANDSHAKE[:-2] + b"Content-Length: 1\r\n\r\nx",
        HANDSHAKE[:-2] + b"X: a\x01b\r\n\r\n",
        HANDSHAKE[:-2] + b"X: y\r\n" * 200 + b"\r\n",
        HANDSHAKE[:-2] + b"X: %b\r\n\r\n" % (b"y" * 20_000),
        HANDSHAKE.replace(b"/socket", b"/" + b"y" * 20_000),
        HANDSHAKE.replace(b"GET", b"POST"),
        HANDSHAKE.replace(b"Version: 13", b"Version: 12"),
        HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key"),
    ],
    ids=["body", "control", "headers", "long header", "long path", "method", "version", "key"],
)
def test_a_malformed_handshake_is_refused_in_json(server: Server, handshake: bytes) -> None:
    client = server.connect()
    client.sendall(handshake)
    answer = receive(client)
    assert b"400 Bad Request" in answer
    assert b'"code": "invalid_request"' in answer
    assert b"X-Request-ID" in answer
    wait_until(lambda: server.open_connections() == 0, "the connection is closed")


@pytest.mark.parametrize("frame", [b"\xff" * 8, b"\x81\x82\0\0\0\0\xff\xfe"], ids=["malformed", "no UTF-8"])
def test_a_frame_before_the_answer_to_a_handshake_ends_the_connection(
    server: Server, caplog: pytest.LogCaptureFixture, frame: bytes
) -> None:
    client = server.connect()
    client.sendall(HANDSHAKE)
    assert server.has_handshake.wait(WAIT_S)
    client.sendall(frame)
    wait_until(lambda: server.open_connections() == 0, "the connection is closed")
    assert caplog.records == []


def test_a_handshake_in_progress_is_answered_by_the_application_at_a_stop(server: Server) -> None:
    client = server.connect()
    client.sendall(HANDSHAKE)
    assert server.has_handshake.wait(WAIT_S)
    server.server.end()
    wait_until(lambda: not server.server.servers[0].is_serving(), "the server stops")
    server.release.set()
    assert parse_head(client.recv(4096)).status == 503
