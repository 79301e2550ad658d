"""What Chrome shows outside of the page, so that no picture has it: the list of a `<select>`.

A press on a `<select>` is not passed on. The viewer gets its options and chooses one instead. Everything is
read without a script of the page, except for the one element.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from drover.attach.page_connection import PageConnection, PageFailed

HIT_S = 2.0
"""How long a press may wait for a busy page; it is passed on then."""
ACT_S = 2.0
_LIST = """
function () {
  if (this.multiple || this.size > 1 || this.matches(":disabled")) return null;
  this.focus();
  return Array.from(this.options).slice(0, 2000).map((option) => ({
    text: option.label.slice(0, 300),
    group: option.closest("optgroup")?.label.slice(0, 300) ?? "",
    disabled: option.matches(":disabled"),
    selected: option.selected,
  }));
}
"""
_CHOOSE = """
function (index) {
  const option = this.options[index];
  if (!option || option.matches(":disabled")) return false;
  if (this.selectedIndex === index) return true;
  this.selectedIndex = index;
  this.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
  this.dispatchEvent(new Event("change", { bubbles: true }));
  return true;
}
"""
_PASTE = """
function (text) {
  let focused = document.activeElement;
  while (focused?.shadowRoot?.activeElement || focused?.contentDocument?.activeElement) {
    focused = focused.shadowRoot?.activeElement ?? focused.contentDocument.activeElement;
  }
  if (!focused) return false;
  const view = focused.ownerDocument.defaultView;
  const clipboardData = new view.DataTransfer();
  clipboardData.setData("text/plain", text);
  const options = { bubbles: true, cancelable: true, composed: true, clipboardData };
  return !focused.dispatchEvent(new view.ClipboardEvent("paste", options));
}
"""
_SELECTED_TEXT = """
(() => {
  let inside = document;
  for (;;) {
    const focused = inside.activeElement;
    const inner = focused?.shadowRoot ?? focused?.contentDocument;
    if (!inner) {
      if (focused?.matches?.("input[type=password]")) return "";
      const field = focused?.matches?.("textarea, input") ? focused : null;
      const from = field?.selectionStart ?? 0, to = field?.selectionEnd ?? 0;
      const root = inside.ownerDocument ?? inside;
      const text = to > from ? field.value.slice(from, to) : root.defaultView.getSelection().toString();
      return text.slice(0, 1048576);
    }
    inside = inner;
  }
})()
"""


@dataclass(frozen=True, slots=True)
class Select:
    """A `<select>` of a page: Chrome's id of it, and its options as a viewer gets them."""

    object_id: str
    options: list[Mapping[str, Any]]


async def find_select(page: PageConnection, at: tuple[float, float]) -> Select | None:
    """Return the `<select>` with a list at a place of the window (CSS pixels), and focus it."""
    with suppress(PageFailed):  # it is busy, or has no element there
        # Chrome takes a place of the document. How far that is scrolled, no picture says in time.
        seen = (await page.call("Page.getLayoutMetrics", HIT_S))["cssVisualViewport"]
        x, y = int(at[0] + seen["pageX"]), int(at[1] + seen["pageY"])
        hit = await page.call("DOM.getNodeForLocation", HIT_S, x=x, y=y)
        described = await page.call("DOM.describeNode", HIT_S, backendNodeId=hit["backendNodeId"])
        if described["node"]["nodeName"] != "SELECT":
            return None
        found = await page.call("DOM.resolveNode", HIT_S, backendNodeId=hit["backendNodeId"])
        object_id = str(found["object"]["objectId"])
        options = await _call_function(page, object_id, _LIST)
        return None if options is None else Select(object_id, options)
    return None


async def choose(page: PageConnection, select: Select, index: int) -> bool:
    """Choose an option, as if by hand; return whether there is one that can be chosen.

    Raises:
        PageFailed: The element is gone, or the page is busy.
    """
    return bool(await _call_function(page, select.object_id, _CHOOSE, index))


async def selected_text(page: PageConnection) -> str:
    """Return the text that is selected in the focused frame or field; never that of a password.

    Raises:
        PageFailed: The page is busy.
    """
    answer = await page.call("Runtime.evaluate", ACT_S, expression=_SELECTED_TEXT, returnByValue=True)
    return str(answer["result"].get("value", ""))


async def offer_paste(page: PageConnection, text: str) -> bool:
    """Send a `paste` event to the focused element; return whether the page has handled it.

    Pages that ask for a code in one field per digit distribute a pasted code that way.
    """
    with suppress(PageFailed):
        answer = await page.call("Runtime.evaluate", ACT_S, expression="globalThis")
        return bool(await _call_function(page, answer["result"]["objectId"], _PASTE, text))
    return False


async def _call_function(page: PageConnection, object_id: str, function: str, *given: object) -> Any:  # noqa: ANN401
    answer = await page.call(
        "Runtime.callFunctionOn",
        ACT_S,
        objectId=object_id,
        functionDeclaration=function,
        arguments=[{"value": one} for one in given],
        returnByValue=True,
        userGesture=True,
    )
    return answer["result"].get("value")
