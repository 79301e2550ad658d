"""The state that a client leaves in a browser, and that must be restored in a new one."""

from __future__ import annotations

import time
from typing import Final

from tests.acceptance.driver_commands import Driver
from tests.acceptance.pages import Pages
from tests.acceptance.service import Json
from tests.machine import PATIENCE

SAVED_AFTER_S: Final = 2.2 * PATIENCE
"""State that is older than two seconds is never lost, if the machine does not need that long to read it."""

WIDTH: Final = 811
HEIGHT: Final = 622
_STORE: Final = """
localStorage.setItem('local', 'kept'); sessionStorage.setItem('tab', 'kept too');
"""
_READ: Final = """
return [localStorage.getItem('local'), sessionStorage.getItem('tab'), outerWidth, outerHeight]
"""


def create_saved_state(session: Json, pages: Pages) -> None:
    """Act as a client does: set cookies, store values, resize the window, and open a page."""
    client = Driver(session)
    client.resize(WIDTH, HEIGHT)
    client.open(pages.url("/form"))
    client.add_cookie("memory", "gone with the browser", httpOnly=True)
    client.add_cookie("lasting", "for an hour", expiry=int(time.time()) + 3600)
    client.run(_STORE)


def wait_until_saved() -> None:
    """Wait until the state must have been saved."""
    time.sleep(SAVED_AFTER_S)


def assert_saved_state(session: Json, pages: Pages, *, window: bool = True) -> None:
    """Assert that a session has all the state that `create_saved_state` left in it."""
    client = Driver(session)
    assert client.address() == pages.url("/form")
    assert client.cookies() == {"memory": "gone with the browser", "lasting": "for an hour"}
    *stored, width, height = client.run(_READ)
    assert stored == ["kept", "kept too"]
    if window:
        assert (width, height) == (WIDTH, HEIGHT)
