"""The page for clients of all kinds, and the address that kills ChromeDriver when a client opens it."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from tests.acceptance.pages import Pages
from tests.acceptance.service import Service
from tests.machine import kill

KILL = "/kill"


class Desk(Pages):
    """A web server with a page to type on, where a client asks for the death of ChromeDriver.

    Args:
        strike: Called when a client opens the address.
    """

    def __init__(self, strike: Callable[[], None]) -> None:
        super().__init__()
        self._strike = strike

    def answer(self, path: str) -> str | None:
        """Return a page, after what it is for has been done."""
        if path == KILL:
            self._strike()
            return ""
        return super().answer(path)

    def environment(self, remote: str) -> dict[str, str]:
        """Return the variables for the scripts of clients of a remote end."""
        pages = {"PAGE": self.url("/desk"), "STANDARD": self.url("/standard")}
        return {"REMOTE": remote, "KILL": self.url(KILL)} | pages


def kill_chromedrivers(service: Service) -> None:
    """Kill the ChromeDriver of every session; there is one at least."""
    sessions = service.listed().values()
    assert sessions
    kill([psutil.Process(session["driver"]["pid"]) for session in sessions])
