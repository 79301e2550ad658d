"""A request that a node does not simply answer for itself: forwarded, or its session restored or made.

Nothing here waits on a thread, except for the database and for a place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from uuid import UUID

from drover.attach import w3c
from drover.cluster.failover import Failover
from drover.cluster.forwarding import Forwarder
from drover.cluster.guard import Guard
from drover.cluster.locations import Locations
from drover.cluster.membership import Membership
from drover.cluster.node_connection import NotSent
from drover.cluster.places import has_free_place, next_place, place_to_wait
from drover.cluster.requests import FORWARDED, MAY_WAIT, Names, ends, with_json, with_session_id
from drover.cluster.unowned import answer_without_browser
from drover.core.deadline import REQUEST_S, Deadline
from drover.core.errors import DroverError, NodeUnreachable, NotOwner, SentAway
from drover.net.access import AccessPolicy
from drover.net.asgi import (
    Application,
    Message,
    Receive,
    Scope,
    Send,
    ThreadResult,
    caller_left,
    header,
    on_thread,
    replayed,
    send_answer,
)
from drover.sessions.pool.acquire import Elsewhere, may_go
from drover.sessions.pool.acquire_request import new_session_id
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.cluster_values import Located, Node

ATTEMPTS: Final = 4
"""How often the place of a session is looked up for one request: others may move it in between."""
PAUSE_S: Final = 0.2
"""Between two attempts."""
PARKING_PAUSES: Final = 25
"""How many pauses a request waits for its session, which this node saves and leaves to others."""
CLOSE_S: Final = 20.0
"""How long the close may take of a session whose client did not hear of it."""
MOVED: Final = "The session has left this node in the meantime; the request may have been executed. Retry"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a node answers requests with.

    Attributes:
        local: Answers for this node.
        policy: What the access check compares requests with; nothing is forwarded that it refuses.
        membership: The other nodes, and the right to serve.
        threads: Where requests wait for a place.
    """

    local: Application
    policy: AccessPolicy
    registry: SessionRegistry
    membership: Membership
    locations: Locations
    forwarder: Forwarder
    failover: Failover
    threads: Executor


class RoutedRequest:
    """One request that this node does not simply answer for itself."""

    def __init__(self, parts: Parts, guard: Guard, scope: Scope, names: Names, body: bytes) -> None:
        self._parts = parts
        self._guard = guard
        self._scope = scope
        self._names = names
        self._body = body
        self._is_forwarded = header(scope, FORWARDED) is not None
        self._deadline = Deadline(REQUEST_S)
        self._attempts_left = ATTEMPTS
        self._full: set[UUID] = set()
        self._unwilling: set[UUID] = set()
        self._may_wait = False
        self._named: str | None = None

    async def answer(self, receive: Receive, send: Send) -> None:
        """Answer here, or have it answered where the session is, or where it is restored or made.

        Raises:
            DroverError: Nothing was answered, for this reason.
        """
        with may_go(Elsewhere(self._is_place_elsewhere, self._is_accepted_elsewhere)):
            await self._answer_somewhere(receive, send)

    async def _answer_somewhere(self, receive: Receive, send: Send) -> None:
        unreachable, is_first = "", True
        while self._attempts_left and self._deadline.remaining():
            if not is_first:
                self._parts.locations.forget(self._names)
                await asyncio.sleep(PAUSE_S)
            is_first, asked = False, self._asked
            self._attempts_left -= 1
            try:
                if await self._is_answered(receive, send):
                    return
            except NotSent as error:
                unreachable = f" ({error})"
            except NotOwner as error:
                if self._is_forwarded:
                    raise
                if isinstance(error, SentAway):
                    # It has waited for a place, and may go on to do so: only its deadline ends that.
                    self._attempts_left = ATTEMPTS
                    self._full.clear()
                    self._unwilling.clear()
                    continue
            if self._asked > asked:
                # A node that was asked for a place is not asked again, so all of them can be.
                self._attempts_left += 1
        raise NodeUnreachable(
            f"The node that has the session does not answer{unreachable}; retry. If that node is lost, "
            "another one restores the session after some seconds"
        )

    async def _is_answered(self, receive: Receive, send: Send) -> bool:
        """Try once; return whether the request was answered, and raise if it has to be tried again."""
        names, locations = self._names, self._parts.locations
        has_name = names.session_id or names.key or names.socket_secret
        if locations.is_here(names):
            await self._answer_here(receive, send)
            return True
        found = await locations.find(names) if has_name else None
        if found is None or (found.is_free and not names.needs_browser):
            if self._is_forwarded and not names.creates:
                raise NotOwner("This node does not have the session")
            if found is None and has_name and not names.creates and locations.may_lack_some:
                raise NodeUnreachable(
                    "The database was lost for a moment and does not know the session. A node that has it "
                    "writes it again within some seconds: retry"
                )
            await self._answer_or_hand_on(receive, send)
            return True
        if found.is_free:
            return await self._answer_free(found, receive, send)
        if found.owner == self._parts.membership.incarnation:
            # It was claimed here a moment ago, or its end is on the way.
            is_known = self._parts.failover.has_or_ends(found) or locations.is_here(names)
            is_parking = _is_parking(self._parts.registry, found)
            if is_parking:
                await self._await_parking(found)
            if is_parking or not is_known:
                raise NotOwner("This session is on its way to this node, or leaves it")
            await self._answer_here(receive, send)
        elif self._is_forwarded:
            raise NotOwner("This node does not have the session")
        else:
            await self._forward(found.owner, found.url, receive, send)
        return True

    async def _await_parking(self, found: Located) -> None:
        """Wait until a session that closes here is left to other nodes, so that one of them restores it."""
        for _ in range(PARKING_PAUSES):
            if not self._parts.registry.has(found.session_id, None):
                return
            await asyncio.sleep(PAUSE_S)

    async def _answer_free(self, found: Located, receive: Receive, send: Send) -> bool:
        """Answer a request for a session that no living node has; False if it was never ready."""
        failover = self._parts.failover
        active = len(self._parts.registry.sessions())
        answer = await self._on_thread(partial(answer_without_browser, self._scope, found, failover, active))
        if answer is not None:
            await send_answer(send, answer)
            return True
        place = self._place()
        if place is not None:
            await self._forward(place.incarnation, place.url, receive, send)
            return True
        gone: Future[None] = Future()
        # A WebSocket has not been accepted yet: what its client sends is for the application.
        is_http = self._scope["type"] == "http"
        leaving = asyncio.create_task(caller_left(receive, gone)) if is_http else None
        try:
            deadline = Deadline(self._deadline.remaining(), gone)
            await self._on_thread(partial(failover.restore, found, deadline))
        finally:
            if leaving is not None:
                leaving.cancel()
        if not self._parts.registry.has(found.session_id, None):
            return False
        await self._answer_here(receive, send)
        return True

    async def _answer_or_hand_on(self, receive: Receive, send: Send) -> None:
        place = self._place() if self._names.creates else None
        if place is None:
            await self._answer_here(receive, send, has_session=False)
            return
        self._name()
        try:
            await self._forward(place.incarnation, place.url, receive, send)
        except NodeUnreachable:
            if self._named is not None:
                with suppress(NotSent, NotOwner, NodeUnreachable, asyncio.TimeoutError):
                    await asyncio.wait_for(self._close(place, self._named), CLOSE_S)
            raise

    def _name(self) -> None:
        """Name a session before another node makes it: if the answer is lost, it can be closed."""
        if self._names.session_id is not None or self._names.key is not None:
            return
        session_id = new_session_id()
        body = with_session_id(self._body, session_id, is_webdriver=w3c.is_command(self._scope))
        if body == self._body:
            return
        if not self._body:
            self._scope = with_json(self._scope)
        self._body, self._named = body, session_id
        self._names = replace(self._names, session_id=session_id)

    async def _close(self, place: Node, session_id: str) -> None:
        """Close a session on another node of which its client will not hear."""
        path = f"/sessions/{session_id}"
        changes = {"method": "DELETE", "path": path, "raw_path": path.encode(), "query_string": b""}
        scope = {**self._scope, **changes}
        await self._parts.forwarder.request(place.incarnation, place.url, scope, b"", _nothing, _discard)

    def _place(self) -> Node | None:
        """Return the node that has room for a session if this one has none, or accepts none.

        Raises:
            NotOwner: This request was handed on to this node, and it has no room either.
        """
        room = self._parts.membership.room
        if self._is_forwarded:
            self._may_wait = header(self._scope, MAY_WAIT) is not None and room.accepts_new
            if not (room.free or room.evictable or self._may_wait):
                raise NotOwner("This node has no room for another session")
            return None
        self._may_wait = False
        # What lacks is memory, often for a moment only: no session of another node is closed for that.
        can_wait = room.evictable > 0 or room.lacks_memory_only
        found = next_place(room.free, int(can_wait), self._others(self._full))
        if found is not None:
            # If it is full by now, it is not asked again for this request.
            self._full.add(found.incarnation)
        elif not room.accepts_new:
            # The request cannot wait here.
            found = place_to_wait(self._others(self._unwilling))
            if found is not None:
                self._unwilling.add(found.incarnation)
                self._may_wait = True
        return found

    def _others(self, without: Collection[UUID]) -> list[Node]:
        nodes = self._parts.membership.other_nodes
        return [node for node in nodes if node.incarnation not in without]

    @property
    def _asked(self) -> int:
        """How many nodes were asked for a place."""
        return len(self._full) + len(self._unwilling)

    def _is_place_elsewhere(self) -> bool:
        """Return whether the request must not wait here, as another node has a free place.

        It may wait on the last attempt, and if it was forwarded for that: another node's place may be taken
        since its last sign of life. After the next one, who waits here is sent there.
        """
        may_stay = self._may_wait if self._is_forwarded else not self._attempts_left
        return not may_stay and has_free_place(self._others(self._full))

    def _is_accepted_elsewhere(self) -> bool:
        return place_to_wait(self._others(self._unwilling)) is not None

    async def _forward(self, owner: UUID | None, url: str | None, receive: Receive, send: Send) -> None:
        assert owner is not None
        assert url is not None
        forwarder = self._parts.forwarder
        headers = [one for one in self._scope["headers"] if one[0] != MAY_WAIT]
        headers += [(MAY_WAIT, b"1")] if self._may_wait else []
        scope = {**self._scope, "headers": headers}
        if scope["type"] == "websocket":
            await forwarder.socket(owner, url, scope, receive, send)
        else:
            await forwarder.request(owner, url, scope, self._body, receive, send)

    async def _answer_here(self, receive: Receive, send: Send, *, has_session: bool = True) -> None:
        if self._scope["type"] != "websocket":
            receive = replayed(self._body, receive)
        doubt = partial(moved, self._parts, self._scope, self._names) if has_session else None
        await self._guard.run(self._parts.local, self._scope, receive, send, doubt)

    async def _on_thread(self, call: partial[ThreadResult]) -> ThreadResult:
        self._guard.check()
        return await on_thread(self._parts.threads, call)


async def moved(parts: Parts, scope: Scope, names: Names) -> DroverError | None:
    """Return why a request must not be answered as here: its session has left this node, and goes on."""
    locations = parts.locations
    is_named = names.session_id is not None or names.socket_secret is not None
    if not is_named or ends(scope) or locations.is_here(names):
        return None
    locations.forget(names)
    try:
        found = await locations.find(names)
    except DroverError as error:
        return error
    is_own = found is not None and found.owner == parts.membership.incarnation
    if found is None or (is_own and not _is_parking(parts.registry, found)):
        # It has ended, or does so now.
        return None
    return NodeUnreachable(MOVED)


def _is_parking(registry: SessionRegistry, found: Located) -> bool:
    """Return whether a session of this node that closes goes on at another one."""
    return found.key is not None and (registry.draining or registry.stopping)


async def _nothing() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("no client is connected")


async def _discard(_: Message) -> None:
    return
