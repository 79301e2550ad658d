"""Navigation of a page over DevTools, until the page is where it was sent."""

from __future__ import annotations

import time

from drover.browser.devtools_connection import Connection, DevToolsFailed, DevToolsRefused

COMMIT_S = 2.0
POLL_S = 0.005


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
        time.sleep(POLL_S)


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
