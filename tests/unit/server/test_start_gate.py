"""What is answered while the service starts."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from drover.net.asgi import Message, Receive, Response, Scope, Send, send_answer
from drover.server import start_gate
from drover.server.start_gate import StartGate


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    await send_answer(send, Response(200, b"{}"))


def ask(gate: StartGate, path: str, method: str = "GET") -> tuple[int, Any]:
    """Return the status and the JSON of the response to a request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "path": path, "method": method, "headers": []}

    async def answered() -> None:
        await gate.around(greet)(scope, receive, send)

    asyncio.run(answered())
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_health_and_readiness_are_answered_during_the_start() -> None:
    gate = StartGate()
    gate.close()
    assert [ask(gate, path)[0] for path in ("/health", "/ready/")] == [200, 200]


def test_other_requests_wait_for_the_end_of_the_start() -> None:
    gate = StartGate()
    gate.close()
    opening = threading.Timer(0.05, gate.open)
    opening.start()
    assert ask(gate, "/sessions")[0] == 200
    assert gate.is_open
    opening.join()


def test_a_start_that_takes_longer_than_a_request_may_wait_is_an_error_in_the_form_of_the_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start_gate, "REQUEST_S", 0.01)
    gate = StartGate()
    gate.close()
    status, answer = ask(gate, "/sessions")
    assert (status, answer["code"]) == (503, "browser_unavailable")
    status, answer = ask(gate, "/wd/hub/session/one/url")
    assert status == 500
    assert "still starting" in answer["value"]["message"]
    assert ask(gate, "/wd/hub/session", "POST")[1]["value"]["error"] == "session not created"
