"""Records what a client has set in ChromeDriver, from the commands that pass."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus

from drover.attach import w3c
from drover.browser.driver_settings import is_setting
from drover.browser.driver_state import (
    CDP_PATHS,
    CHOOSES_WINDOW,
    FIND_ROOT,
    SETS_TIMEOUTS,
    after,
    frame_of,
    is_noted,
)
from drover.core.errors import InvalidRequest
from drover.net.asgi import Response
from drover.sessions.pool.driver_access import DriverAccess

Ask = Callable[[str, str, bytes], Awaitable[Response]]
"""Sends another command to the session's ChromeDriver: method, path and body."""


async def note(
    access: DriverAccess, session_id: str, command: tuple[str, str, bytes], answer: Response, ask: Ask
) -> None:
    """Record what a command has set that has succeeded.

    The current tab and frame are not known from the commands: ChromeDriver is asked where it matters.

    Args:
        command: Its method, path after the session's id, and body.
    """
    method, path, body = command
    session = access.session(session_id)
    if not is_noted(method, path, session.driver_state):
        if session.window is None and session.running is not None and session.running.window is not None:
            # The client has never switched. If its page opens a popup, that one will be in front.
            access.client_changed_driver(session_id, session.driver_state, session.running.window)
        return
    content = _content(body)
    if (method, path) == SETS_TIMEOUTS:
        access.client_set_timeouts(session_id, content)
        return
    window = session.window
    if (method, path) == CHOOSES_WINDOW:
        handle = content.get("handle")
        window = handle if isinstance(handle, str) else window
    if path in CDP_PATHS or path == "/frame" or is_setting(path):
        current = value_of(await ask("GET", "/window", b""))
        window = current if isinstance(current, str) else window
    state = after(session.driver_state, method, path, content, value_of(answer), window)
    if state.frame:
        root = value_of(await ask("POST", "/element", json.dumps(FIND_ROOT).encode()))
        state = replace(state, frame_id=frame_of(root))
    if (state, window) != (session.driver_state, session.window):
        access.client_changed_driver(session_id, state, window)


def value_of(answer: Response) -> object:
    """Return the value of ChromeDriver's answer; None if the command failed, or the answer has none."""
    return _content(answer.body).get("value") if answer.status == HTTPStatus.OK else None


def _content(body: bytes) -> Mapping[str, object]:
    try:
        return w3c.read_object(body)
    except InvalidRequest:
        # ChromeDriver has accepted it, such as the empty body of some commands.
        return {}
