"""A picture of the page in front, drawn beside ChromeDriver.

ChromeDriver's own screenshot command would queue behind a page that loads, and close an open alert.
"""

from __future__ import annotations

import base64

from drover.browser import health
from drover.browser.devtools import DevTools, DevToolsFailed
from drover.browser.running_browser import RunningBrowser
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable


def capture_front_page(devtools: DevTools, running: RunningBrowser, deadline: Deadline) -> bytes:
    """Give the page in front as PNG, as it is.

    Raises:
        BrowserUnavailable: There is none, or it does not draw itself in time.
    """
    in_front = health.pages(running, deadline.remaining())
    if not in_front:
        raise BrowserUnavailable("The browser has no page open; open one, then ask again")
    try:
        drawn = devtools.of(running).call_page(
            in_front[0].target_id, "Page.captureScreenshot", deadline.remaining(), format="png"
        )
    except DevToolsFailed as error:
        raise BrowserUnavailable(
            f"The page could not be drawn ({error}): it is busy, or shows a dialog; "
            "close the dialog or ask again later"
        ) from error
    return base64.b64decode(drawn["data"])
