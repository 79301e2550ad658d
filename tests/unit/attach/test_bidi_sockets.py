"""The connection to a session's ChromeDriver over BiDi."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import cast

import pytest
from websockets.asyncio.client import ClientConnection

from drover.attach.attaching import Attaching
from drover.attach.bidi_sockets import BidiSockets
from drover.browser.running_browser import RunningBrowser
from drover.core.errors import BrowserUnavailable, NotFound
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


def dialled(*outcomes: ClientConnection | NotFound) -> ClientConnection:
    attaching = cast("Attaching", DyingBrowser(outcomes))
    return asyncio.run(BidiSockets(attaching, cast("DriverAccess", None))._dial("one"))


def test_a_browser_that_dies_after_its_check_is_checked_again() -> None:
    assert dialled(NotFound("gone"), CONNECTION) is CONNECTION


def test_a_browser_that_dies_twice_is_unavailable_and_its_address_is_not_unknown() -> None:
    with pytest.raises(BrowserUnavailable, match="one has just ended; retry"):
        dialled(NotFound("gone"), NotFound("gone"))
