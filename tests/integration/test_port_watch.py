"""A server that loses its listening socket listens again, or ends so that a supervisor restarts it."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest

from drover.core import events
from drover.net.asgi import Receive, Scope, Send
from drover.net.listening import bound
from drover.server import port_watch, serve
from drover.server.port_watch import PortWatch, refuses
from tests.machine import connect_and_reset, wait_until
from tests.unit.examples import EventRecorder


async def answer(_: Scope, __: Receive, send: Send) -> None:
    """Answer every request with 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


class Served:
    """A server with its port watch, whose listening socket can be taken away."""

    def __init__(self) -> None:
        self.events = EventRecorder()
        self.gave_up = threading.Event()
        self.watch = PortWatch(self.events)
        listener = bound("127.0.0.1", 0)
        self.address = listener.getsockname()
        self.server = serve._server(answer, max_sessions=1)
        self._thread = threading.Thread(target=self.server.run_until_stopped, args=[[listener]])
        self._thread.start()
        wait_until(lambda: self.server.started, "the server has started")
        self.watch.start(
            [self.address], lambda index: self.server.listen_again(index, self.address), self.gave_up.set
        )

    def lose_the_listener(self) -> None:
        """Close the listening socket, as the proactor loop does."""
        assert self.server._loop is not None
        self.server._loop.call_soon_threadsafe(self.server.servers[0].close)
        wait_until(lambda: refuses(self.address), "the port refuses")

    def get(self) -> bytes:
        """Return the answer to a request."""
        host, port = self.address
        with urllib.request.urlopen(f"http://{host}:{port}/", timeout=10) as response:
            body: bytes = response.read()
            return body

    def close(self) -> None:
        """Stop the watch and the server."""
        self.watch.stop()
        self.server.end()
        self._thread.join(10)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(port_watch, "TICK_S", 0.05)
    with closing(Served()) as one:
        yield one


def test_a_lost_listener_is_replaced_and_requests_are_answered_again(served: Served) -> None:
    served.lose_the_listener()
    wait_until(
        lambda: any(isinstance(e, events.PortListensAgain) for e in served.events.events), "it listens"
    )
    assert served.get() == b"here"
    wait_until(lambda: served.watch.trouble is None, "the trouble is over")
    assert not served.gave_up.is_set()


def test_a_port_that_is_taken_by_another_program_is_given_up_and_named_as_the_reason(served: Served) -> None:
    def take_the_port() -> None:
        served.server.servers[0].close()
        taker.bind(served.address)

    with closing(socket.socket()) as taker:
        assert served.server._loop is not None
        served.server._loop.call_soon_threadsafe(take_the_port)
        assert served.gave_up.wait(20)
    assert served.watch.trouble == f"127.0.0.1:{served.address[1]} refuses connections"
    assert any(isinstance(event, events.PortLost) for event in served.events.events)


def test_a_client_that_resets_before_it_is_accepted_costs_nobody_else_the_port(served: Served) -> None:
    for _ in range(40):
        connect_and_reset(served.address)
    assert served.get() == b"here"
