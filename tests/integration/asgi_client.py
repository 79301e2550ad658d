"""A client that calls the service's ASGI application as its server does, in the test's own process."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drover.attach.router import Router
from drover.attach.webdriver import WebDriver
from drover.net.asgi import Application, Message, Scope
from drover.net.request_log import RequestLog
from drover.server.service import Drover

TIMEOUT_S = 60.0
TICK_S = 0.02


@dataclass
class Call:
    """One request, which the client may abandon, and the response received so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    finished: bool = False
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    _sent: bytes | None = None
    _is_socket: bool = False

    def hang_up(self) -> None:
        """Disconnect without waiting for the response."""
        self._gone.set()

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """Return the response body."""
        return json.loads(self.body)

    async def receive(self) -> Message:
        """Return the whole body, then block until the client disconnects."""
        if self._is_socket:
            self._is_socket = False
            return {"type": "websocket.connect"}
        if self._sent is not None:
            body, self._sent = self._sent, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Record a part of the response."""
        kind = message["type"].removeprefix("websocket.")
        if kind == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif kind == "http.response.body":
            self.body += message.get("body", b"")
            self.finished = not message.get("more_body", False)


class Client:
    """A client of an application, with the headers that a local program sends."""

    def __init__(self, application: Application, headers: Mapping[str, str] | None = None) -> None:
        self._application = application
        self._headers = {"host": "localhost:5010", "content-type": "application/json"} | dict(headers or {})

    def begin(
        self, method: str, target: str, content: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Call, asyncio.Task[None]]:
        """Start a request; return it, and the task that ends when the application does.

        The method `WEBSOCKET` is the handshake of a WebSocket. Content in bytes is sent as it is.
        """
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        body = b"" if content is None else body
        is_socket = method == "WEBSOCKET"
        call = Call(_sent=body, _is_socket=is_socket)
        sent = self._headers | {"content-length": str(len(body))} | dict(headers or {})
        path, _, query = target.partition("?")
        scope: Scope = {
            "type": "websocket" if is_socket else "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "ws" if is_socket else "http",
            "http_version": "1.1",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 5010),
        }
        scope["subprotocols" if is_socket else "method"] = [] if is_socket else method
        return call, asyncio.ensure_future(_awaited(self._application, scope, call))

    async def send(
        self, method: str, target: str, content: object = None, headers: Mapping[str, str] | None = None
    ) -> Call:
        """Send a request and wait for its whole response."""
        call, task = self.begin(method, target, content, headers)
        await asyncio.wait_for(task, TIMEOUT_S)
        return call


Scenario = Callable[[Client], Awaitable[None]]


def run(service: Drover, scenario: Scenario) -> None:
    """Run a scenario with a client of the service, in its own event loop."""
    application = service.endpoints.asgi()
    assert isinstance(application, RequestLog)
    # Behind the gate that holds requests back during the start.
    router = inspect.getclosurevars(application._application).nonlocals["application"]
    assert isinstance(router, Router)
    webdriver: WebDriver = router._routes[0].handler.__self__  # type: ignore[attr-defined]

    async def run_with_client() -> None:
        await scenario(Client(application))
        # The connections outlive their commands, but not this event loop.
        for queue in webdriver.queues.values():
            queue.close()
        await asyncio.sleep(0)

    asyncio.run(run_with_client())


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition is true."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(TICK_S)
    message = f"not in time: {what}"
    raise AssertionError(message)


async def _awaited(application: Application, scope: Scope, call: Call) -> None:
    await application(scope, call.receive, call.send)
