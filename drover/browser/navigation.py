"""Navigation over DevTools, until the page is where it was sent, and visits in a temporary background tab."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from drover.browser.devtools_connection import Connection, DevToolsFailed, DevToolsRefused
from drover.browser.page_targets import OWN_PAGE

COMMIT_S = 2.0
COMMIT_POLL_S = 0.005
COMMAND_S = 3.0
LOAD_POLL_S = 0.2
CLOSE_S = 5.0
CLOSE_AGAIN_S = 0.6
"""Longer than Chrome waits for what a page does when it is closed, which is half a second."""
CLOSE_POLL_S = 0.02
ABOUT_BLANK = "about:blank"


def open_page(connection: Connection, target_id: str, url: str, timeout: float) -> None:
    """Navigate a page, and wait until its new document has replaced the old one.

    Chrome answers `Page.navigate` before that, as soon as the site has answered (seen with Chrome 150). Until
    then `/json/list` names no address for the page, and Chrome refuses commands on its history.

    Raises:
        DevToolsFailed: The site did not answer within `timeout` seconds, or the page is gone.
    """
    answer = connection.call_page(target_id, "Page.navigate", timeout, url=url)
    # A navigation within the document, or one that becomes a download, has no new document.
    loader = answer.get("loaderId")
    over = time.monotonic() + COMMIT_S
    while loader is not None and not _shows(connection, target_id, loader):
        if time.monotonic() > over:
            raise DevToolsFailed(f"{url} has answered, but its page did not open within {COMMIT_S:g} s")
        time.sleep(COMMIT_POLL_S)


@contextmanager
def background_page(connection: Connection, url: str = ABOUT_BLANK) -> Iterator[str]:
    """Yield the target id of a new tab in the background, which is closed after the `with` block.

    It may show only pages that do not navigate by themselves: see `visit`.

    Raises:
        DevToolsFailed: The browser does not answer.
    """
    target_id = _open_in_background(connection, url)
    try:
        yield target_id
    finally:
        connection.call("Target.closeTarget", COMMAND_S, targetId=target_id)


def visit(connection: Connection, url: str, timeout: float, *, hidden: bool) -> None:
    """Load a page in a background tab, wait until it has loaded or `timeout` seconds are over, and close it.

    A hidden tab is no page, opens no popups, and ends with this connection (measured with Chrome 156; Chrome
    before 136 ignores `hidden`). With a ChromeDriver that has BiDi it hangs at its first change of the
    renderer, because ChromeDriver releases only pages. One that is not hidden is first in `/json/list`, and
    the popups that it opens get in front: they are none of the session's pages, and are closed with it.

    Raises:
        DevToolsFailed: The browser does not answer, could not load the page, or did not close it.
    """
    target_id = _open_in_background(connection, OWN_PAGE, hidden=hidden)
    try:
        connection.leave_out(target_id)
        answer = connection.call_page(target_id, "Page.navigate", timeout, url=url)
        if "errorText" in answer:
            raise DevToolsFailed(f"{url} could not be loaded: {answer['errorText']}")
        _await_load(connection, target_id, timeout)
    finally:
        end_visits(connection)


def end_visits(connection: Connection) -> None:
    """Close the pages of visits and their popups; a visit in progress fails.

    Raises:
        DevToolsFailed: The browser does not answer, or did not close one.
    """
    for target_id in connection.own_pages:
        close_page(connection, target_id)


def _open_in_background(connection: Connection, url: str, **options: object) -> str:
    opened = connection.call("Target.createTarget", COMMAND_S, url=url, background=True, **options)
    return str(opened["targetId"])


def close_page(connection: Connection, target_id: str) -> None:
    """Close a page, and wait until it is gone.

    Chrome loses a close that is asked for while the page's next document replaces the present one: it answers
    `success`, and the page stays (measured with Chrome 156).

    Raises:
        DevToolsFailed: The browser does not answer, or did not close it.
    """
    over = time.monotonic() + CLOSE_S
    again = 0.0
    with suppress(DevToolsRefused):  # Chrome knows no such target: it is closed.
        while (now := time.monotonic()) < over:
            if now >= again:
                connection.call("Target.closeTarget", COMMAND_S, targetId=target_id)
                again = now + CLOSE_AGAIN_S
            connection.call("Target.getTargetInfo", COMMAND_S, targetId=target_id)
            time.sleep(CLOSE_POLL_S)
        raise DevToolsFailed(f"A page that was opened in the background did not close within {CLOSE_S:g} s")


def _shows(connection: Connection, target_id: str, loader: str) -> bool:
    tree = connection.call_page(target_id, "Page.getFrameTree", COMMIT_S)
    if tree["frameTree"]["frame"]["loaderId"] != loader:
        return False
    try:
        connection.call_page(target_id, "Page.getNavigationHistory", COMMIT_S)
    except DevToolsRefused:
        # The page's process shows the document, but the browser's has not been told of it.
        return False
    return True


def _await_load(connection: Connection, target_id: str, timeout: float) -> None:
    over = time.monotonic() + timeout
    while time.monotonic() < over:
        state = connection.call_page(
            target_id, "Runtime.evaluate", COMMAND_S, expression="document.readyState", returnByValue=True
        )
        if state["result"].get("value") == "complete":
            return
        time.sleep(LOAD_POLL_S)
