"""Screenshot of the page in front, over DevTools.

ChromeDriver's own screenshot command would wait for a page that is loading, and close an open alert.
"""

from __future__ import annotations

import base64

from drover.browser import health
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable


def capture_front_page(devtools: DevTools, running: RunningBrowser, deadline: Deadline) -> bytes:
    """Return the page in front as PNG.

    Raises:
        BrowserUnavailable: No page is open, or it does not render in time.
    """
    in_front = health.pages(running, deadline.remaining())
    if not in_front:
        raise BrowserUnavailable("The browser has no page open; open one, then retry")
    try:
        capture = devtools.of(running).call_page(
            in_front[0].target_id, "Page.captureScreenshot", deadline.remaining(), format="png"
        )
    except DevToolsFailed as error:
        raise BrowserUnavailable(
            f"The page could not be captured ({error}): it is busy or shows a dialog. "
            "Close the dialog, or retry later."
        ) from error
    return base64.b64decode(capture["data"])
