"""How a node answers for a session that is its own by the database."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from drover.cluster import clock, router
from drover.cluster.fence import Fence
from drover.cluster.router import ClusterRouter
from drover.net.access import AccessPolicy
from drover.net.asgi import Message, Receive, Response, Scope, Send, send_answer
from drover.storage.cluster_values import Located, NodeState

ME = UUID(int=1)
FOUND = Located("one", "k", 3, ME, NodeState.UP, "http://me", "me", 1)


async def not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send_answer(send, Response(404, b"{}"))


def status_of(*, is_known: bool) -> int:
    """Return the status of the answer to a request for a session that is not in this node's list."""
    fence = Fence()
    fence.extend(clock.now())

    async def find(_: object) -> Located:
        return FOUND

    places = SimpleNamespace(is_here=lambda _: False, find=find, forget=lambda _: None)
    parts: Any = SimpleNamespace(
        local=not_found,
        policy=AccessPolicy(frozenset({"localhost"}), 5010, None),
        registry=SimpleNamespace(),
        membership=SimpleNamespace(incarnation=ME, nodes=(), fence=fence, call_after_beats=lambda _: None),
        locations=places,
        failover=SimpleNamespace(has_or_ends=lambda _: is_known),
        threads=ThreadPoolExecutor(1),
    )
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/sessions/one",
        "raw_path": b"/sessions/one",
        "query_string": b"",
        "headers": [(b"host", b"localhost:5010")],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }
    asyncio.run(ClusterRouter(parts)(scope, receive, send))
    return int(sent[0]["status"])


def test_a_session_that_ends_here_is_answered_here() -> None:
    assert status_of(is_known=True) == 404


def test_a_session_whose_claim_got_no_answer_is_not_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "PAUSE_S", 0.0)
    assert status_of(is_known=False) == 503
