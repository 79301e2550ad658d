"""The pictures of a page, from Chrome's screencast.

Chrome sends a picture when something has changed, and at most three that were not acknowledged. What changes
after the third is not shown until something else changes. And it sends none if it changes the renderer while
the screencast starts. A new start brings the page as it is now.
"""

from __future__ import annotations

import asyncio
import time

from drover.attach.page_connection import PageConnection, Values
from drover.core.tasks import is_set_within

FORMAT = {"format": "jpeg", "quality": 75, "maxWidth": 1920, "maxHeight": 1440}
MOST_IN_FLIGHT = 3
REFRESH_S = 0.15
"""How long to wait for a picture after some may have been left out."""
START_S = 1.0
"""How long to wait for the first picture of a start or of a new document."""


class Pictures:
    """The pictures of one page; used on one event loop.

    Args:
        pause_s: The shortest time between two pictures, in seconds.
    """

    def __init__(self, page: PageConnection, pause_s: float) -> None:
        self._page = page
        self._pause_s = pause_s
        self._waiting: list[Values] = []
        self._taken: list[Values] = []
        self._taken_at = 0.0
        self._in_flight = 0
        self._incomplete = False
        self._expected = False
        self._woken = asyncio.Event()

    def handle(self, frame: Values) -> None:
        """Take the parameters of `Page.screencastFrame`."""
        self._waiting.append(frame)
        self._in_flight += 1
        self._incomplete = self._in_flight >= MOST_IN_FLIGHT
        self._expected = False
        self._woken.set()

    def expect(self) -> None:
        """Expect a picture soon, because the page has another document."""
        self._expected = True
        self._woken.set()

    async def start(self) -> None:
        """Have Chrome send pictures, beginning with the page as it is now.

        Raises:
            PageFailed: The page is gone or does not react.
        """
        self._in_flight, self._incomplete, self._expected = 0, False, True
        await self._page.post("Page.startScreencast", **FORMAT)

    async def newest(self) -> Values:
        """Wait for a picture that is newer than the last one returned; return it as Chrome has sent it.

        Raises:
            PageFailed: The page is gone or does not react.
        """
        await self._acknowledge()
        while not self._waiting:
            self._woken.clear()
            limit = REFRESH_S if self._incomplete else START_S if self._expected else None
            if not await is_set_within(self._woken, limit):
                await self._page.post("Page.stopScreencast")
                await self.start()
        self._taken, self._waiting = self._waiting, []
        self._taken_at = time.monotonic()
        return self._taken[-1]

    async def _acknowledge(self) -> None:
        """Let Chrome send more, once the pause after the last picture is over."""
        if not self._taken:
            return
        await asyncio.sleep(max(0.0, self._taken_at + self._pause_s - time.monotonic()))
        taken, self._taken = self._taken, []
        self._in_flight = max(0, self._in_flight - len(taken))
        for frame in taken:
            await self._page.post("Page.screencastFrameAck", sessionId=frame["sessionId"])
