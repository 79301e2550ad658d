"""Routing and access control of ASGI endpoints, and the responses to errors."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence

import pytest

from drover.attach.router import Route, Router
from drover.core.errors import SessionNotFound
from drover.net import access
from drover.net.asgi import Header, Message, Receive, Response, Scope, Send, read_body, send_answer

DOOR = access.access_policy("127.0.0.1", 5010, (), "secret")
PASS = [(b"host", b"localhost:5010"), (b"authorization", b"Bearer secret")]


class Otherwise:
    """An ASGI application that records the connections passed to it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        await send_answer(send, Response(204))


async def greet(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    await send_answer(send, Response(200, name.encode()))


async def deny(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    raise SessionNotFound(f"There is no {name}")


async def break_down(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    message = "a defect"
    raise RuntimeError(message)


async def break_half_way(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    message = "a defect"
    raise RuntimeError(message)


async def read(scope: Scope, receive: Receive, send: Send, name: str) -> None:
    await send_answer(send, Response(200, await read_body(receive, 1000)))


def call(
    path: str,
    *,
    kind: str = "http",
    method: str = "GET",
    headers: Sequence[Header] = PASS,
    query: bytes = b"",
    raw: bytes | None = None,
) -> tuple[list[Message], list[str]]:
    sent: list[Message] = []
    handlers = {"greet": greet, "deny": deny, "break": break_down, "half": break_half_way, "read": read}
    routes = [
        Route(kind, re.compile(f"/{word}/(?P<name>[a-z]+)"), handler) for word, handler in handlers.items()
    ]
    routes.append(Route(kind, re.compile("/bidi/(?P<name>[a-z]+)"), greet))
    otherwise = Otherwise()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope = {
        "type": kind,
        "path": path,
        "raw_path": raw,
        "method": method,
        "query_string": query,
        "headers": headers,
    }
    asyncio.run(Router(routes, DOOR, otherwise)(scope, receive, send))
    return sent, otherwise.paths


def status_of(sent: list[Message]) -> int:
    return int(sent[0]["status"])


def test_a_matching_route_gets_the_named_groups_of_its_path() -> None:
    sent, handed_on = call("/greet/anna")
    assert (status_of(sent), sent[1]["body"], handed_on) == (200, b"anna", [])


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_what_the_server_cancels_at_its_stop_is_answered_without_a_trace(kind: str) -> None:
    sent: list[Message] = []

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def whole() -> None:
        router = Router([Route(kind, re.compile("/wait"), wait)], DOOR, Otherwise())
        scope = {"type": kind, "path": "/wait", "method": "GET", "query_string": b"", "headers": PASS}
        task = asyncio.create_task(router(scope, receive, send))
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(whole())
    assert status_of(sent) == 503
    assert json.loads(sent[1]["body"])["code"] == "shutting_down"


def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert call("/read/anna") == ([], [])
    assert caplog.records == []


def test_everything_else_is_passed_on() -> None:
    assert call("/sessions")[1] == ["/sessions"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"host", b"localhost:5010")], 401),
        ([(b"host", b"evil.example"), (b"authorization", b"Bearer secret")], 403),
        ([*PASS, (b"origin", b"http://evil.example")], 403),
        ([*PASS, (b"sec-fetch-site", b"cross-site")], 403),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("path", ["/greet/anna", "/nowhere"])
def test_access_is_refused_at_every_endpoint_and_beside_them(
    path: str, kind: str, headers: Sequence[Header], status: int
) -> None:
    sent, handed_on = call(path, kind=kind, headers=headers)
    assert handed_on == []
    assert status_of(sent) == status
    assert json.loads(sent[1]["body"])["success"] is False


def test_a_socket_may_send_its_token_in_the_url_and_a_request_may_not() -> None:
    headers = [(b"host", b"localhost:5010")]
    assert status_of(call("/greet/anna", kind="websocket", headers=headers, query=b"token=secret")[0]) == 200
    assert status_of(call("/greet/anna", headers=headers, query=b"token=secret")[0]) == 401


def test_an_endpoint_without_token_still_checks_host_and_origin() -> None:
    host = (b"host", b"localhost:5010")
    assert status_of(call("/bidi/anna", headers=[host])[0]) == 200
    assert status_of(call("/bidi/anna", headers=[host, (b"origin", b"http://evil.example")])[0]) == 403


def test_an_escaped_slash_is_no_slash() -> None:
    sent, handed_on = call("/greet/anna", raw=b"/greet%2fanna")
    assert (status_of(sent), handed_on) == (204, ["/greet%2Fanna"])
    assert status_of(call("/greet/anna", raw=b"/%67reet/%61nna")[0]) == 200


@pytest.mark.parametrize(
    ("raw", "status"), [(b"/greet//anna", 404), (b"/greet/%2e%2e/anna", 404), (b"/greet/%zz", 400)]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_path_with_two_meanings_is_refused_after_the_access_check(
    kind: str, raw: bytes, status: int
) -> None:
    sent, handed_on = call("/greet/anna", kind=kind, raw=raw)
    assert (status_of(sent), handed_on) == (status, [])
    assert (
        status_of(call("/greet/anna", kind=kind, raw=raw, headers=[(b"host", b"localhost:5010")])[0]) == 401
    )


def test_a_method_that_the_route_does_not_allow_is_refused() -> None:
    assert status_of(call("/greet/anna", method="PUT")[0]) == 405


def test_a_drover_error_is_answered_as_such() -> None:
    sent, _ = call("/deny/anna")
    assert (status_of(sent), json.loads(sent[1]["body"])["code"]) == (404, "session_not_found")


def test_a_defect_is_answered_without_its_stack_trace(caplog: pytest.LogCaptureFixture) -> None:
    sent, _ = call("/break/anna")
    assert (status_of(sent), json.loads(sent[1]["body"])["code"]) == (500, "internal_error")
    assert b"defect" not in sent[1]["body"]
    assert "RuntimeError" in caplog.text


def test_no_second_response_follows_one_that_has_begun(caplog: pytest.LogCaptureFixture) -> None:
    sent, _ = call("/half/anna")
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert "RuntimeError" in caplog.text


def test_a_socket_without_an_endpoint_is_refused() -> None:
    assert status_of(call("/nowhere", kind="websocket")[0]) == 404


def test_a_client_that_left_before_the_answer_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(_: Message) -> None:
        raise ConnectionResetError

    route = Route("websocket", re.compile("/greet/(?P<name>[a-z]+)"), greet)
    scope = {"type": "websocket", "path": "/greet/anna", "headers": PASS, "query_string": b""}
    asyncio.run(Router([route], DOOR, Otherwise())(scope, receive, send))
    assert caplog.records == []
