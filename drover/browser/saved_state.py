"""The part of a browser's state that can be restored into a new one: cookies, storage, address, window.

Captured and restored over DevTools, independent of ChromeDriver: a page that is busy or shows a dialog
is skipped, and keeps what was captured from it before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from drover.browser.devtools_connection import Connection, DevToolsFailed, DevToolsRefused

PAGE_S = 0.5
BROWSER_S = 2.0
NAVIGATE_S = 15.0
MAX_ORIGINS = 50

_READ_STORAGE = """JSON.stringify({origin: location.origin,
  local: Object.fromEntries(Object.entries(localStorage)),
  session: Object.fromEntries(Object.entries(sessionStorage))})"""

_WRITE_STORAGE = """(origins => {
  const saved = window === window.top ? origins[location.origin] : undefined;
  if (!saved) return;
  for (const [name, value] of Object.entries(saved.local)) localStorage.setItem(name, value);
  for (const [name, value] of Object.entries(saved.session)) sessionStorage.setItem(name, value);
})(%s)"""

_COOKIE_FIELDS = (
    "name",
    "value",
    "domain",
    "path",
    "secure",
    "httpOnly",
    "sameSite",
    "priority",
    "sourceScheme",
    "sourcePort",
    "partitionKey",
)


@dataclass(frozen=True, slots=True)
class OriginStorage:
    """Local and session storage of one origin."""

    local: Mapping[str, str]
    session: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SavedState:
    """The state last captured from a session's browser.

    Attributes:
        url: The address of the page in front, if its scheme is http or https.
        cookies: All cookies, session cookies included, in the format of DevTools.
        origins: Storage by origin, of pages that are or were open.
        window: Bounds of the window in front, in the format of DevTools.
    """

    url: str | None = None
    cookies: Sequence[Mapping[str, Any]] = ()
    origins: Mapping[str, OriginStorage] = field(default_factory=dict)
    window: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the state as JSON; equal states have equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> SavedState:
        """Return the state in a text made by `to_json`.

        Raises:
            ValueError: The text is not a saved state.
        """
        try:
            read = json.loads(text)
            origins = {origin: OriginStorage(**storage) for origin, storage in read["origins"].items()}
            return cls(read["url"], tuple(read["cookies"]), origins, read["window"])
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a saved state: {error}") from error


def capture(connection: Connection, pages: Sequence[tuple[str, str]], before: SavedState) -> SavedState:
    """Return the current state of a browser.

    Args:
        connection: The DevTools connection to it.
        pages: Target id and address of its pages, the one in front first.
        before: The state captured last; used for what cannot be read now.

    Raises:
        DevToolsFailed: The browser does not answer.
    """
    cookies = connection.call("Storage.getCookies", BROWSER_S)["cookies"]
    web_pages = [(target, url) for target, url in pages if url.startswith(("http://", "https://"))]
    origins = dict(before.origins)
    # The page in front comes last, so that the oldest of the others is dropped first.
    for target, _ in reversed(web_pages):
        for origin, storage in _read_storage(connection, target).items():
            origins.pop(origin, None)
            origins[origin] = storage
    recent = dict(list(origins.items())[-MAX_ORIGINS:])
    front_url = pages[0][1] if pages and pages[0] in web_pages else None
    window = _read_window(connection, pages[0][0]) if pages else before.window
    return SavedState(front_url, tuple(cookies), recent, window)


def restore(connection: Connection, target_id: str, state: SavedState) -> None:
    """Restore a saved state into a new browser: cookies, window and storage first, then the page itself.

    Raises:
        DevToolsFailed: The browser does not answer.
    """
    restore_cookies(connection, state)
    _set_window(connection, target_id, state.window)
    if state.url is None:
        return
    storage = {origin: asdict(held) for origin, held in state.origins.items()}
    connection.call_page(target_id, "Page.enable", BROWSER_S)
    # Storage belongs to an origin: it is written in the page itself, before the page's own scripts run.
    script = connection.call_page(
        target_id,
        "Page.addScriptToEvaluateOnNewDocument",
        BROWSER_S,
        source=_WRITE_STORAGE % json.dumps(storage),
    )
    try:
        connection.call_page(target_id, "Page.navigate", NAVIGATE_S, url=state.url)
    finally:
        connection.call_page(
            target_id,
            "Page.removeScriptToEvaluateOnNewDocument",
            BROWSER_S,
            identifier=script["identifier"],
        )


def restore_cookies(connection: Connection, state: SavedState) -> None:
    """Set the cookies of a saved state in a browser.

    Raises:
        DevToolsFailed: The browser does not answer.
    """
    _set_cookies(connection, [_settable(one) for one in state.cookies])


def _read_storage(connection: Connection, target_id: str) -> dict[str, OriginStorage]:
    try:
        answer = connection.call_page(
            target_id, "Runtime.evaluate", PAGE_S, expression=_READ_STORAGE, returnByValue=True
        )
        read = json.loads(answer["result"]["value"])
        return {read["origin"]: OriginStorage(read["local"], read["session"])}
    except (DevToolsFailed, KeyError, TypeError, ValueError):
        # Busy, crashed, behind a dialog, or a page without storage: keep what was captured before.
        return {}


def _read_window(connection: Connection, target_id: str) -> Mapping[str, Any]:
    bounds: Mapping[str, Any] = connection.call("Browser.getWindowForTarget", BROWSER_S, targetId=target_id)[
        "bounds"
    ]
    return bounds


def _set_window(connection: Connection, target_id: str, bounds: Mapping[str, Any]) -> None:
    if not bounds:
        return
    window = connection.call("Browser.getWindowForTarget", BROWSER_S, targetId=target_id)["windowId"]
    state = bounds.get("windowState", "normal")
    # Chrome accepts a size only for a normal window, and a state only without a size.
    wanted = {name: value for name, value in bounds.items() if name != "windowState"}
    connection.call("Browser.setWindowBounds", BROWSER_S, windowId=window, bounds=wanted)
    if state != "normal":
        connection.call("Browser.setWindowBounds", BROWSER_S, windowId=window, bounds={"windowState": state})


def _set_cookies(connection: Connection, cookies: Sequence[Mapping[str, Any]]) -> None:
    if not cookies:
        return
    try:
        connection.call("Storage.setCookies", BROWSER_S, cookies=cookies)
    except DevToolsRefused:
        # Chrome sets all cookies or none: one at a time, only those that it refuses are lost.
        for cookie in cookies:
            with suppress(DevToolsRefused):
                connection.call("Storage.setCookies", BROWSER_S, cookies=[cookie])


def _settable(cookie: Mapping[str, Any]) -> dict[str, Any]:
    wanted = _COOKIE_FIELDS if cookie.get("session") else (*_COOKIE_FIELDS, "expires")
    return {name: cookie[name] for name in wanted if name in cookie}
