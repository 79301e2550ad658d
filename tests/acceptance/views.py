"""A client of `/sessions/{id}/view`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

from websockets.sync.client import ClientConnection, connect

from tests.acceptance.service import Json, Service
from tests.machine import PATIENCE

ANSWER_S: Final = 60.0 * PATIENCE


class View:
    """One view of a session; messages are kept until a test has taken them."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.told: list[Json] = []
        self.pictures: list[bytes] = []

    def send(self, kind: str, /, **content: object) -> None:
        """Send a message."""
        self._socket.send(json.dumps({"type": kind, **content}))

    def wait_for(self, kind: str, /, **content: object) -> Json:
        """Return the next message of a kind with this content; those before it are dropped."""
        end = time.monotonic() + ANSWER_S
        dropped: list[Json] = []
        while True:
            while self.told:
                message = self.told.pop(0)
                if message["type"] == kind and content.items() <= message.items():
                    return message
                dropped.append(message)
            came = self._read(end - time.monotonic())
            assert came, f"no message {kind} {content} came in time, but {dropped[-20:]}"

    def wait_for_picture(self) -> bytes:
        """Return the newest picture that was not taken yet, or the next one that arrives."""
        picture = self.next_picture(ANSWER_S)
        assert picture is not None, "a picture did not come in time"
        return picture

    def next_picture(self, seconds: float) -> bytes | None:
        """Return a picture as `wait_for_picture` does; None if none comes in time."""
        end = time.monotonic() + seconds
        while not self.pictures:
            if not self._read(end - time.monotonic()):
                return None
        newest = self.pictures[-1]
        self.pictures.clear()
        return newest

    def click(self, x: float, y: float, clicks: int = 1) -> None:
        """Press and release the left button."""
        for action in ("down", "up"):
            self.send("mouse", action=action, x=x, y=y, button="left", clicks=clicks)

    def press(self, key: str, code: str = "", *modifiers: str) -> None:
        """Press and release a key."""
        for action in ("down", "up"):
            self.send("key", action=action, key=key, code=code, modifiers=list(modifiers))

    def read_to_the_end(self) -> None:
        """Read until the service closes the socket."""
        for _ in self._socket:
            pass

    def _read(self, seconds: float) -> bool:
        """Read one message; return whether one came in time."""
        try:
            message = self._socket.recv(timeout=max(0.0, seconds))
        except TimeoutError:
            return False
        if isinstance(message, bytes):
            assert message.startswith(b"\xff\xd8\xff"), "a picture is JPEG"
            self.pictures.append(message)
        else:
            self.told.append(json.loads(message))
        return True


@contextlib.contextmanager
def viewing(service: Service, session_id: str, **parameters: object) -> Iterator[View]:
    """Open a view of a session."""
    address = f"ws://127.0.0.1:{service.port}/sessions/{session_id}/view?{urlencode(parameters)}"
    with connect(address, proxy=None, max_size=None, compression=None, ping_interval=None) as socket:
        yield View(socket)
