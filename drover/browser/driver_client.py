"""Commands to one ChromeDriver, with a timeout on each and one tree of errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from drover.browser.running_browser import RunningBrowser
from drover.net.loopback_http import send_request

MAX_VALUE_BYTES = 1024 * 1024


class CommandFailed(Exception):
    """ChromeDriver rejected a command or did not answer; the message is its error with all its causes."""


class NoResponse(CommandFailed):
    """ChromeDriver or Chrome ended or hung, so there is no answer; nothing says why."""


class CommandTimeout(NoResponse):
    """A command did not finish in time; ChromeDriver may still be executing it."""


class CommandRefused(CommandFailed):
    """ChromeDriver rejected the command's arguments."""


_ERRORS: Mapping[object, type[CommandFailed]] = {
    "timeout": CommandTimeout,
    "script timeout": CommandTimeout,
    "invalid argument": CommandRefused,
}
"""The classes of errors by their codes in the WebDriver standard; all others are `CommandFailed`."""


def new_session(driver_url: str, capabilities: Mapping[str, object], timeout: float) -> dict[str, Any]:
    """Create a ChromeDriver session; return `sessionId` and `capabilities` as in the WebDriver standard.

    Raises:
        CommandFailed: With ChromeDriver's reason.
    """
    body = {"capabilities": {"alwaysMatch": capabilities}}
    answer = _command("POST", driver_url, "/session", timeout, json.dumps(body).encode())
    if not isinstance(answer, dict) or "sessionId" not in answer:
        raise CommandFailed("ChromeDriver's answer to a new session has no session id")
    return answer


def navigate(running: RunningBrowser, url: str, timeout: float) -> None:
    """Load a page in the current window and wait for it according to the session's page load strategy.

    Raises:
        CommandTimeout: It is still loading.
        CommandFailed: It could not be loaded.
    """
    send(running, "/url", {"url": url}, timeout)


def choose_window(running: RunningBrowser, handle: str, timeout: float) -> None:
    """Switch to a window, so that the following commands apply to it.

    Raises:
        CommandFailed: There is no such window, or ChromeDriver does not answer.
    """
    send(running, "/window", {"handle": handle}, timeout)


def current_window(running: RunningBrowser, timeout: float) -> str | None:
    """Return the handle of the current window; None if ChromeDriver does not say."""
    path = f"/session/{running.driver_session_id}/window"
    try:
        handle = _command("GET", running.driver_url, path, timeout)
    except CommandFailed:
        return None
    return handle if isinstance(handle, str) else None


def send(running: RunningBrowser, path: str, body: Mapping[str, object], timeout: float) -> object:
    """Send a POST command by its path after the session's id, and return its value.

    Raises:
        CommandFailed: ChromeDriver rejects it, or does not answer in time.
    """
    path = f"/session/{running.driver_session_id}{path}"
    return _command("POST", running.driver_url, path, timeout, json.dumps(body).encode())


def _command(method: str, driver_url: str, path: str, timeout: float, body: bytes = b"") -> object:
    try:
        answer = send_request(method, driver_url, path, timeout, MAX_VALUE_BYTES, body)
    except TimeoutError as error:
        raise CommandTimeout(f"ChromeDriver did not answer within {timeout:.0f} s") from error
    except ConnectionRefusedError as error:
        raise NoResponse(f"ChromeDriver cannot be reached: {error}") from error
    except (OSError, ValueError) as error:
        raise NoResponse(f"ChromeDriver does not answer: {error}") from error
    try:
        value: object = json.loads(answer.body)["value"]
    except (ValueError, LookupError, TypeError) as error:
        raise CommandFailed(f"ChromeDriver's answer is not that of a WebDriver: {error}") from error
    if answer.status == HTTPStatus.OK:
        return value
    content = value if isinstance(value, Mapping) else {"message": value}
    code = content.get("error")
    raise _ERRORS.get(code, CommandFailed)(_reason(str(content.get("message") or code)))


def _reason(message: str) -> str:
    """Return ChromeDriver's message in one line: the error and its causes; the last one names the fault.

    ChromeDriver writes each cause in a line that begins with "from", then lines about itself.
    """
    first, *others = message.splitlines() or [""]
    return "; ".join([first, *(line.strip() for line in others if line.startswith("from "))])
