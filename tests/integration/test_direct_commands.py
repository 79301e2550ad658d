"""Direct commands: what is relayed without the ASGI application is answered as the application would."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import psutil
import pytest

from drover.attach import w3c
from drover.attach.direct_commands import DirectCommands
from drover.browser import launcher
from drover.core.errors import DroverError, StorageUnavailable
from drover.net.asgi import Receive, Scope, Send, send_answer
from drover.net.listening import bound
from drover.net.loopback_http import parse_head
from drover.net.request_log import RequestLog
from drover.server import serve
from drover.sessions.pool.driver_access import DriverAccess
from tests.cases import first_or_all
from tests.integration.fake_chromedriver import Fault
from tests.integration.service_harness import ServiceHarness, running_harness
from tests.machine import kill, wait_until

WAIT_S: Final = 60.0
JOB: Final = b"/wd/hub/session/job"
TITLE: Final = b"GET " + JOB + b"/title HTTP/1.1\r\nHost: localhost\r\n\r\n"
OWN: Final = re.compile(rb"date: [^\r]*\r\n|x-request-id: [0-9a-f]{16}\r\n|\(request [0-9a-f]{16}\)")
"""What differs between two answers to one request."""


class Server:
    """The service behind its own HTTP server; counts the requests that reach the ASGI application."""

    def __init__(self, harness: ServiceHarness) -> None:
        self.for_application = 0
        self.is_direct = True
        self._refusal: DroverError | None = None
        application = harness.service.endpoints.asgi()

        async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send_answer(send, w3c.failure(cast("DroverError", self._refusal)))

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            self.for_application += 1
            answers = application if self._refusal is None else RequestLog(refuse)
            await answers(scope, receive, send)

        self._commands = harness.service.endpoints.direct_commands()
        listener = bound("127.0.0.1", 0)
        self.address = listener.getsockname()
        self._server = serve._server(counted, 1, cast("DirectCommands", self))
        self._thread = threading.Thread(target=self._server.run_until_stopped, args=[[listener]])
        self._thread.start()
        wait_until(lambda: self._server.started, "the server has started")

    def begin(self, *request: Any) -> bool:  # noqa: ANN401 - as `DirectCommands.begin`
        """Begin a direct command, if these are switched on."""
        return self.is_direct and self._commands.begin(*request)

    def refuse(self, error: DroverError) -> None:
        """Be a node that may not serve its sessions now."""
        self._refusal = error
        self._commands._withheld = lambda: error

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, WAIT_S)

    def ask(self, request: bytes) -> bytes:
        """Return the answer to a request on a connection of its own."""
        with self.connect() as connection:
            connection.sendall(request)
            return received(connection)

    def read_all(self) -> None:
        """Wait until the server has read what was sent so far: it has then answered a later request."""
        assert status_of(self.ask(b"GET /wd/hub/status HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 200

    def close(self) -> None:
        """Stop the server; uvloop waits for connections that are left open."""
        loop = self._server._loop
        assert loop is not None
        for queue in self._commands._queues.values():
            loop.call_soon_threadsafe(queue.close)
        self._server.end()
        self._thread.join(WAIT_S)


@pytest.fixture
def harness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceHarness]:
    monkeypatch.setattr(launcher, "GRACE_S", 0.5)
    with running_harness(folder, monkeypatch, health_timeout=0.3) as harness:
        harness.acquire("job")
        yield harness


@pytest.fixture
def server(harness: ServiceHarness) -> Iterator[Server]:
    started = Server(harness)
    try:
        # The first command of a session opens its connection to ChromeDriver.
        assert status_of(started.ask(TITLE)) == 200
        started.for_application = 0
        yield started
    finally:
        started.close()


def received(connection: socket.socket) -> bytes:
    """Return a whole answer."""
    content = b""
    while (end := content.find(b"\r\n\r\n") + 4) < 4 or len(content) < end + parse_head(content[:end]).length:
        part = connection.recv(65536)
        assert part, content
        content += part
    return content


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def value_of(answer: bytes) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(answer.partition(b"\r\n\r\n")[2])["value"]


def driver_pid(harness: ServiceHarness) -> int:
    running = harness.registry.get("job").running
    assert running is not None
    return running.driver.pid


def post(path: bytes, body: bytes = b"{}", *lines: bytes) -> bytes:
    head = (
        b"POST " + JOB + path + b" HTTP/1.1",
        b"Host: localhost",
        b"Content-Type: application/json",
        *lines,
    )
    return b"\r\n".join((*head, b"Content-Length: %d" % len(body), b"", body))


def occupy(harness: ServiceHarness, connection: socket.socket) -> None:
    """Send a command that lasts until the fault ends, and wait until ChromeDriver has it."""
    harness.set_fault(Fault.BUSY)
    connection.sendall(post(b"/url"))
    wait_until(lambda: "POST /url" in harness.commands(), "the command has reached ChromeDriver")


def test_a_usual_command_needs_no_application(server: Server) -> None:
    for request in (TITLE, post(b"/url"), post(b"/element/f.A.d.B.e.1/click")):
        assert status_of(server.ask(request)) == 200
    assert server.for_application == 0


def test_what_the_service_acts_upon_goes_to_the_application(server: Server) -> None:
    noted = (b"/window", b"/timeouts", b"/frame", b"/goog/cdp/execute", b"/se/file")
    for path in noted:
        server.ask(post(path))
    assert server.for_application == len(noted)


PATHS: Final = (
    b"/title",
    b"/title/",
    b"/element/f.A.d.B.e.1/text",
    b"/a//b",
    b"/a/../title",
    b"/a%2Fb",
    b"/%74itle",
    b"/se/files",
    b"",
)
HEADS: Final = (
    (b"Host: localhost",),
    (b"Host: localhost", b"X-Request-ID: mine-1"),
    (b"Host: localhost", b"X-Request-ID: not/sane \xe4"),
    (b"Host: localhost", b"Connection: keep-alive", b"Accept: application/json"),
    (b"Host: localhost", b"Connection: close"),
    (b"Host: evil.example",),
    (b"Host: localhost", b"Origin: http://evil.example"),
    (b"Host: localhost", b"Sec-Fetch-Site: cross-site"),
    (b"Host: localhost", b"Content-Type: text/plain"),
    (b"Host: localhost", b"Content-Type: application/json; charset=utf-8"),
)


@pytest.mark.parametrize("session", first_or_all([b"job", b"other", b"j%6Fb"]))
def test_both_ways_give_the_same_answer(server: Server, session: bytes) -> None:
    for method, path, head, body in itertools.product((b"GET", b"POST"), PATHS, HEADS, (b"", b"{}")):
        lines = (b"%b /wd/hub/session/%b%b HTTP/1.1" % (method, session, path), *head)
        request = b"\r\n".join((*lines, b"Content-Length: %d" % len(body), b"", body))
        answers = []
        for server.is_direct in (True, False):
            answers.append(OWN.sub(b"", server.ask(request)))
        assert answers[0] == answers[1], request


def test_requests_on_one_connection_are_answered_in_their_order(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(TITLE + post(b"/url") + TITLE.replace(b"/title", b"/window/handles"))
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < 3 or not answers.endswith(b"}"):
            answers += connection.recv(65536)
    assert server.for_application == 0


def test_a_command_whose_chromedriver_dies_is_answered_by_the_application(
    harness: ServiceHarness, server: Server
) -> None:
    with server.connect() as connection:
        occupy(harness, connection)
        kill([psutil.Process(driver_pid(harness))])
        harness.set_fault(Fault.NONE)
        answer = received(connection)
    assert status_of(answer) == 500
    assert "reattached" in value_of(answer)["message"]
    assert harness.commands().count("POST /url") == 1
    assert server.for_application == 1
    assert status_of(server.ask(TITLE)) == 200


def test_a_command_that_only_reads_is_repeated_at_the_next_chromedriver(
    harness: ServiceHarness, server: Server
) -> None:
    before = harness.commands().count("GET /title")
    harness.set_fault(Fault.BUSY)
    with server.connect() as connection:
        connection.sendall(TITLE)
        wait_until(lambda: harness.commands().count("GET /title") > before, "it has reached ChromeDriver")
        kill([psutil.Process(driver_pid(harness))])
        harness.set_fault(Fault.NONE)
        answer = received(connection)
    assert (status_of(answer), value_of(answer)) == (200, "")
    assert harness.commands().count("GET /title") == before + 2


def test_a_hung_chromedriver_is_found_while_a_command_waits(harness: ServiceHarness, server: Server) -> None:
    pid = driver_pid(harness)
    harness.set_fault(Fault.HUNG)
    with server.connect() as connection:
        connection.sendall(post(b"/url"))
        wait_until(lambda: server.for_application or driver_pid(harness) != pid, "it is found")
        harness.set_fault(Fault.NONE)
        answer = received(connection)
    assert status_of(answer) == 500
    assert "driver_hung" in value_of(answer)["message"]


def test_a_client_that_leaves_ends_neither_its_session_nor_the_commands_after(
    harness: ServiceHarness, server: Server
) -> None:
    with server.connect() as connection:
        occupy(harness, connection)
    harness.set_fault(Fault.NONE)
    assert status_of(server.ask(TITLE)) == 200
    wait_until(lambda: harness.registry.get("job").commands == 0, "no command is counted any more")
    assert harness.registry.get("job").recoveries == 0


def test_a_node_that_is_not_sure_of_its_sessions_neither_sends_a_command_nor_answers_one(
    harness: ServiceHarness, server: Server
) -> None:
    with server.connect() as first, server.connect() as second:
        occupy(harness, first)
        second.sendall(post(b"/refresh"))
        server.read_all()
        server.refuse(StorageUnavailable("another node may have it"))
        harness.set_fault(Fault.NONE)
        answers = [received(first), received(second), server.ask(TITLE)]
    assert [status_of(answer) for answer in answers] == [500] * 3
    for answer in answers:
        # As every error of the service it names its request, so that the log can be searched for it.
        [request_id] = re.findall(rb"x-request-id: ([0-9a-f]{16})\r\n", answer)
        message = value_of(answer)["message"]
        assert message == f"another node may have it (request {request_id.decode()})"
    assert server.for_application == 3 + 1
    assert "POST /refresh" not in harness.commands()


def test_a_command_whose_session_ends_while_it_runs_is_answered_by_the_application(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the application of a node of several can find out whether another node has the session by now.
    monkeypatch.setattr(DriverAccess, "has_ended", lambda *_: True)
    assert status_of(server.ask(TITLE)) == 200
    assert server.for_application == 1


def test_a_command_behind_another_one_waits_for_its_turn(harness: ServiceHarness, server: Server) -> None:
    with server.connect() as first, server.connect() as second:
        occupy(harness, first)
        second.sendall(post(b"/refresh"))
        server.read_all()
        assert "POST /refresh" not in harness.commands()
        harness.set_fault(Fault.NONE)
        assert status_of(received(first)) == 200
        assert status_of(received(second)) == 200
    assert harness.commands()[-2:] == ["POST /url", "POST /refresh"]


def test_a_command_whose_client_leaves_while_it_waits_is_never_sent(
    harness: ServiceHarness, server: Server
) -> None:
    with server.connect() as first, server.connect() as third:
        occupy(harness, first)
        with server.connect() as second:
            second.sendall(post(b"/forward"))
            third.sendall(post(b"/refresh"))
            server.read_all()
        server.read_all()
        harness.set_fault(Fault.NONE)
        assert status_of(received(first)) == 200
        assert status_of(received(third)) == 200
    assert "POST /forward" not in harness.commands()
    assert status_of(server.ask(TITLE)) == 200


def test_commands_that_wait_for_a_session_that_dies_are_answered_in_their_order(
    harness: ServiceHarness, server: Server
) -> None:
    harness.set_fault(Fault.BUSY)
    with contextlib.ExitStack() as connections:
        waiting = [connections.enter_context(server.connect()) for _ in range(4)]
        for number, connection in enumerate(waiting):
            connection.sendall(post(b"/element/%d/click" % number))
            if number == 0:
                wait_until(lambda: "POST /element/0/click" in harness.commands(), "ChromeDriver has it")
            server.read_all()
        kill([psutil.Process(driver_pid(harness))])
        harness.set_fault(Fault.NONE)
        answers = [received(connection) for connection in waiting]
    assert [status_of(answer) for answer in answers] == [500, 200, 200, 200]
    clicks = [command for command in harness.commands() if command.endswith("/click")]
    assert clicks == [f"POST /element/{number}/click" for number in range(4)]
