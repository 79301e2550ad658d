"""Chrome's own DevTools, beside ChromeDriver: for what must not disturb a running command."""

from __future__ import annotations

import base64
import binascii
import json

from websocket import WebSocket, WebSocketException, create_connection

from browser.health import page_target, probe
from deadline import Deadline
from errors import BrowserUnavailable

SCREENSHOT_S = 10.0


def screenshot(debugger_address: str, deadline: Deadline) -> bytes:
    """Draw the page in front as PNG, through a DevTools connection of its own.

    ChromeDriver's screenshot command would queue behind a page that loads, and would close an
    alert that is open.

    Raises:
        BrowserUnavailable: The page does not draw itself: it hangs, or a dialog is open.
    """
    allowed = deadline.within(SCREENSHOT_S)
    target = page_target(probe(f"http://{debugger_address}", "/json/list", allowed.remaining()))
    if target is None:
        raise BrowserUnavailable("The browser has no page open; open one, then ask again")
    try:
        # Chrome takes a DevTools connection without an `Origin`, and refuses one with a foreign one.
        connection = create_connection(
            f"ws://{debugger_address}/devtools/page/{target}",
            timeout=allowed.remaining(),
            suppress_origin=True,
        )
        try:
            return base64.b64decode(_capture(connection, allowed), validate=True)
        finally:
            connection.close(timeout=0)
    except (WebSocketException, OSError, ValueError, KeyError, binascii.Error) as error:
        raise BrowserUnavailable(
            f"The page could not be drawn ({str(error) or type(error).__name__}): it is busy, or shows a "
            "dialog; close the dialog or ask again later"
        ) from error


def _capture(connection: WebSocket, allowed: Deadline) -> str:
    connection.send(json.dumps({"id": 1, "method": "Page.captureScreenshot", "params": {"format": "png"}}))
    while True:
        connection.settimeout(max(0.001, allowed.remaining()))
        message = json.loads(connection.recv())
        if message.get("id") == 1:
            return str(message["result"]["data"])
