"""What ChromeDriver's words about a start that failed prove, and what they do not."""

from __future__ import annotations

import re
from typing import Final

from drover.browser.driver_client import CommandFailed, NoResponse
from drover.core.errors import BrowserUnavailable

_WRONG_VERSION: Final = "only supports Chrome version"
# Chrome ran and ended before it was ready; one that could not be run is reported otherwise.
_DIED: Final = re.compile(r"exited|crashed|DevToolsActivePort|not reachable|disconnected")
# Chrome has created the file in which it tells its port, and ended or found the disk full before it wrote it
# (this and the next ones: chrome/test/chromedriver/chrome_launcher.cc).
_PORT_UNTOLD: Final = "Devtools port number file contents"
# ChromeDriver could not write the profile, which is never a client's, or start a process at all.
_MACHINE_FAILED: Final = re.compile(r"failed to (write|create)|cannot create", re.IGNORECASE)


class WrongVersion(BrowserUnavailable):
    """ChromeDriver refuses this Chrome because of its version."""


class ChromeFailed(BrowserUnavailable):
    """ChromeDriver runs, but could not start Chrome with the requested capabilities.

    Attributes:
        cause: ChromeDriver's error.
    """

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


class ChromeDied(ChromeFailed):
    """Chrome ran on a profile and ended before it was ready, twice; the profile may be the reason."""


class StartInterrupted(BrowserUnavailable):
    """ChromeDriver or Chrome ended or hung during the start, and nothing says why."""


def start_failure(reason: str, error: CommandFailed) -> BrowserUnavailable:
    """Return the error for a start that failed.

    Args:
        reason: Why it failed and what to do, for people.
        error: ChromeDriver's error.
    """
    cause = str(error)
    if isinstance(error, NoResponse) or _PORT_UNTOLD in cause:
        return StartInterrupted(reason)
    if _WRONG_VERSION in cause:
        return WrongVersion(reason)
    if _MACHINE_FAILED.search(cause):
        return BrowserUnavailable(reason)
    return (ChromeDied if _DIED.search(cause) else ChromeFailed)(reason, cause)
