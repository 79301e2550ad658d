"""Relay a client's WebSocket to Chrome or ChromeDriver, message by message.

Nothing is read ahead: if one side reads slowly, the other side has to wait, and no message queues up here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from drover.attach.end_commands import EndCommand, FindEnd
from drover.core.errors import DroverError
from drover.core.tasks import end_tasks
from drover.net.asgi import Message, Receive, Send

NORMAL, GOING_AWAY, INTERNAL_ERROR = 1000, 1001, 1011
MAX_REASON_BYTES = 123
# RFC 6455 reserves these codes for local use; they must not be sent in a close frame.
_NEVER_SENT = frozenset({1005, 1006, 1015})


@dataclass(eq=False, repr=False)
class SocketRelay:
    """Relays messages both ways until one side closes, then closes the other side with the same code.

    Args:
        find_end: Finds the command by which the client ends the session.
        end_session: Ends the session; raises a DroverError if that fails.
        has_ended: Returns whether the session has ended or is being closed.
    """

    _find_end: FindEnd
    _end_session: Callable[[], Awaitable[None]]
    _has_ended: Callable[[], bool]

    async def run(self, socket: ClientConnection, receive: Receive, send: Send) -> None:
        """Relay between the browser's side and the client, whose handshake has been accepted."""
        down = asyncio.create_task(_to_client(socket, send))
        up = asyncio.create_task(self._to_browser(socket, receive))
        try:
            await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
            if up.done() and up.exception() is None:
                command = up.result()
                if command is not None:
                    await end_by_command(command, self._end_session, down, send)
                return
            closed = await down
            if closed is not None:
                with suppress(OSError):  # the client has left at the same moment
                    await send(close_message(closed, has_ended=self._has_ended()))
        finally:
            await end_tasks(down, up)
            await socket.close()

    async def _to_browser(self, socket: ClientConnection, receive: Receive) -> EndCommand | None:
        """Relay messages until the client leaves; return the command if it ends the session instead."""
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code", GOING_AWAY)
                await socket.close(GOING_AWAY if code in _NEVER_SENT else code, message.get("reason") or "")
                return None
            text = message.get("text")
            content = message["bytes"] if text is None else text
            command = self._find_end(content)
            if command is not None:
                return command
            await socket.send(content)


async def end_by_command(
    command: EndCommand, end_session: Callable[[], Awaitable[None]], down: asyncio.Task[Any], send: Send
) -> None:
    """End the session, answer the command and close the socket; until then `down` relays answers."""
    try:
        await end_session()
    except DroverError as error:
        answer, code = command.failure(error.message), INTERNAL_ERROR
    else:
        answer, code = command.success, NORMAL
    await end_tasks(down)
    with suppress(OSError):  # the client did not wait for the answer
        await send({"type": "websocket.send", "text": answer})
        await send(close_with(code, ""))


async def _to_client(socket: ClientConnection, send: Send) -> ConnectionClosed | None:
    """Relay messages until the browser's side closes; return its close, or None if the client left first."""
    try:
        while True:
            message = await socket.recv()
            kind = "text" if isinstance(message, str) else "bytes"
            await send({"type": "websocket.send", kind: message})
    except ConnectionClosed as closed:
        return closed
    except OSError:
        return None


def close_message(closed: ConnectionClosed, *, has_ended: bool) -> Message:
    """Return the close message that a client gets when the browser's side has closed."""
    if closed.rcvd is not None and closed.rcvd.code not in _NEVER_SENT:
        code, reason = closed.rcvd.code, closed.rcvd.reason
    elif has_ended:
        code, reason = NORMAL, "The session has ended."
    else:
        code, reason = (
            INTERNAL_ERROR,
            "Chrome closed this connection. Reconnect: a dead session is recovered then.",
        )
    return close_with(code, reason)


def close_with(code: int, reason: str) -> Message:
    """Return a close message; the reason is cut to what a close frame can hold."""
    short = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    return {"type": "websocket.close", "code": code, "reason": short}
