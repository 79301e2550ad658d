"""WebDriver clients: Selenium's own driver object, and a raw socket for irregular clients."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

from selenium.webdriver import ChromeOptions
from selenium.webdriver.common.options import BaseOptions
from selenium.webdriver.remote.webdriver import WebDriver

from tests.acceptance.service import Service

TIMEOUT_S: Final = 60.0


class Attached(WebDriver):
    """Selenium's driver object for an existing session."""

    def __init__(self, url: str, session_id: str) -> None:
        self._attach_to = session_id
        super().__init__(url, options=ChromeOptions())

    def start_session(self, capabilities: dict[str, Any]) -> None:
        """Use the session as it is."""
        self.session_id, self.caps = self._attach_to, capabilities


def remote_end(service: Service) -> str:
    """Return the URL for a WebDriver client."""
    return f"http://localhost:{service.port}/wd/hub"


def chrome_options(**drover: object) -> ChromeOptions:
    """Return options for Chrome; keyword arguments become `drover:options`."""
    options = ChromeOptions()
    if drover:
        options.set_capability("drover:options", drover)
    return options


@contextlib.contextmanager
def new_session(
    service: Service, options: BaseOptions | list[BaseOptions] | None = None, **drover: object
) -> Iterator[WebDriver]:
    """Open a session as a Selenium program does, and close its connections at the end."""
    driver = WebDriver(remote_end(service), options=options or chrome_options(**drover))
    try:
        yield driver
    finally:
        driver.command_executor.close()  # type: ignore[union-attr]


@contextlib.contextmanager
def attached(service: Service, session_id: str) -> Iterator[WebDriver]:
    """Drive a session that was created over REST."""
    driver = Attached(remote_end(service), session_id)
    try:
        yield driver
    finally:
        driver.command_executor.close()  # type: ignore[union-attr]


class RawCommand:
    """One request on its own connection, sent and awaited in separate steps.

    If it has a body, the service has received the head once this object exists, so that what `send` sends
    arrives before everything sent by commands created later.
    """

    def __init__(
        self, service: Service, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> None:
        self._rest = b"\r\n" if body is None else json.dumps(body).encode()
        self._socket = socket.create_connection(("127.0.0.1", service.port), TIMEOUT_S)
        self._file = self._socket.makefile("rb")
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost:{service.port}\r\n"
        if body is None:
            self._socket.sendall(head.encode())
            return
        length = f"Content-Type: application/json\r\nContent-Length: {len(self._rest)}\r\n"
        self._socket.sendall(f"{head}{length}Expect: 100-continue\r\n\r\n".encode())
        went_on = self._file.readline()
        assert went_on.startswith(b"HTTP/1.1 100"), went_on
        self._file.readline()

    def send(self) -> RawCommand:
        """Send the rest."""
        self._socket.sendall(self._rest)
        return self

    def answer(self) -> tuple[int, Any]:
        """Wait for the answer; return the status and `value`."""
        status = int(self._file.readline().split()[1])
        length = 0
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        value = json.loads(self._file.read(length))["value"]
        self.hang_up()
        return status, value

    def hang_up(self) -> None:
        """Close the connection without waiting for anything."""
        self._file.close()
        self._socket.close()
