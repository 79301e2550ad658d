"""How a REST request is read, and on which threads it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import cast

import pytest
from starlette.requests import Request

from drover.api.answers import ApiModel
from drover.api.reports import ProcessList
from drover.api.session_requests import MAX_BODY_BYTES, MAX_BODY_WITH_EXTENSIONS_BYTES, LookQuery
from drover.api.validation import validated_query
from drover.core.deadline import ClientDisconnected
from drover.core.errors import InvalidRequest, RequestTooLarge
from drover.net.asgi import Message, Scope
from drover.net.request_threads import RequestThreads
from drover.web.calls import Call, Services, current_call
from drover.web.openapi import DRIVER_ROUTES, ROUTES
from drover.web.rest_application import pool_for, rest_application
from drover.web.rest_routes import RestRoutes

ENDS = {
    "delete /keys/{key}",
    "delete /sessions/{session_id}",
    "delete /sessions/{session_id}/lease",
    "post /cleanup_orphaned_processes",
    "post /drain",
    "post /emergency_recovery",
}
FROM_MEMORY = {
    "get /",
    "get /docs",
    "get /health",
    "get /metrics",
    "get /nodes",
    "get /openapi.json",
    "get /processes",
    "get /ready",
    "get /sessions",
    "get /sessions/{session_id}/history",
}
REST = [f"{route.method} {route.path}" for route in ROUTES if route not in DRIVER_ROUTES]


@pytest.mark.parametrize("route", REST)
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_route_waits_for_what_it_needs_and_for_nothing_else(route: str, slash: str) -> None:
    method, path = route.split()
    threads = RequestThreads.for_sessions(1)
    found = pool_for(threads, method.upper(), path.format(session_id="a", key="k") + slash)
    if route in ENDS:
        assert found is threads.ending
    elif route in FROM_MEMORY:
        assert found is threads.reading
    else:
        assert found is threads.waiting


GONE: Message = {"type": "http.disconnect"}


class Client:
    """A client that sends the given messages, and then nothing more; and the routes that it calls."""

    def __init__(self, *messages: Message, answer: Callable[[], ApiModel] | None = None) -> None:
        self._messages = list(messages)
        self._answer = answer
        self.answers: list[Message] = []
        self.calls: list[Call] = []

    async def _receive(self) -> Message:
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)

    async def _send(self, message: Message) -> None:
        self.answers.append(message)

    def _routes(self) -> RestRoutes:
        routes = RestRoutes("Test")

        def answer() -> ProcessList:
            """Record the call."""
            self.calls.append(current_call())
            if self._answer is not None:
                self._answer()
            return ProcessList(success=True, processes=[])

        for path in ("/sessions", "/sessions/{session_id}/lease", "/drain"):
            routes.add("post", path)(answer)
        return routes

    def send(self, path: str = "/drain") -> None:
        """Send the messages as one POST, and wait until the application has ended."""
        threads = RequestThreads.for_sessions(1)
        application = rest_application([self._routes()], cast("Services", None), threads)
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}

        async def run() -> None:
            await asyncio.wait_for(application(scope, self._receive, self._send), 10)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*left, return_exceptions=True)

        try:
            asyncio.run(run())
        finally:
            threads.close()


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_in_parts_arrives_whole() -> None:
    client = Client(part(b"{", more=True), part(b"", more=True), part(b" }"))
    client.send()
    assert [call.body for call in client.calls] == [b"{ }"]
    assert client.answers[0]["status"] == 200


@pytest.mark.parametrize("path", ["/drain", "/sessions"])
def test_the_largest_body_is_taken_and_a_larger_one_is_refused_before_all_of_it_is_read(path: str) -> None:
    client = Client(part(b" " * MAX_BODY_BYTES))
    client.send(path)
    assert len(client.calls[0].body) == MAX_BODY_BYTES
    for client in (Client(*[part(b" " * 65536, more=True)] * 800), Client(part(b" " * (MAX_BODY_BYTES + 1)))):
        with pytest.raises(RequestTooLarge):
            client.send(path)
        assert client.calls == []


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/sessions", MAX_BODY_WITH_EXTENSIONS_BYTES),
        ("/sessions/", MAX_BODY_WITH_EXTENSIONS_BYTES),
        ("/sessions/one/lease", MAX_BODY_BYTES),
    ],
)
def test_only_a_new_session_may_have_extensions(path: str, limit: int) -> None:
    start = b'{"extensions": "'
    # The route takes no field, so what is not too large is refused by its name.
    with pytest.raises(InvalidRequest):
        Client(part(start + b"x" * (limit - len(start) - 2) + b'"}')).send(path)
    with pytest.raises(RequestTooLarge):
        Client(part(start + b"x" * (limit - len(start) - 1) + b'"}')).send(path)


@pytest.mark.parametrize("sent", [[], [part(b'{"session_id"', more=True)]])
def test_a_request_whose_client_leaves_before_its_end_is_not_handled(sent: list[Message]) -> None:
    client = Client(*sent, GONE)
    with pytest.raises(ClientDisconnected):
        client.send()
    assert (client.calls, client.answers) == ([], [])


def test_a_disconnect_is_noticed_while_the_request_is_answered() -> None:
    def wait() -> ApiModel:
        client.calls[0].gone.result(10)
        return ProcessList(success=True, processes=[])

    client = Client(part(b""), GONE, answer=wait)
    client.send()
    assert client.calls[0].gone.done()


def test_a_connected_client_is_not_treated_as_disconnected() -> None:
    client = Client(part(b""))
    client.send()
    assert not client.calls[0].gone.done()


def test_the_watch_ends_with_the_request_also_when_that_fails() -> None:
    def fail() -> ApiModel:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Client(part(b""), answer=fail).send()


def test_a_route_that_returns_neither_a_model_nor_a_response_is_a_defect() -> None:
    routes = RestRoutes("Test")
    routes.add("get", "/x")(_returns_text)
    with pytest.raises(TypeError, match="returned a str"):
        routes.routes[0].answer(Call(cast("Services", None), Request(_SCOPE), b"", Future()))


def _returns_text() -> ProcessList:
    """Return no model."""
    return cast("ProcessList", "text")


_SCOPE: Scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""}


class Name(str):
    """The name of a parameter, which counts how often such names are compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


def test_the_parameters_of_a_long_query_are_not_compared_each_with_each() -> None:
    with pytest.raises(InvalidRequest):
        validated_query(LookQuery, [(Name(f"p{number}"), "") for number in range(1000)])
    assert Name.compared < 20_000
