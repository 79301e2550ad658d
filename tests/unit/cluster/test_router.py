"""How a node answers for a session that is its own by the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from drover.attach.webdriver import BEGUN
from drover.cluster import clock, routed_request
from drover.cluster.fence import Fence
from drover.cluster.router import ClusterRouter
from drover.core.deadline import Deadline
from drover.core.errors import NotOwner, SentAway
from drover.net.access import AccessPolicy
from drover.net.asgi import (
    Application,
    Header,
    Message,
    Receive,
    Response,
    Scope,
    Send,
    failure_answer,
    send_answer,
)
from drover.sessions.pool.admission import Room
from drover.storage.cluster_values import Located, Node, NodeState
from tests.unit.examples import claim, node

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
    may_lack_some: bool = False,
    draining: bool = False,
    has: Callable[..., bool] = lambda *_: True,
    places: Sequence[Located] | None = None,
    leaves: bool = False,
    serves: bool = True,
    local: Application = not_found,
    headers: Sequence[Header] = (),
    fails: BaseException | None = None,
    bodies: list[bytes] | None = None,
    others: Sequence[Node] = (),
    forwarder: object = None,
    room: Room = Room(1, 0, lacks_memory_only=False, accepts_new=True),  # noqa: B008 - immutable
) -> int | None:
    """Return the status of the answer to a request for a session that is not in this node's list any more.

    None if there was none, as the client has left.
    """
    fence = Fence()
    if serves:
        fence.extend(clock.now())

    async def find(_: object) -> Located | None:
        return places[0] if places is not None else found

    async def fail(*_: object) -> None:
        assert fails is not None
        raise fails

    here = [was_here]
    locations = SimpleNamespace(
        is_here=lambda _: here.pop() if here else False,
        find=find,
        forget=lambda _: None,
        may_lack_some=may_lack_some,
    )
    parts: Any = SimpleNamespace(
        local=local,
        policy=AccessPolicy(frozenset({"localhost"}), 5010, None),
        registry=SimpleNamespace(
            **{"sessions": tuple, "free": 1, "evictable": 0, "draining": draining}
            | {"stopping": False, "has": has}
        ),
        membership=SimpleNamespace(
            incarnation=ME,
            nodes=(),
            other_nodes=others,
            fence=fence,
            call_after_beats=lambda _: None,
            room=room,
        ),
        locations=locations,
        forwarder=forwarder or SimpleNamespace(request=forward if fails is None else fail),
        failover=failover,
        threads=ThreadPoolExecutor(1),
    )
    sent: list[Message] = []
    received = [False]

    async def receive() -> Message:
        if not received:
            if not leaves:
                await asyncio.Event().wait()
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
        "headers": [(b"host", b"localhost:5010"), *headers],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        BEGUN: direct,
    }
    asyncio.run(ClusterRouter(parts)(scope, receive, send))
    if bodies is not None:
        bodies += [message["body"] for message in sent if "body" in message]
    return int(sent[0]["status"]) if sent else None


def test_a_session_that_ends_here_is_answered_here() -> None:
    assert status_of(failover=SimpleNamespace(has_or_ends=lambda _: True)) == 404


def test_a_session_whose_claim_got_no_answer_is_not_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed_request, "PAUSE_S", 0.0)
    assert status_of(failover=SimpleNamespace(has_or_ends=lambda _: False)) == 503


def test_a_session_that_is_parked_by_a_stop_is_not_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed_request, "PAUSE_S", 0.0)
    ends = SimpleNamespace(has_or_ends=lambda _: True)
    unkeyed = replace(FOUND, key=None)
    for was_here in (False, True):
        assert status_of(failover=ends, was_here=was_here, draining=True) == 503
        assert status_of(found=unkeyed, failover=ends, was_here=was_here, draining=True) == 404


@pytest.mark.parametrize("is_forwarded", [True, False])
def test_a_request_waits_until_its_session_is_left_to_other_nodes(
    monkeypatch: pytest.MonkeyPatch, *, is_forwarded: bool
) -> None:
    monkeypatch.setattr(routed_request, "PAUSE_S", 0.001)
    closes, places = 20 * [True], [FOUND]

    def has(*_: object) -> bool:
        closes.pop()
        if not closes:
            # Another node has restored it.
            places[:] = [ELSEWHERE]
        return bool(closes)

    ends = SimpleNamespace(has_or_ends=lambda _: True)
    headers = [(b"drover-forwarded", str(ME).encode())] if is_forwarded else []
    status = status_of(failover=ends, draining=True, has=has, places=places, headers=headers)
    # Whoever has forwarded the request looks where it is.
    assert status == (421 if is_forwarded else 200)
    assert closes == []


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


def test_a_session_that_is_restored_here_and_leaves_again_is_not_said_to_be_gone() -> None:
    assert status_of(TITLE, FREE, failover=SimpleNamespace(restore=lambda *_: None)) == 500


@pytest.mark.parametrize("found", [FOUND, None])
def test_a_session_that_ends_while_a_request_is_answered_is_said_to_be_gone(found: Located | None) -> None:
    assert status_of(found=found, was_here=True) == 404


def test_the_answer_to_the_end_of_a_session_is_given_as_it_is() -> None:
    assert status_of(found=ELSEWHERE, method="DELETE", was_here=True) == 404


def test_a_client_that_leaves_no_longer_waits_for_the_restore_of_its_session() -> None:
    def restore(_: Located, deadline: Deadline) -> None:
        deadline.wait(Future[None]())

    assert status_of(TITLE, FREE, failover=SimpleNamespace(restore=restore), leaves=True) is None


async def not_owner(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send_answer(send, failure_answer(NotOwner("given to another node")))


def test_a_client_is_not_told_what_nodes_tell_each_other() -> None:
    assert status_of(was_here=True, local=not_owner) == 503
    forwarded = [(b"drover-forwarded", str(ME).encode())]
    assert status_of(was_here=True, local=not_owner, headers=forwarded) == 421


@pytest.mark.parametrize("was_here", [True, False])
def test_a_node_that_may_not_serve_sends_a_request_back_to_the_node_that_has_forwarded_it(
    *, was_here: bool
) -> None:
    assert status_of(was_here=was_here, found=None, serves=False) == 503
    forwarded = [(b"drover-forwarded", str(ME).encode())]
    assert status_of(was_here=was_here, serves=False, headers=forwarded) == 421
    # It may have been executed.
    runs = SimpleNamespace(sent="here")
    assert status_of(TITLE, was_here=was_here, serves=False, headers=forwarded, direct=runs) == 500


@pytest.mark.parametrize("error", [RuntimeError("a defect"), asyncio.CancelledError()])
@pytest.mark.parametrize(
    ("path", "begin"), [(TITLE, b'{"value": {"error": '), ("/sessions/one", b'{"success": ')]
)
def test_a_defect_and_the_stop_of_this_node_are_answered_in_json(
    path: str, begin: bytes, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    bodies: list[bytes] = []
    expected = 503 if path != TITLE and isinstance(error, asyncio.CancelledError) else 500
    assert status_of(path, ELSEWHERE, fails=error, bodies=bodies) == expected
    assert bodies[0].startswith(begin)
    assert ("RuntimeError" in caplog.text) == isinstance(error, RuntimeError)


def test_a_session_that_a_failover_may_have_lost_is_not_said_to_be_gone() -> None:
    assert status_of(found=None, may_lack_some=True) == 503
    assert status_of(found=None) == 404


class Asked:
    """Other nodes that answer 421 to a new session, or let it wait if they are asked for that.

    Args:
        waits: It may wait, until it gets its place.
        sends_away: So many requests may wait, but are sent away before they get a place.
    """

    def __init__(self, *, waits: bool = False, sends_away: int = 0) -> None:
        self.asked: list[tuple[str, bool]] = []
        self._waits = waits
        self._sends_away = sends_away

    async def request(
        self, _owner: UUID, url: str, scope: Scope, _body: bytes, _receive: Receive, send: Send
    ) -> None:
        """Answer as another node."""
        may_wait = (b"drover-may-wait", b"1") in scope["headers"]
        self.asked.append((url, may_wait))
        if may_wait and self._sends_away:
            self._sends_away -= 1
            raise SentAway("elsewhere")
        if not (may_wait and self._waits):
            raise NotOwner("elsewhere")
        await send_answer(send, Response(201, b"{}"))


def new_session(
    others: Sequence[Node],
    asked: Asked,
    *headers: Header,
    accepts_new: bool = True,
    **fields: Any,  # noqa: ANN401 - fields of `Room`
) -> int | None:
    """Return the status of the answer to a request for a new session at a node without a place."""
    room = replace(Room(0, 0, lacks_memory_only=False, accepts_new=accepts_new), **fields)

    async def local(_scope: Scope, _receive: Receive, send: Send) -> None:
        at_claim = claim().elsewhere
        assert at_claim is not None
        is_bounced = at_claim.has_place() or (not accepts_new and at_claim.accepts_new())
        bounced = failure_answer(NotOwner("elsewhere"))
        await send_answer(send, bounced if is_bounced else Response(200, b"here"))

    return status_of(
        "/sessions", None, "POST", local=local, headers=headers, others=others, forwarder=asked, room=room
    )


def urls(*numbers: int) -> list[str]:
    return [f"http://{number}" for number in numbers]


def nodes(free: int) -> list[Node]:
    return [replace(node(number, free=free), url=f"http://{number}") for number in range(2, 8)]


def test_however_many_nodes_have_no_place_any_more_a_new_session_is_made_or_waited_for_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routed_request, "PAUSE_S", 0.0)
    asked = Asked()
    assert new_session(nodes(free=1), asked) == 200
    assert sorted(asked.asked) == [(url, False) for url in urls(2, 3, 4, 5, 6, 7)]


def test_a_place_that_was_lost_to_another_request_is_looked_for_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routed_request, "PAUSE_S", 0.0)
    # The last place of this node goes again and again just before the claim: at last the request waits here.
    asked = Asked()
    assert new_session(nodes(free=1), asked, free=1) == 200
    assert asked.asked == []


def test_a_request_at_a_draining_node_may_wait_at_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed_request, "PAUSE_S", 0.0)
    asked = Asked(waits=True)
    assert new_session(nodes(free=0), asked, accepts_new=False) == 201
    assert [may_wait for _, may_wait in asked.asked] == [True]
    # A client cannot ask for that.
    asked = Asked()
    assert new_session(nodes(free=0), asked, (b"drover-may-wait", b"1")) == 200
    assert new_session(nodes(free=1), asked, (b"drover-may-wait", b"1")) == 200
    assert {may_wait for _, may_wait in asked.asked} == {False}


def test_a_request_that_was_sent_away_after_it_could_wait_may_ask_all_nodes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routed_request, "PAUSE_S", 0.0)
    asked = Asked(waits=True, sends_away=20)
    assert new_session(nodes(free=1), asked, accepts_new=False) == 201
    assert [may_wait for _, may_wait in asked.asked].count(True) == 21


def test_a_request_at_a_draining_node_is_refused_when_all_others_have_refused_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routed_request, "PAUSE_S", 0.0)
    asked = Asked()
    assert new_session(nodes(free=0), asked, accepts_new=False) == 200
    assert sorted(asked.asked) == [(url, True) for url in urls(2, 3, 4, 5, 6, 7)]
    drains = [replace(one, state=NodeState.DRAINING) for one in nodes(free=1)]
    assert new_session(drains, asked, accepts_new=False) == 200


def test_a_node_without_a_place_lets_a_forwarded_request_wait_only_if_its_node_drains() -> None:
    forwarded, may_wait = (b"drover-forwarded", str(ME).encode()), (b"drover-may-wait", b"1")
    assert new_session([], Asked(), forwarded) == 421
    assert new_session([], Asked(), forwarded, may_wait) == 200
    assert new_session([], Asked(), forwarded, may_wait, accepts_new=False) == 421
    # Another node had a place at its last sign of life: who came to wait is sent there after the next one.
    assert new_session(nodes(free=1), Asked(), forwarded, may_wait) == 200
    assert new_session(nodes(free=1), Asked(), forwarded, evictable=1) == 421


def test_what_lacks_is_memory_closes_no_session_of_another_node() -> None:
    full = [replace(one, load=replace(one.load, evictable=1)) for one in nodes(free=0)]
    asked = Asked()
    assert new_session(full, asked, lacks_memory_only=True) == 200
    assert asked.asked == []
