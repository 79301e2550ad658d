"""Requests to a Grid's node, against a server that answers as Selenium Grid 4.48 does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from drover.net.grid_node import GridNode, GridNodeFailed
from tests.machine import free_port

SECRET = "s3"
STATUS = {"value": {"ready": True, "node": {"maxSessions": 4, "slots": []}}}


class Node(BaseHTTPRequestHandler):
    """Knows one session, `known`, and one secret."""

    def do_GET(self) -> None:
        self._answer(200, STATUS if self.path == "/status" else {"value": {}})

    def do_DELETE(self) -> None:
        if self.headers.get("X-REGISTRATION-SECRET") != SECRET:
            self._answer(401, {"value": {"error": "unknown error"}})
        elif self.path == "/se/grid/node/session/known":
            self._answer(200, {"value": None})
        else:
            self._answer(
                404 if "broken" not in self.path else 500, {"value": {"error": "invalid session id"}}
            )

    def do_POST(self) -> None:
        allowed = self.headers.get("X-REGISTRATION-SECRET") == SECRET and self.path == "/se/grid/node/drain"
        self._answer(200 if allowed else 401, {"value": True})

    def log_message(self, *_: Any) -> None:  # noqa: ANN401
        return

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Node)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_slot_is_freed_also_if_the_node_has_no_such_session(url: str) -> None:
    node = GridNode(url, SECRET)
    node.free_slot("known")
    node.free_slot("unknown")


def test_a_drain_is_accepted(url: str) -> None:
    GridNode(url, SECRET).drain()


def test_a_wrong_secret_is_named(url: str) -> None:
    for request in (lambda node: node.free_slot("known"), GridNode.drain):
        with pytest.raises(GridNodeFailed, match="DROVER_GRID_SECRET"):
            request(GridNode(url, "wrong"))


def test_any_other_error_is_a_failure(url: str) -> None:
    with pytest.raises(GridNodeFailed, match="HTTP 500"):
        GridNode(url, SECRET).free_slot("broken")


def test_a_node_that_is_not_there_is_a_failure() -> None:
    node = GridNode(f"http://127.0.0.1:{free_port()}", SECRET)
    for request in (lambda: node.free_slot("a"), node.drain, node.status):
        with pytest.raises(GridNodeFailed):
            request()


def test_the_status_is_that_of_the_node(url: str) -> None:
    assert GridNode(url).status() == STATUS["value"]["node"]


def test_a_program_that_is_no_node_is_named(url: str) -> None:
    with pytest.raises(GridNodeFailed, match="not that of a node"):
        GridNode(f"{url}other").status()


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(GridNode("http://127.0.0.1:5555", SECRET))
