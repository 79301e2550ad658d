"""Commands by which a client ends its session over a WebSocket or through ChromeDriver (pure).

They are not passed on: Drover closes the session itself, so that the login of its key is saved first, and
answers them as Chrome or ChromeDriver would. Passed on, they would look like a browser that has died.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_END_COMMAND = 4096
"""A longer message is not one of these commands, and is not parsed."""
_BROWSER_CLOSE = "Browser.close"
_BIDI_ENDS = frozenset({"session.end", "browser.close"})
_CDP_OVER_BIDI = frozenset({"goog:cdp.sendCommand", "cdp.sendCommand"})
CDP_COMMANDS: Mapping[str, object] = {
    "/goog/cdp/execute": {},
    "/chromium/send_command_and_get_result": {},
    "/chromium/send_command": None,
}
"""ChromeDriver's commands that send one command to DevTools, with their value for an empty result."""
_CDP_ERROR = -32000


@dataclass(frozen=True, slots=True)
class EndCommand:
    """A command that ends its session.

    Attributes:
        success: The message that answers it when the session has ended.
        failure: Returns the message that answers it if the session could not be ended, with this reason.
    """

    success: str
    failure: Callable[[str], str]


FindEnd = Callable[[str | bytes], EndCommand | None]
"""Returns a client's message as the command that ends its session; None for any other message."""


def cdp_end(message: str | bytes) -> EndCommand | None:
    """Return a message to DevTools as the command that ends the session; None if it is another one."""
    command = _read(message)
    if command is None or command.get("method") != _BROWSER_CLOSE or not _is_number(command.get("id")):
        return None
    answer = {name: command[name] for name in ("id", "sessionId") if name in command}

    def failure(reason: str) -> str:
        return json.dumps({**answer, "error": {"code": _CDP_ERROR, "message": reason}})

    return EndCommand(json.dumps({**answer, "result": {}}), failure)


def bidi_end(message: str | bytes) -> EndCommand | None:
    """Return a BiDi message as the command that ends the session; None if it is another one.

    ChromeDriver rejects a command without a number as `id` or without an object as `params`.
    """
    command = _read(message)
    if command is None or not _is_number(command.get("id")):
        return None
    method, parameters = command.get("method"), command.get("params")
    if not isinstance(parameters, dict):
        return None
    over_cdp = method in _CDP_OVER_BIDI and parameters.get("method") == _BROWSER_CLOSE
    if method not in _BIDI_ENDS and not over_cdp:
        return None
    number = command["id"]
    result: dict[str, object] = {"result": {}} if over_cdp else {}

    def failure(reason: str) -> str:
        return json.dumps({"type": "error", "id": number, "error": "unknown error", "message": reason})

    return EndCommand(json.dumps({"type": "success", "id": number, "result": result}), failure)


def closes_browser(command: str, body: bytes) -> bool:
    """Return whether a WebDriver command, by its path after the session's id, closes the browser."""
    if command not in CDP_COMMANDS:
        return False
    sent = _read(body)
    return sent is not None and sent.get("cmd") == _BROWSER_CLOSE and isinstance(sent.get("params"), dict)


def _read(message: str | bytes) -> Mapping[str, object] | None:
    if len(message) > MAX_END_COMMAND:
        return None
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        # Chrome or ChromeDriver answers a malformed message.
        return None
    return content if isinstance(content, dict) else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
