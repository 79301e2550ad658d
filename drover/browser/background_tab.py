"""Visits of a page in a temporary background tab."""

from __future__ import annotations

import time

from drover.browser.devtools_connection import Connection, DevToolsFailed

COMMAND_S = 3.0
POLL_S = 0.2
ABOUT_BLANK = "about:blank"


def visit(connection: Connection, url: str, timeout: float) -> None:
    """Load a page in a background tab, wait until it has loaded or `timeout` seconds are over, and close it.

    Raises:
        DevToolsFailed: The browser does not answer, or could not load the page.
    """
    opened = connection.call("Target.createTarget", COMMAND_S, url=ABOUT_BLANK, background=True)
    target_id = str(opened["targetId"])
    try:
        answer = connection.call_page(target_id, "Page.navigate", timeout, url=url)
        if "errorText" in answer:
            raise DevToolsFailed(f"{url} could not be loaded: {answer['errorText']}")
        _await_load(connection, target_id, timeout)
    finally:
        connection.call("Target.closeTarget", COMMAND_S, targetId=target_id)


def _await_load(connection: Connection, target_id: str, timeout: float) -> None:
    over = time.monotonic() + timeout
    while time.monotonic() < over:
        state = connection.call_page(
            target_id, "Runtime.evaluate", COMMAND_S, expression="document.readyState", returnByValue=True
        )
        if state["result"].get("value") == "complete":
            return
        time.sleep(POLL_S)
