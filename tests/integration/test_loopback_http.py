"""Requests to ChromeDriver and Chrome end in time, and read no more than they may, whatever answers."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from drover.browser.health import ProbeResult, probe
from drover.net.loopback_http import Answer, ConnectionLost, HttpConnection, get
from drover.server import serve

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
PAUSE_S = 0.05


@contextmanager
def served(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answer one connection in a thread; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                try:
                    answer(connection)
                except OSError:
                    return  # the client has left

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/base"
        finally:
            thread.join(10)


def test_an_answer_is_read_whole_in_whatever_parts_it_comes() -> None:
    def in_parts(connection: socket.socket) -> None:
        for byte in HEAD % 4 + b"null":
            connection.sendall(bytes([byte]))

    with served(in_parts) as address:
        assert probe(address, "/status", 10.0).reply is ProbeResult.ANSWERED


@pytest.mark.parametrize("start", [b"", HEAD % 1000])
def test_a_byte_now_and_then_does_not_hold_a_probe_beyond_its_time(start: bytes) -> None:
    ended = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(start)
        while not ended.wait(PAUSE_S):
            connection.sendall(b"x")

    with served(trickle) as address:
        found = probe(address, "/status", 10 * PAUSE_S)
        ended.set()
    assert found.reply is ProbeResult.SILENT


def test_of_a_long_answer_no_more_is_read_than_was_asked_for() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(HEAD % (1 << 40))
        while True:
            connection.sendall(bytes(65536))

    with served(endless) as address:
        answer = get(address, "/json/list", 10.0, 100_000)
    assert (len(answer.body), answer.complete) == (100_000, False)
    with served(endless) as address:
        assert probe(address, "/json/version", 10.0).reply is ProbeResult.REFUSED


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 200 OK\r\n", HEAD % 100 + b"half"])
def test_an_answer_that_breaks_off_is_cut_off(content: bytes) -> None:
    with served(lambda connection: connection.sendall(content)) as address:
        assert probe(address, "/status", 10.0).reply is ProbeResult.CUT_OFF


def test_what_is_no_http_at_all_is_refused() -> None:
    with served(lambda connection: connection.sendall(b"\x00\xff no http\r\n\r\n")) as address:
        assert probe(address, "/status", 10.0).reply is ProbeResult.REFUSED


def test_a_head_without_an_end_is_refused() -> None:
    def endless(connection: socket.socket) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            connection.sendall(b"x: y\r\n" * 1000)

    with served(endless) as address:
        assert probe(address, "/status", 10.0).reply is ProbeResult.REFUSED


LONG_BODY = b"x" * 20_000_000
"""More than the buffers of two sockets hold."""


def exchange(address: str, loop: asyncio.AbstractEventLoop) -> Answer:
    """Send a long command over a persistent connection, and return the response."""

    async def send() -> Answer:
        connection = HttpConnection(address)
        try:
            return await asyncio.wait_for(connection.exchange("POST", "/file", LONG_BODY), 10.0)
        finally:
            connection.close()

    try:
        return loop.run_until_complete(send())
    finally:
        loop.close()


@pytest.fixture(params=[asyncio.SelectorEventLoop, serve._new_event_loop], ids=["asyncio", "server"])
def loop(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoop:
    made: asyncio.AbstractEventLoop = request.param()
    return made


def test_a_connection_that_breaks_while_a_long_command_is_sent_is_lost(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    with served(lambda connection: None) as address, pytest.raises(ConnectionLost):
        exchange(address, loop)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_response_that_comes_before_the_whole_command_is_sent_is_returned(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ended = threading.Event()

    def early(connection: socket.socket) -> None:
        connection.sendall(HEAD % 2 + b"{}")
        ended.wait(10)

    with served(early) as address:
        answer = exchange(address, loop)
        ended.set()
    assert answer.body == b"{}"
