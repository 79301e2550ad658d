"""A server that answers as a node of Selenium Grid 4.48 does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

SECRET: Final = "s3"
SLOT: Final = {
    "id": {"hostId": "h", "id": "s"},
    "lastStarted": "1970-01-01T00:00:00Z",
    "session": None,
    "stereotype": {"browserName": "chrome", "platformName": "linux"},
}
NODE: Final = {
    "availability": "UP",
    "heartbeatPeriod": 5000,
    "maxSessions": 4,
    "sessionTimeout": 120000,
    "slots": [SLOT, SLOT],
}


class _Node(BaseHTTPRequestHandler):
    """Knows one session, `known`, and one secret."""

    def do_GET(self) -> None:
        self._answer(200, {"value": {"ready": True, "node": NODE}} if self.path == "/status" else {})

    def do_DELETE(self) -> None:
        if self.headers.get("X-REGISTRATION-SECRET") != SECRET:
            self._answer(401, {"value": {"error": "unknown error"}})
        elif self.path == "/se/grid/node/session/known":
            self._answer(200, {"value": None})
        else:
            self._answer(500 if "broken" in self.path else 404, {"value": {"error": "invalid session id"}})

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


@contextmanager
def fake_node() -> Iterator[str]:
    """Run a node and yield its address."""
    server = HTTPServer(("127.0.0.1", 0), _Node)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
