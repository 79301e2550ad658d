"""Request bodies and disconnects: complete bodies, their limit, and disconnected clients."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from typing import Any

import pytest

from drover.api.session_requests import MAX_BODY_BYTES, MAX_BODY_WITH_EXTENSIONS_BYTES
from drover.net.asgi import Message, Receive, Scope, Send, header, with_target
from drover.web.disconnects import DisconnectWatch
from drover.web.services import CLIENT_GONE

GONE: Message = {"type": "http.disconnect"}
HTTP: Scope = {
    "type": "http",
    "method": "POST",
    "path": "/cleanup",
    "headers": [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")],
}


class Application:
    """An application that records its calls; it may wait until the client has disconnected."""

    def __init__(self, *, waits: bool = False, error: Exception | None = None) -> None:
        self.scopes: list[Scope] = []
        self.body = b""
        self._waits = waits
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if self._error is not None:
            raise self._error
        message = await receive()
        self.body = message["body"]
        assert not message["more_body"]
        if self._waits:
            await asyncio.wrap_future(self.gone)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    @property
    def gone(self) -> Future[None]:
        found: Future[None] = self.scopes[0][CLIENT_GONE]
        return found

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.scopes[0]["headers"])


class Client:
    """A client that sends the given messages, and then nothing more."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.answers: list[Message] = []

    async def receive(self) -> Message:
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        self.answers.append(message)

    def call(self, application: Application, scope: Scope = HTTP) -> None:
        async def run() -> None:
            await asyncio.wait_for(DisconnectWatch(application)(scope, self.receive, self.send), 10)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*left, return_exceptions=True)

        asyncio.run(run())


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_in_chunks_arrives_whole_and_with_a_length() -> None:
    application, client = Application(), Client(part(b'{"a"', more=True), part(b"", more=True), part(b":1}"))
    client.call(application)
    assert application.body == b'{"a":1}'
    assert application.headers == {b"host": b"localhost", b"content-length": b"7"}
    assert client.answers[0]["status"] == 200


def test_no_body_has_no_length() -> None:
    application = Application()
    Client(part(b"")).call(application)
    assert application.headers == {b"host": b"localhost"}


def test_a_length_that_was_sent_is_not_sent_twice() -> None:
    application = Application()
    Client(part(b"{}")).call(application, {**HTTP, "headers": [(b"content-length", b"2")]})
    assert application.scopes[0]["headers"] == [(b"content-length", b"2")]


def test_the_clients_scope_is_left_as_it_is() -> None:
    Client(part(b"{}")).call(Application())
    assert CLIENT_GONE not in HTTP
    assert len(HTTP["headers"]) == 2


def test_the_largest_body_is_taken() -> None:
    application = Application()
    Client(part(b" " * MAX_BODY_BYTES)).call(application)
    assert len(application.body) == MAX_BODY_BYTES


def test_a_body_that_is_too_large_is_refused_before_all_of_it_is_read() -> None:
    application, client = Application(), Client(*[part(b" " * 65536, more=True)] * 20)
    client.call(application)
    start, body = client.answers
    assert application.scopes == []
    assert start["status"] == 413
    assert dict(start["headers"])[b"connection"] == b"close"
    told: dict[str, Any] = json.loads(body["body"])
    assert (told["success"], told["code"]) == (False, "request_too_large")


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/sessions", MAX_BODY_WITH_EXTENSIONS_BYTES),
        ("/sessions/", MAX_BODY_WITH_EXTENSIONS_BYTES),
        ("/sessions/one/lease", MAX_BODY_BYTES),
    ],
)
def test_only_a_new_session_may_have_extensions(path: str, limit: int) -> None:
    for size, taken in ((limit, True), (limit + 1, False)):
        application = Application()
        Client(part(b'"extensions"'.ljust(size))).call(application, {**HTTP, "path": path})
        assert bool(application.scopes) is taken


def test_a_large_body_without_extensions_is_refused() -> None:
    headers = [(b"host", b"localhost:5010"), (b"authorization", b"Bearer secret")]
    application, client = Application(), Client(part(b" " * (MAX_BODY_BYTES + 1)))
    client.call(application, {**HTTP, "path": "/sessions", "headers": headers})
    assert (application.scopes, client.answers[0]["status"]) == ([], 413)


@pytest.mark.parametrize("sent", [[], [part(b'{"session_id"', more=True)]])
def test_a_request_whose_caller_leaves_before_its_end_is_not_handled(sent: list[Message]) -> None:
    application, client = Application(), Client(*sent, GONE)
    client.call(application)
    assert application.scopes == []
    assert client.answers == []


def test_a_disconnect_is_noticed_while_the_request_is_served() -> None:
    application = Application(waits=True)
    Client(part(b""), GONE).call(application)
    assert application.gone.done()


def test_a_connected_client_is_not_treated_as_disconnected() -> None:
    application = Application()
    Client(part(b"")).call(application)
    assert not application.gone.done()


def test_the_watch_ends_with_the_request_also_when_that_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        Client(part(b"")).call(Application(error=ZeroDivisionError()))


def test_the_host_of_an_absolute_target_replaces_the_header() -> None:
    headers = [(b"accept", b"*/*"), (b"host", b"first.example")]
    scope = {"raw_path": b"http://localhost:5010/%61", "path": "http://localhost:5010/a", "headers": headers}
    read, refusal = with_target(scope)
    assert (read["path"], read["raw_path"], header(read, b"host")) == ("/a", b"/a", "localhost:5010")
    assert (header(read, b"accept"), refusal) == ("*/*", None)


def test_the_decoded_path_is_read_if_the_server_does_not_tell_the_one_that_was_sent() -> None:
    assert with_target({"path": "/ä b", "headers": []})[0]["path"] == "/%C3%A4%20b"
