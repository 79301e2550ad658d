"""The connection to a session's ChromeDriver over BiDi."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedError
from websockets.protocol import State

from drover.attach import bidi_conversation
from drover.attach.attaching import Attaching
from drover.attach.bidi_client import BidiClient
from drover.attach.bidi_conversation import SERVICE_RESTART, Conversation, Upstream
from drover.attach.bidi_sockets import BidiSockets
from drover.attach.devtools_sockets import DevToolsSockets
from drover.browser.running_browser import RunningBrowser
from drover.core.errors import BrowserUnavailable, NotFound, SessionNotFound
from drover.net.asgi import Message
from drover.sessions.pool.driver_access import DriverAccess
from drover.sessions.pool.session import Session, SessionState
from tests.unit.examples import RUNNING, session

CONNECTION = cast("ClientConnection", object())


class DyingBrowser:
    """A session whose browser dies between a check and the connection, some times in a row."""

    def __init__(self, outcomes: Iterable[ClientConnection | NotFound]) -> None:
        self._outcomes: Iterator[ClientConnection | NotFound] = iter(outcomes)

    async def attachable(self, _: str, __: str | None = None) -> tuple[None, RunningBrowser]:
        """Return a browser: it passes the check."""
        return None, replace(RUNNING, bidi_url="ws://127.0.0.1:1/session/one")

    async def dial(self, _: str, __: str) -> ClientConnection:
        """Connect, or be refused by a ChromeDriver that has ended the session."""
        outcome = next(self._outcomes)
        if isinstance(outcome, NotFound):
            raise outcome
        return outcome

    async def end_session(self, _: str) -> None:
        """End the session."""


def dialled(*outcomes: ClientConnection | NotFound) -> ClientConnection:
    attaching = cast("Attaching", DyingBrowser(outcomes))
    return asyncio.run(BidiSockets(attaching, cast("DriverAccess", None))._dial("one", "secret"))


class OpenConnection:
    """A connection to a browser, which notes that it is closed."""

    is_closed = False

    async def close(self) -> None:
        """Close it."""
        self.is_closed = True


@pytest.mark.parametrize("kind", [BidiSockets, DevToolsSockets])
def test_a_client_that_leaves_before_it_is_accepted_leaves_no_connection_to_the_browser(
    kind: type[BidiSockets | DevToolsSockets],
) -> None:
    connection = OpenConnection()
    attaching = cast("Attaching", DyingBrowser([cast("ClientConnection", connection)]))
    known: Any = SimpleNamespace(session_id="one")
    access: Any = SimpleNamespace(
        of_secret=lambda _: known,
        session=lambda _: known,
        has_ended=bool,
        address_has_ended=bool,
        use=lambda _: nullcontext(),
    )

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(_: Message) -> None:
        raise OSError("the client has left")

    route = kind(attaching, access).routes()[0]
    found = route.pattern.fullmatch("/bidi/secret") or route.pattern.fullmatch("/sessions/one/cdp")
    assert found is not None
    with pytest.raises(OSError, match="has left"):
        asyncio.run(route.handler({}, receive, send, **found.groupdict()))  # type: ignore[arg-type]
    assert connection.is_closed


def test_a_browser_that_dies_after_its_check_is_checked_again() -> None:
    assert dialled(NotFound("gone"), CONNECTION) is CONNECTION


def test_a_browser_that_dies_twice_is_unavailable_and_its_address_is_not_unknown() -> None:
    with pytest.raises(BrowserUnavailable, match="one has just ended; retry"):
        dialled(NotFound("gone"), NotFound("gone"))


class Driver:
    """The socket of a ChromeDriver that answers one command, then ends."""

    state = State.OPEN

    def __init__(self) -> None:
        self.received: list[str] = []
        self._sent = asyncio.Event()
        self._answered = False

    async def send(self, message: str) -> None:
        """Take a command."""
        self.received.append(message)
        self._sent.set()

    async def recv(self) -> str:
        """Return the answer."""
        await self._sent.wait()
        if self._answered:
            raise ConnectionClosedError(None, None)
        self._answered = True
        number = json.loads(self.received[0])["id"]
        return json.dumps({"type": "success", "id": number, "result": {"subscription": "s"}})

    async def close(self) -> None:
        """Close it."""


class Client:
    """The side of a BiDi client in ASGI: it sends some messages, then waits."""

    def __init__(self, *messages: Message) -> None:
        self.received: list[Message] = []
        self._messages = [{"type": "websocket.connect"}, *messages]

    async def receive(self) -> Message:
        """Return what it sends next."""
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        """Take what it is sent."""
        self.received.append(message)


class OneSession:
    """The session that there is now, with whatever secret, and its ChromeDriver."""

    def __init__(self, secret: str) -> None:
        self.now = session("one", socket_secret=secret, running=RUNNING, state=SessionState.READY)
        self.driver = Driver()

    def of_secret(self, secret: str) -> Session:
        """Return the session with this secret."""
        if secret != self.now.socket_secret:
            raise SessionNotFound("there is none")
        return self.now

    def use(self, _: Session) -> nullcontext[None]:
        """Count it as used."""
        return nullcontext()

    def seems_well(self, _: Session) -> bool:
        """Return whether it is well."""
        return True

    async def attachable(self, _: str, __: str | None = None) -> tuple[Session, RunningBrowser]:
        """Return it with its browser."""
        return self.now, replace(RUNNING, bidi_url="ws://127.0.0.1:1/session/one")

    async def dial(self, _: str, __: str) -> ClientConnection:
        """Connect to its ChromeDriver."""
        return cast("ClientConnection", self.driver)

    async def end_session(self, _: str) -> None:
        """End it."""

    def address_has_ended(self, secret: str) -> bool:
        """Return whether the session with this secret has ended."""
        return secret != self.now.socket_secret

    def session(self, _: str) -> Session:
        """Return it."""
        return self.now


def test_a_later_session_with_the_same_id_inherits_no_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bidi_conversation, "GRACE_S", 0.0)
    subscribe = {"id": 1, "method": "session.subscribe", "params": {"events": ["log.entryAdded"]}}

    async def run() -> tuple[list[Message], list[str]]:
        there = OneSession("first")
        sockets = BidiSockets(cast("Attaching", there), cast("DriverAccess", there))
        before = Client({"type": "websocket.receive", "text": json.dumps(subscribe)})
        await sockets._socket({}, before.receive, before.send, "first")
        there.now, there.driver = replace(there.now, socket_secret="second"), Driver()
        after = Client({"type": "websocket.disconnect"})
        await sockets._socket({}, after.receive, after.send, "second")
        return before.received, there.driver.received

    told, sent = asyncio.run(run())
    assert told[-1]["code"] == SERVICE_RESTART
    assert sent == []


@pytest.mark.parametrize(("secret", "is_another"), [("now", False), (None, False), ("before", True)])
def test_an_address_does_not_lead_to_a_later_session_with_the_same_id(
    secret: str | None, *, is_another: bool
) -> None:
    there = session("one", socket_secret="now", running=RUNNING)
    manager: Any = SimpleNamespace(check=lambda *_: SimpleNamespace(session=there))
    with ThreadPoolExecutor(1) as thread:
        attaching = Attaching(manager, cast("Any", SimpleNamespace(waiting=thread)))
        if is_another:
            with pytest.raises(SessionNotFound):
                asyncio.run(attaching.attachable("one", secret))
        else:
            assert asyncio.run(attaching.attachable("one", secret)) == (there, RUNNING)


def test_a_client_that_goes_on_over_its_socket_is_not_continued_by_another_one() -> None:
    async def run() -> bool:
        driver, client, dialling, found = Driver(), Client(), asyncio.Event(), asyncio.Event()
        client._messages = [{"type": "websocket.receive", "text": json.dumps({"id": 1})}]
        driver._answered = True
        driver._sent.set()

        async def dial() -> ClientConnection:
            dialling.set()
            await found.wait()
            raise BrowserUnavailable("it has just ended")

        async def nothing() -> None:
            return

        upstream = Upstream(nothing, dial, nothing, bool, bool)
        conversation = Conversation(BidiClient(), upstream, client.receive, client.send)
        running = asyncio.create_task(conversation.run(cast("ClientConnection", driver)))
        await asyncio.wait_for(dialling.wait(), 5)
        is_waiting = conversation.is_waiting
        found.set()
        assert await running
        return is_waiting

    assert not asyncio.run(run())
