"""Requests to ChromeDriver and Chrome end in time, and read no more than they may, whatever answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from drover.browser.health import ProbeResult, probe
from drover.net.loopback_http import get

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
