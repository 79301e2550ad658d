"""One client of `/sessions/{id}/view`: it gets pictures and what changes, and sends input."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from contextlib import suppress

from drover.api.view_messages import ControlInput, DialogInput, FilesInput, ViewInput, read_view_input
from drover.attach.page_connection import PageFailed, Values, connected
from drover.attach.page_hands import PageHands
from drover.attach.page_pictures import Pictures
from drover.attach.socket_relay import NORMAL, close_with
from drover.attach.view_control import Control, Viewer
from drover.attach.viewed_session import FrontPage, ViewedSession
from drover.core.errors import BrowserUnavailable, DroverError, InvalidRequest
from drover.core.tasks import end_tasks, is_set_within
from drover.net.asgi import Message, Receive, Send

FRAME_S = 1 / 20
"""The shortest time between two pictures."""
LOOK_S = 0.1
"""Seconds between looks for a dialog, another viewer in control, or the end of the session."""
PAGE_CHECK_S = 1.0
"""Seconds between checks for another page in front, or a replaced browser."""
RECOVERY_PAUSE_S = 2.0
_NAVIGATION = frozenset({"Page.frameNavigated", "Page.navigatedWithinDocument", "Page.loadEventFired"})


class ViewClient:
    """The conversation with one client.

    Args:
        view_only: Whether input is refused.
    """

    def __init__(
        self, session: ViewedSession, control: Control, viewer: Viewer, send: Send, *, view_only: bool
    ) -> None:
        self._session = session
        self._control = control
        self._viewer = viewer
        self._send = send
        self._view_only = view_only
        self._sending = asyncio.Lock()
        self._told: dict[str, Mapping[str, object]] = {}
        self._front: FrontPage | None = None
        self._size: tuple[float, float] | None = None
        self._hands: PageHands | None = None
        self._pictures: Pictures | None = None
        self._changed = asyncio.Event()

    async def run(self, receive: Receive) -> None:
        """Serve the client, whose handshake has been accepted, until it leaves or the session ends."""
        tasks = [
            asyncio.create_task(work)
            for work in (self._take_input(receive), self._follow(), self._look(), self._recover())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with suppress(OSError):  # the client has left
                    task.result()
        finally:
            await end_tasks(*tasks)
            self._control.leave(self._viewer)

    @property
    def _in_control(self) -> bool:
        return self._control.holder() is self._viewer

    # What the client gets

    async def _look(self) -> None:
        """Send the client what has changed, until the session has ended."""
        while not self._session.has_ended:
            await self._tell_changes()
            await asyncio.sleep(LOOK_S)
        await self._put(close_with(NORMAL, "The session has ended."))

    async def _tell_changes(self) -> None:
        front, holder = self._front, self._control.holder()
        if self._hands is not None:
            with suppress(PageFailed):  # the next check finds out whether it is gone
                await self._hands.watch_choosers(wanted=holder is self._viewer)
        await self._tell_new("stream", {"live": self._hands is not None})
        if front is not None and self._size is not None:
            width, height = self._size
            page = {"url": front.url, "title": front.title, "width": width, "height": height}
            await self._tell_new("page", page)
        dialog = self._session.dialog(front) if front is not None else None
        if dialog is not None:
            said = {"kind": dialog.kind, "message": dialog.message, "default": dialog.default_prompt}
            await self._tell_new("dialog", said)
        elif self._told.pop("dialog", None) is not None:
            await self._tell("dialog_closed", {})
        by = None if holder is None else holder.name
        await self._tell_new("control", {"you": holder is self._viewer, "by": by})

    async def _tell_new(self, kind: str, content: Mapping[str, object]) -> None:
        if self._told.get(kind) != content:
            self._told[kind] = content
            await self._tell(kind, content)

    async def _tell(self, kind: str, content: Mapping[str, object]) -> None:
        # ASCII: a text of a page may have half of a surrogate pair, which UTF-8 cannot hold.
        await self._put({"type": "websocket.send", "text": json.dumps({"type": kind, **content})})

    async def _tell_failure(self, error: DroverError) -> None:
        await self._tell("error", {"code": error.code, "error": error.message})

    async def _put(self, message: Message) -> None:
        async with self._sending:
            await self._send(message)

    # The page in front

    async def _follow(self) -> None:
        while True:
            self._front = await self._session.front_page()
            if self._front is not None:
                # If the page or its browser goes away, the next check finds the new one.
                with suppress(PageFailed):
                    await self._show(self._front)
            await asyncio.sleep(PAGE_CHECK_S / 4)

    async def _show(self, shown: FrontPage) -> None:
        """Show a page until it is gone, or another one is in front."""
        async with connected(shown.address, self._handle) as page:
            await page.post("Page.enable")
            pictures = self._pictures = Pictures(page, FRAME_S)
            await pictures.start()
            hands = self._hands = PageHands(page, self._tell)
            await self._tell_changes()
            frames = asyncio.create_task(self._send_pictures(pictures))
            ends = (page.reader, frames)
            for end in ends:
                end.add_done_callback(lambda _: self._changed.set())
            try:
                while self._front is not None and self._front.address == shown.address:
                    self._changed.clear()
                    for end in ends:
                        if end.done():
                            end.result()
                            return
                    await is_set_within(self._changed, PAGE_CHECK_S)
                    self._front = await self._session.front_page()
            finally:
                self._hands = self._pictures = None
                await end_tasks(frames)
                with suppress(PageFailed):
                    await hands.release()

    def _handle(self, event: str, parameters: Values) -> None:
        if event in _NAVIGATION:
            self._changed.set()
        if event == "Page.screencastFrame" and self._pictures is not None:
            self._pictures.handle(parameters)
        elif event == "Page.frameNavigated" and self._pictures is not None:
            self._pictures.expect()
        elif self._hands is not None:
            self._hands.handle(event, parameters)

    async def _send_pictures(self, pictures: Pictures) -> None:
        while True:
            picture = await pictures.newest()
            seen = picture["metadata"]
            self._size = seen["deviceWidth"], seen["deviceHeight"]
            if "page" not in self._told:
                await self._tell_changes()
            await self._put({"type": "websocket.send", "bytes": base64.b64decode(picture["data"])})

    async def _recover(self) -> None:
        """Recover the session when it dies under the hands of this client; a mere viewer changes nothing."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._in_control and not self._session.seems_well and not self._session.has_ended:
                try:
                    await self._session.recover()
                except DroverError as error:
                    await self._tell_failure(error)
                await asyncio.sleep(RECOVERY_PAUSE_S)

    # What the client sends

    async def _take_input(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                await self._apply(read_view_input(message.get("text")))
            except DroverError as error:
                await self._tell_failure(error)
            except PageFailed as error:
                await self._tell_failure(BrowserUnavailable(f"Input was not passed on: {error}"))

    async def _apply(self, given: ViewInput) -> None:
        if self._view_only:
            raise InvalidRequest("This view takes no input: it was opened with view_only=1")
        if isinstance(given, ControlInput):
            await self._change_control(take=given.take)
            return
        before = self._in_control
        self._control.note_input(self._viewer)
        if not before:
            await self._tell_changes()
        front, hands = self._front, self._hands
        if front is None or hands is None:
            raise BrowserUnavailable("No page can be reached now; the session is being checked. Retry soon.")
        dialog = self._session.dialog(front)
        if isinstance(given, DialogInput):
            if dialog is None:
                raise InvalidRequest("No dialog is open in this page")
            text = dialog.default_prompt if given.text is None else given.text
            await self._session.answer_dialog(front, accept=given.accept, text=text)
        elif isinstance(given, FilesInput):
            await hands.give_files(await self._session.store(given.files))
        else:
            await hands.apply(given, blocked=dialog is not None)

    async def _change_control(self, *, take: bool) -> None:
        if take:
            self._control.take(self._viewer)
        else:
            self._control.leave(self._viewer)
        await self._tell_changes()
