"""The connection to a session's ChromeDriver over BiDi."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection

from drover.attach.attaching import Attaching
from drover.attach.bidi_sockets import BidiSockets
from drover.attach.devtools_sockets import DevToolsSockets
from drover.browser.running_browser import RunningBrowser
from drover.core.errors import BrowserUnavailable, NotFound
from drover.net.asgi import Message
from drover.sessions.pool.driver_access import DriverAccess
from tests.unit.examples import RUNNING

CONNECTION = cast("ClientConnection", object())


class DyingBrowser:
    """A session whose browser dies between a check and the connection, some times in a row."""

    def __init__(self, outcomes: Iterable[ClientConnection | NotFound]) -> None:
        self._outcomes: Iterator[ClientConnection | NotFound] = iter(outcomes)

    async def attachable(self, _: str) -> tuple[None, RunningBrowser]:
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
    return asyncio.run(BidiSockets(attaching, cast("DriverAccess", None))._dial("one"))


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
        of_secret=lambda _: known, session=lambda _: known, has_ended=bool, use=lambda _: nullcontext()
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
