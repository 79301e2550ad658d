"""Mouse, keyboard and navigation of one viewer on one page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from drover.api.view_messages import (
    CopyInput,
    HistoryInput,
    KeyInput,
    MouseInput,
    NavigateInput,
    SelectInput,
    TextInput,
    ViewInput,
)
from drover.attach.page_connection import PageConnection, Values
from drover.attach.page_widgets import Select, choose, find_select, offer_paste, selected_text
from drover.browser.page_input import BUTTON_BITS, key_event, modifier_bits, mouse_event, wheel_event
from drover.core.errors import InvalidRequest

COMMAND_S = 2.0
SETTLE_S = 0.5

Tell = Callable[[str, Mapping[str, object]], Awaitable[None]]


class PageHands:
    """What a viewer does to a page; commands are sent in the order of the calls.

    Args:
        tell: Sends a message of a kind to the viewer.
    """

    def __init__(self, page: PageConnection, tell: Tell) -> None:
        self._page = page
        self._tell = tell
        self._held = 0
        self._keys: dict[str, KeyInput] = {}
        self._select: Select | None = None
        self._swallowed: str | None = None
        self._drag: Values | None = None
        self._dragging = False
        self._chooser: Values | None = None
        self._chooser_told = False
        self._watches_choosers = False

    def handle(self, event: str, parameters: Values) -> None:
        """Take an event of the page into account."""
        if event == "Input.dragIntercepted":
            self._drag = parameters["data"]
        elif event == "Page.fileChooserOpened":
            self._chooser, self._chooser_told = parameters, False

    async def watch_choosers(self, *, wanted: bool) -> None:
        """Show file choosers to the viewer while it is in control; release what it holds afterwards."""
        if wanted != self._watches_choosers:
            self._watches_choosers = wanted
            await self._page.post("Page.setInterceptFileChooserDialog", enabled=wanted)
            if not wanted:
                await self.release()
        if self._chooser is not None and not self._chooser_told:
            self._chooser_told = True
            await self._tell("file_chooser", {"multiple": self._chooser["mode"] == "selectMultiple"})

    async def apply(self, given: ViewInput, *, blocked: bool) -> None:
        """Pass input on to the page.

        Args:
            blocked: Whether a dialog is open, so that the page answers nothing.

        Raises:
            InvalidRequest: It does not fit the page as it is now.
            PageFailed: The page is gone or does not react.
        """
        if isinstance(given, MouseInput):
            await self._mouse(given, blocked=blocked)
        elif isinstance(given, KeyInput):
            await self._key(given)
        elif isinstance(given, TextInput):
            await self._page.settle(SETTLE_S)
            if not (given.pasted and await offer_paste(self._page, given.text)):
                await self._page.post("Input.insertText", text=given.text)
        elif isinstance(given, NavigateInput):
            await self._page.post("Page.navigate", url=given.url)
        elif isinstance(given, HistoryInput):
            await self._go(given.type)
        elif isinstance(given, SelectInput):
            await self._choose(given.index)
        elif isinstance(given, CopyInput):
            await self._page.settle(SETTLE_S)
            await self._tell("copied", {"text": await selected_text(self._page)})

    async def release(self) -> None:
        """Release the keys and buttons that are down, so that none stays down."""
        for held in tuple(self._keys.values()):
            await self._page.post("Input.dispatchKeyEvent", **key_event("up", held.key, held.code, 0))
        self._keys.clear()
        if self._held & BUTTON_BITS["left"]:
            # Otherwise the drags of a script would be intercepted as well.
            await self._page.post("Input.setInterceptDrags", enabled=False)
        self._select = self._swallowed = self._drag = None
        self._dragging = False
        for name, bit in BUTTON_BITS.items():
            if self._held & bit:
                self._held &= ~bit
                up = mouse_event("up", (-1, -1), name, 1, self._held, 0)
                await self._page.post("Input.dispatchMouseEvent", **up)

    async def give_files(self, paths: Sequence[str]) -> None:
        """Hand files to the page that has asked for some; none means that nothing was chosen.

        Raises:
            InvalidRequest: The page has not asked for files.
            PageFailed: The page is gone or does not react.
        """
        if self._chooser is None:
            raise InvalidRequest("The page has not asked for files")
        node, self._chooser = self._chooser["backendNodeId"], None
        if paths:
            await self._page.call("DOM.setFileInputFiles", COMMAND_S, files=list(paths), backendNodeId=node)

    async def _mouse(self, given: MouseInput, *, blocked: bool) -> None:
        at, modifiers = (given.x, given.y), modifier_bits(given.modifiers)
        if given.action == "wheel":
            turned = wheel_event(at, (given.dx, given.dy), self._held, modifiers)
            await self._page.post("Input.dispatchMouseEvent", **turned)
            return
        if given.action == "down" and given.button == "left" and not blocked:
            self._select = await find_select(self._page, at)
            if self._select is not None:
                self._swallowed = given.button
                await self._tell("select", {"x": at[0], "y": at[1], "options": self._select.options})
                return
            # Otherwise a drag would begin that no mouse event of DevTools moves or ends.
            await self._page.post("Input.setInterceptDrags", enabled=True)
        if given.action == "up" and given.button == self._swallowed:
            self._swallowed = None
            return
        bit = BUTTON_BITS[given.button]
        if given.action != "move":
            self._held = self._held | bit if given.action == "down" else self._held & ~bit
        await self._drag_on(given, modifiers)
        event = mouse_event(given.action, at, given.button, given.clicks, self._held, modifiers)
        await self._page.post("Input.dispatchMouseEvent", **event)
        if given.action == "up" and given.button == "left":
            await self._page.post("Input.setInterceptDrags", enabled=False)

    async def _drag_on(self, given: MouseInput, modifiers: int) -> None:
        """Move or end the drag that the page has begun, if any."""
        if self._drag is None:
            return
        drag = {"x": given.x, "y": given.y, "data": self._drag, "modifiers": modifiers}
        if not self._dragging:
            self._dragging = True
            await self._page.post("Input.dispatchDragEvent", type="dragEnter", **drag)
        await self._page.post("Input.dispatchDragEvent", type="dragOver", **drag)
        if given.action == "up":
            self._drag, self._dragging = None, False
            await self._page.post("Input.dispatchDragEvent", type="drop", **drag)

    async def _key(self, given: KeyInput) -> None:
        name = given.code or given.key
        down = given.action == "down"
        event = key_event(
            given.action,
            given.key,
            given.code,
            modifier_bits(given.modifiers),
            repeated=down and name in self._keys,
        )
        if down:
            self._keys[name] = given
        else:
            self._keys.pop(name, None)
        await self._page.post("Input.dispatchKeyEvent", **event)

    async def _go(self, where: str) -> None:
        if where == "reload":
            await self._page.post("Page.reload")
            return
        history = await self._page.call("Page.getNavigationHistory", COMMAND_S)
        wanted = history["currentIndex"] + (-1 if where == "back" else 1)
        if not 0 <= wanted < len(history["entries"]):
            raise InvalidRequest(f"There is no page to go {where} to")
        await self._page.post("Page.navigateToHistoryEntry", entryId=history["entries"][wanted]["id"])

    async def _choose(self, index: int | None) -> None:
        select, self._select = self._select, None
        if select is None:
            raise InvalidRequest("No list of options is open")
        if index is not None and not await choose(self._page, select, index):
            raise InvalidRequest(f"Option {index} cannot be chosen")
