"""The id of a request in its response and in the log, and the log line of every request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from drover.core.errors import AtCapacity, SessionNotFound
from drover.core.events import RequestAnswered
from drover.core.log_context import current_request
from drover.net.asgi import Message, Receive, Scope, Send, failure_answer, send_answer
from drover.net.request_log import RequestLog

SECRET = "a1b2c3d4e5f6a7b8"


def call(
    *sent_ids: str, path: str = "/sessions", kind: str = "http", status: int | None = 200
) -> tuple[str, Sequence[Message]]:
    """Send one request; return the id that the application saw, and what was sent."""
    seen: list[str] = []
    messages: list[Message] = []

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        request = current_request()
        assert request is not None
        seen.append(request.request_id)
        if kind == "websocket":
            await send({"type": "websocket.accept"})
        elif status is not None:
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def record(message: Message) -> None:
        messages.append(message)

    headers = [(b"x-request-id", sent.encode()) for sent in sent_ids]
    scope = {"type": kind, "method": "GET", "path": path, "headers": headers, "client": ("10.0.0.7", 1234)}
    asyncio.run(RequestLog(application)(scope, receive, record))
    assert current_request() is None
    return seen[0], messages


@pytest.mark.parametrize("sent", ["abc-1", "A.b_c:d/e+f=g@h", "x" * 128])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_clients_own_id_is_kept_and_returned(sent: str, kind: str) -> None:
    seen, messages = call(sent, kind=kind)
    assert seen == sent
    assert messages[0]["headers"] == [(b"x-request-id", sent.encode())]


@pytest.mark.parametrize("sent", ["", "-x", "a b", "a)", "a\nINFO: forged", "é", "x" * 129, "a;b"])
def test_an_id_that_could_be_taken_for_something_else_is_replaced(sent: str) -> None:
    seen, messages = call(sent)
    assert seen != sent
    assert len(seen) == 16
    assert messages[0]["headers"] == [(b"x-request-id", seen.encode())]


def test_without_an_id_every_request_gets_its_own() -> None:
    assert call()[0] != call()[0]


@pytest.mark.parametrize(
    ("path", "kind", "status", "line"),
    [
        ("/sessions", "http", 200, "GET /sessions 200 in "),
        ("/nothing", "http", 404, "GET /nothing 404 in "),
        ("/left", "http", None, "GET /left 499 in "),
        ("/sessions/a/cdp", "websocket", None, "GET /sessions/a/cdp 101 in "),
        (f"/bidi/{SECRET}", "websocket", None, "GET /bidi/… 101 in "),
        (f"/cdp/{SECRET}", "websocket", None, "GET /cdp/… 101 in "),
        ("/" + "x" * 999, "http", 200, "GET /" + "x" * 255 + "… 200 in "),
    ],
)
def test_every_request_is_one_line_at_level_debug(
    caplog: pytest.LogCaptureFixture, path: str, kind: str, status: int | None, line: str
) -> None:
    caplog.set_level(logging.DEBUG, "drover")
    call(path=path, kind=kind, status=status)
    (record,) = caplog.records
    assert record.getMessage().startswith(line)
    assert isinstance(record.__dict__["event"], RequestAnswered)
    assert SECRET not in record.getMessage()


def test_no_request_is_logged_at_level_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "drover")
    call()
    assert caplog.records == []


def test_the_text_of_a_5xx_names_the_request_and_that_of_a_4xx_does_not() -> None:
    bodies: list[bytes] = []

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        for error in (AtCapacity("All places are taken"), SessionNotFound("There is no a")):
            await send_answer(send, failure_answer(error))

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def record(message: Message) -> None:
        bodies.append(message.get("body", b""))

    headers = [(b"x-request-id", b"abc-1")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": None}
    asyncio.run(RequestLog(application)(scope, receive, record))
    assert b'"error": "All places are taken (request abc-1)"' in bodies[1]
    assert b'"error": "There is no a"' in bodies[3]
