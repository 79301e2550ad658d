"""The outermost ASGI application of a node: it answers for its own sessions, and forwards to other nodes."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from drover.attach import w3c
from drover.attach.router import TrackedSend, refuse
from drover.attach.webdriver import BEGUN
from drover.cluster.any_session import AnySession, is_of_any
from drover.cluster.guard import Guard
from drover.cluster.requests import FORWARDED, Names, named_in_body, names_of
from drover.cluster.routed_request import MOVED, Parts, RoutedRequest, moved
from drover.core.deadline import ClientDisconnected
from drover.core.errors import DroverError, NodeUnreachable, NotOwner, RequestTooLarge, ShuttingDown
from drover.net import access
from drover.net.asgi import (
    Receive,
    Scope,
    Send,
    head_of,
    header,
    last_answer,
    read_body,
    unexpected,
    with_target,
)
from drover.storage.session_files import MAX_UPLOAD_BODY_BYTES

_STOPS: Final = (
    "This node is stopping; the request may have been executed. Retry, at another node if there is one"
)


class ClusterRouter:
    """ASGI application of a node of a cluster."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._guard = Guard(parts.membership.fence)
        self._any_session = AnySession(parts.local, self._guard, parts.forwarder)
        self._loop: asyncio.AbstractEventLoop | None = None
        parts.membership.call_after_beats(self._hear)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        self._loop = asyncio.get_running_loop()
        scope, unclear = with_target(scope)
        names = names_of(scope) if unclear is None else None
        may_be_elsewhere = unclear is None and (names is not None or is_of_any(scope))
        if not may_be_elsewhere or access.refusal(head_of(scope), self._parts.policy) is not None:
            await self._parts.local(scope, receive, send)
            return
        sending = TrackedSend(send)
        try:
            await self._answer(scope, names, receive, sending)
        except ClientDisconnected:
            return
        except NotOwner as error:
            is_forwarded = header(scope, FORWARDED) is not None
            await self._refuse(scope, sending, error if is_forwarded else NodeUnreachable(MOVED))
        except DroverError as error:
            await self._refuse(scope, sending, error)
        except asyncio.CancelledError:
            # The server cancels only what is still in progress at the end of its stop.
            await self._refuse(scope, sending, ShuttingDown(_STOPS))
        except Exception as error:  # noqa: BLE001 - any error gets a response and a stack trace in the log
            if not sending.client_left:
                await self._refuse(scope, sending, unexpected(error))

    async def _answer(self, scope: Scope, names: Names | None, receive: Receive, send: Send) -> None:
        if names is None:
            await self._any_session.answer(scope, receive, send, self._parts.membership.other_nodes)
        elif names.socket_secret is not None:
            others = self._parts.membership.other_nodes
            await self._any_session.answer_named(
                partial(self._answer_named, names), scope, receive, send, others
            )
        else:
            await self._answer_named(names, scope, receive, send)

    async def _answer_named(self, names: Names, scope: Scope, receive: Receive, send: Send) -> None:
        may_serve = self._parts.membership.fence.may_serve()
        if not may_serve and header(scope, FORWARDED) is not None and scope.get(BEGUN) is None:
            # Nothing was begun: the node that has forwarded it looks where the session is by now.
            raise NotOwner("This node may not serve its sessions now")
        is_here = not names.creates and self._parts.locations.is_here(names)
        # What was sent to ChromeDriver here is not sent on, even if the session has gone in the meantime.
        if is_here or _is_sent(scope):
            # The hot path: nothing is read ahead, nothing is looked up.
            doubt = partial(moved, self._parts, scope, names)
            await self._guard.run(self._parts.local, scope, receive, send, doubt)
            return
        body = b"" if scope["type"] == "websocket" else await read_body(receive, MAX_UPLOAD_BODY_BYTES)
        if names.creates:
            names = named_in_body(body)
        await RoutedRequest(self._parts, self._guard, scope, names, body).answer(receive, send)

    async def _refuse(self, scope: Scope, sending: TrackedSend, error: DroverError) -> None:
        # A response that has begun cannot be replaced: the server closes the connection, so clients notice.
        if not sending.begun:
            answer = w3c.failure_at(scope, error)
            unread = isinstance(error, RequestTooLarge)
            await refuse(scope, sending, last_answer(answer) if unread else answer)

    def _hear(self) -> None:
        """Close what must not go on, after every answer of the database; called by another thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            living = frozenset(node.incarnation for node in self._parts.membership.nodes)
            loop.call_soon_threadsafe(self._parts.forwarder.end_silent, living)
            loop.call_soon_threadsafe(self._guard.close_if_fenced)


def _is_sent(scope: Scope) -> bool:
    """Return whether a command was sent to ChromeDriver; one that was not gives its turn back.

    Its session is not here any more, so it may go to another node, or wait here for a turn of its own.
    """
    direct = scope.get(BEGUN)
    if direct is not None and direct.sent is None:
        direct.end()
        direct = scope[BEGUN] = None
    return direct is not None
