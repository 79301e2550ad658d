"""A client of the REST routes in the test's own process, and the service behind them."""

from __future__ import annotations

import asyncio
import json as json_module
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drover.attach.router import Router
from drover.net import access
from drover.net.asgi import Application, Receive, Scope, Send
from drover.server.service import Drover
from tests.integration.asgi_client import Call, Client


@dataclass(frozen=True)
class Answer:
    """A complete response."""

    status_code: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.data.decode()

    @property
    def mimetype(self) -> str:
        """The media type without its parameters."""
        return self.headers["Content-Type"].partition(";")[0]

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """Return the body as JSON."""
        return json_module.loads(self.data)


class Served:
    """The REST application of a service; `services` may be replaced."""

    def __init__(self, drover: Drover) -> None:
        self._endpoints = drover.endpoints
        settings = drover.settings
        self._policy = access.access_policy(settings.host, settings.port, settings.own_hosts, settings.token)
        self.services = drover.endpoints.services()

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the services of this moment."""
        await Router([], self._policy, self._endpoints.rest(self.services))(scope, receive, send)


class RestClient:
    """A client on this machine."""

    def __init__(self, application: Application) -> None:
        self._client = Client(application)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a GET."""
        return self.open(path, headers=headers)

    def post(
        self,
        path: str,
        *,
        data: bytes | str | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        leaves: bool = False,
    ) -> Answer:
        """Send a POST; the client may leave before it is answered."""
        body = data.encode() if isinstance(data, str) else data
        return self.open(path, "POST", json if body is None else body, headers, leaves=leaves)

    def delete(self, path: str) -> Answer:
        """Send a DELETE."""
        return self.open(path, "DELETE")

    def open(
        self,
        path: str,
        method: str = "GET",
        content: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        leaves: bool = False,
    ) -> Answer:
        """Send a request and return its response; its status is 0 if there is none."""
        lower = {name.lower(): value for name, value in (headers or {}).items()}

        async def exchange() -> Call:
            call, task = self._client.begin(method, path, content, lower)
            if leaves:
                call.hang_up()
            await task
            return call

        call = asyncio.run(exchange())
        named = {
            name.title().replace("Www", "WWW").replace("Etag", "ETag"): value
            for name, value in call.headers.items()
        }
        return Answer(call.status, named, call.body)
