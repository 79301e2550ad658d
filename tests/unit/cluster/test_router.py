"""How a node answers for a session that is its own by the database."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from drover.attach.webdriver import BEGUN
from drover.cluster import clock, router
from drover.cluster.fence import Fence
from drover.cluster.router import ClusterRouter
from drover.core.deadline import Deadline
from drover.net.access import AccessPolicy
from drover.net.asgi import Message, Receive, Response, Scope, Send, send_answer
from drover.storage.cluster_values import Located, NodeState

ME = UUID(int=1)
FOUND = Located("one", "k", 3, ME, NodeState.UP, "http://me", "me", 1)


ELSEWHERE = Located("one", "k", 3, UUID(int=2), NodeState.UP, "http://other", "other", 1)


async def not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send_answer(send, Response(404, b"{}"))


async def forward(owner: UUID, url: str, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    """Answer as another node."""
    await send_answer(send, Response(200, url.encode()))


def status_of(
    path: str = "/sessions/one",
    found: Located | None = FOUND,
    method: str = "GET",
    query: str = "",
    *,
    failover: object = None,
    direct: object = None,
    was_here: bool = False,
    leaves: bool = False,
) -> int | None:
    """Return the status of the answer to a request for a session that is not in this node's list any more.

    None if there was none, as the client has left.
    """
    fence = Fence()
    fence.extend(clock.now())

    async def find(_: object) -> Located | None:
        return found

    here = [was_here]
    places = SimpleNamespace(
        is_here=lambda _: here.pop() if here else False, find=find, forget=lambda _: None
    )
    parts: Any = SimpleNamespace(
        local=not_found,
        policy=AccessPolicy(frozenset({"localhost"}), 5010, None),
        registry=SimpleNamespace(sessions=tuple, free=1, evictable=0),
        membership=SimpleNamespace(
            incarnation=ME, nodes=(), other_nodes=(), fence=fence, call_after_beats=lambda _: None
        ),
        locations=places,
        forwarder=SimpleNamespace(request=forward),
        failover=failover,
        threads=ThreadPoolExecutor(1),
    )
    sent: list[Message] = []
    received = [False]

    async def receive() -> Message:
        if leaves and not received:
            return {"type": "http.disconnect"}
        received.clear()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost:5010")],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        BEGUN: direct,
    }
    asyncio.run(ClusterRouter(parts)(scope, receive, send))
    return int(sent[0]["status"]) if sent else None


def test_a_session_that_ends_here_is_answered_here() -> None:
    assert status_of(failover=SimpleNamespace(has_or_ends=lambda _: True)) == 404


def test_a_session_whose_claim_got_no_answer_is_not_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "PAUSE_S", 0.0)
    assert status_of(failover=SimpleNamespace(has_or_ends=lambda _: False)) == 503


TITLE = "/wd/hub/session/one/title"


def test_a_direct_command_that_was_not_sent_gives_its_turn_back_and_goes_to_the_node_of_its_session() -> None:
    ended: list[bool] = []
    waits = SimpleNamespace(sent=None, end=lambda: ended.append(True))
    assert status_of(TITLE, ELSEWHERE, direct=waits) == 200
    assert ended == [True]


def test_a_direct_command_that_was_sent_here_goes_to_no_other_node() -> None:
    ended: list[bool] = []
    runs = SimpleNamespace(sent="here", end=lambda: ended.append(True))
    # There was no answer from here, and its session is elsewhere: it may have been executed.
    assert status_of(TITLE, ELSEWHERE, direct=runs) == 500
    assert status_of(TITLE, None, direct=runs) == 404
    assert ended == []


FREE = Located("one", "k", 4, None, None, None, None, 1)


@pytest.mark.parametrize("found", [ELSEWHERE, FREE])
def test_a_session_that_leaves_while_a_request_is_answered_is_not_said_to_be_gone(found: Located) -> None:
    assert status_of(found=found, was_here=True) == 503
    assert status_of(TITLE, found, was_here=True) == 500


@pytest.mark.parametrize("found", [FOUND, None])
def test_a_session_that_ends_while_a_request_is_answered_is_said_to_be_gone(found: Located | None) -> None:
    assert status_of(found=found, was_here=True) == 404


def test_the_answer_to_the_end_of_a_session_is_given_as_it_is() -> None:
    assert status_of(found=ELSEWHERE, method="DELETE", was_here=True) == 404


def test_a_client_that_leaves_no_longer_waits_for_the_restore_of_its_session() -> None:
    def restore(_: Located, deadline: Deadline) -> None:
        deadline.wait(Future[None]())

    assert status_of(TITLE, FREE, failover=SimpleNamespace(restore=restore), leaves=True) is None
