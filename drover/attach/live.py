"""Live view of a session: JPEG frames of the page in the foreground, as a stream that an `<img>` shows.

The frames come from Chrome's screencast over a separate DevTools socket, so no running command is disturbed.
All viewers of a session share one screencast, which runs only while there is a viewer. Viewing does not count
as activity and never triggers recovery; a dead session keeps its last frame until it is recovered.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from drover.api.descriptions import stream
from drover.attach.page_connection import PageFailed, Values, connected
from drover.attach.page_pictures import Pictures
from drover.attach.router import Route
from drover.attach.viewed_session import read_front_page
from drover.browser.devtools import DevTools
from drover.core.errors import SessionNotFound
from drover.core.tasks import end_tasks
from drover.net.asgi import Receive, Scope, Send, caller_left
from drover.sessions.pool.driver_access import DriverAccess

FRAMES_PER_S = 8
PAGE_CHECK_S = 1.0
"""Seconds between checks for another page in the foreground or a replaced browser."""
REPEAT_S = 0.3
"""Seconds without a new frame before the last one is repeated: Chrome shows a frame when the next arrives."""
KEEP_ALIVE_S = 5.0
"""Seconds between later repetitions, without which a viewer that has left would not be noticed."""
BOUNDARY = b"frame"
_HEADERS = [
    (b"content-type", b"multipart/x-mixed-replace; boundary=" + BOUNDARY),
    (b"cache-control", b"no-store"),
]


class Screencast:
    """The screencast of one session; it runs while it has a viewer.

    Args:
        find: Returns the DevTools socket address of the page in the foreground, or None if there is none now.
    """

    def __init__(self, find: Callable[[], asyncio.Future[str | None]]) -> None:
        self._find = find
        self._frame = b""
        self._number = 0
        self._changed = asyncio.Condition()
        self.watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._pictures: Pictures | None = None

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Keep the screencast running while the context is open."""
        self.watchers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            self.watchers -= 1
            if not self.watchers and self._task is not None:
                self._task.cancel()
                self._task = None

    async def next_frame(self, after: int) -> tuple[int, bytes]:
        """Wait for a frame later than number `after`; return the newest one's number and JPEG bytes."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number > after)
            return self._number, self._frame

    async def _follow(self) -> None:
        while True:
            address = await self._find()
            if address is not None:
                # If the page or its browser goes away, the next check finds the new one.
                with suppress(PageFailed):
                    await self._show(address)
            await asyncio.sleep(PAGE_CHECK_S)

    async def _show(self, address: str) -> None:
        async with connected(address, self._handle) as page:
            pictures = self._pictures = Pictures(page, 1 / FRAMES_PER_S)
            # Without this domain Chrome does not report another document.
            await page.post("Page.enable")
            await pictures.start()
            frames = asyncio.create_task(self._take(pictures))
            try:
                while not page.reader.done() and not frames.done() and await self._find() == address:
                    await asyncio.wait({page.reader, frames}, timeout=PAGE_CHECK_S)
            finally:
                await end_tasks(frames)

    def _handle(self, event: str, parameters: Values) -> None:
        if self._pictures is not None and event == "Page.screencastFrame":
            self._pictures.handle(parameters)
        elif self._pictures is not None and event == "Page.frameNavigated":
            self._pictures.expect()

    async def _take(self, pictures: Pictures) -> None:
        while True:
            picture = await pictures.newest()
            async with self._changed:
                self._number, self._frame = self._number + 1, base64.b64decode(picture["data"])
                self._changed.notify_all()


DESCRIPTIONS = (
    stream(
        "/sessions/{session_id}/live",
        "View a session live",
        "JPEG frames of the page in the foreground, as a stream that an `<img>` shows. Viewing does not "
        "count as activity and never triggers recovery.",
        (SessionNotFound,),
        of="Frames",
        media_type="multipart/x-mixed-replace",
    ),
)


class LiveView:
    """Endpoint of the live view.

    Args:
        probe_timeout: Seconds within which Chrome must answer an HTTP request.
    """

    def __init__(
        self, driver_access: DriverAccess, devtools: DevTools, executor: Executor, *, probe_timeout: float
    ) -> None:
        self._driver_access = driver_access
        self._devtools = devtools
        self._executor = executor
        self._probe_timeout = probe_timeout
        self._casts: dict[str, Screencast] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._streams: set[asyncio.Future[None]] = set()

    def close(self) -> None:
        """End every open stream, so that none delays the stop of the service; callable from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and every stream with it
                self._loop.call_soon_threadsafe(self._end_streams)

    def _end_streams(self) -> None:
        for ended in self._streams:
            if not ended.done():
                ended.set_result(None)

    def routes(self) -> list[Route]:
        """Return the route of the live view."""
        return [Route("http", re.compile(r"/sessions/(?P<session_id>[^/]+)/live/?"), self._live)]

    async def _live(self, scope: Scope, receive: Receive, send: Send, session_id: str) -> None:
        self._driver_access.session(session_id)
        cast = self._casts.setdefault(session_id, Screencast(partial(self._foreground_page, session_id)))
        gone: Future[None] = Future()
        watch = asyncio.create_task(caller_left(receive, gone))
        self._loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = self._loop.create_future()
        self._streams.add(ended)
        try:
            async with cast.watched():
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                await self._stream(cast, session_id, (watch, ended), send)
        finally:
            self._streams.discard(ended)
            watch.cancel()
            if not cast.watchers:
                self._casts.pop(session_id, None)

    async def _stream(
        self, cast: Screencast, session_id: str, ends: Sequence[asyncio.Future[None]], send: Send
    ) -> None:
        await send(_part(b"--" + BOUNDARY + b"\r\n"))
        number, frame, timeout = 0, b"", KEEP_ALIVE_S
        while self._driver_access.knows(session_id) and not any(end.done() for end in ends):
            coming = asyncio.create_task(cast.next_frame(number))
            waited: list[asyncio.Future[Any]] = [coming, *ends]
            try:
                await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                is_new = coming.done()
            finally:
                coming.cancel()
            if is_new:
                number, frame = coming.result()
            timeout = REPEAT_S if is_new else KEEP_ALIVE_S
            if frame and not ends[0].done():
                await send(_part(_picture(frame)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _foreground_page(self, session_id: str) -> asyncio.Future[str | None]:
        return asyncio.get_running_loop().run_in_executor(self._executor, self._foreground_socket, session_id)

    def _foreground_socket(self, session_id: str) -> str | None:
        front = read_front_page(self._driver_access, self._devtools, session_id, self._probe_timeout)
        return front.address if front is not None else None


def _picture(frame: bytes) -> bytes:
    """Return a part of the stream; browsers show a picture only once the boundary behind it has arrived."""
    head = b"content-type: image/jpeg\r\ncontent-length: %d\r\n\r\n" % len(frame)
    return head + frame + b"\r\n--" + BOUNDARY + b"\r\n"


def _part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}
