"""The part of a browser's state that can be restored into a new one: cookies, storage, address, window.

Captured and restored over DevTools, independent of ChromeDriver: a page that is busy or shows a dialog
is skipped, and keeps what was captured from it before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from drover.browser.devtools_connection import Connection, DevToolsFailed, DevToolsRefused
from drover.browser.health import MAX_ADDRESS
from drover.browser.navigation import open_page
from drover.browser.storage_restore import How, Write, write_local_storage, write_session_storage

PAGE_S = 0.5
STORAGES_S = 1.0
BROWSER_S = 2.0
NAVIGATE_S = 15.0
MAX_ORIGINS = 50
_WEB = ("http://", "https://")
_LOCAL = ("data:", "file:")
_EMPTY = "data:,"
"""The page with which ChromeDriver starts Chrome."""

# Items with the names of the storage's own members, such as `key`, are no properties of it.
_READ_STORAGE = """((items) => JSON.stringify({
  origin: location.origin, local: items(localStorage), session: items(sessionStorage)}))(
  (storage) => Array.from({length: storage.length}, (_, number) => storage.key(number))
    .map((name) => [name, storage.getItem(name)]))"""

COOKIES = "cookies"
"""What `pending` and `lost` call the cookies."""

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
        url: The address of the page in its client's window or in front, if it can be opened by it again.
        cookies: All cookies, session cookies included, in the format of DevTools.
        origins: Storage by origin, of pages that are or were open.
        window: Bounds of the window of that page, in the format of DevTools.
        open: The origins of the pages that were open.
        pending: What the browser has not received when it was started: origins whose local storage, or
            `cookies`. Until it has, what was saved of them is kept beside what the browser has.
    """

    url: str | None = None
    cookies: Sequence[Mapping[str, Any]] = ()
    origins: Mapping[str, OriginStorage] = field(default_factory=dict)
    window: Mapping[str, Any] = field(default_factory=dict)
    open: Sequence[str] = ()
    pending: Sequence[str] = ()

    def to_json(self) -> str:
        """Return the state as JSON; equal states have equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of_page(cls, url: str | None) -> SavedState | None:
        """Return the state of a browser of which only the address is known; None if it cannot be opened."""
        return cls(url) if url is not None and url.startswith(_WEB) else None

    @classmethod
    def from_json(cls, text: str) -> SavedState:
        """Return the state in a text made by `to_json`.

        Raises:
            ValueError: The text is not a saved state.
        """
        try:
            read = json.loads(text)
            origins = {origin: OriginStorage(**storage) for origin, storage in read["origins"].items()}
            # Earlier versions have not stored the last two.
            front = [origin_of(read["url"])] if read["url"] else []
            return cls(
                read["url"],
                tuple(read["cookies"]),
                origins,
                read["window"],
                tuple(read.get("open", front)),
                tuple(read.get("pending", ())),
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a saved state: {error}") from error


def capture(connection: Connection, pages: Sequence[tuple[str, str]], before: SavedState) -> SavedState:
    """Return the current state of a browser.

    Args:
        pages: Target id and address of its pages, the one first that a new browser opens again.
        before: The state captured last; used for what cannot be read now.

    Raises:
        DevToolsFailed: The browser does not answer.
    """
    cookies = connection.call("Storage.getCookies", BROWSER_S)["cookies"]
    web_pages = [(target, url) for target, url in pages if url.startswith(_WEB)]
    origins = dict(before.origins)
    # The page in front comes last, so that the oldest of the others is dropped first.
    for origin, storage in reversed(_read_storages(connection, web_pages)):
        origins.pop(origin, None)
        origins[origin] = storage
    recent = dict(list(origins.items())[-MAX_ORIGINS:])
    front_url = _address(connection, *pages[0], before) if pages else None
    window = _read_window(connection, pages[0][0]) if pages else before.window
    opened = tuple(sorted({origin_of(url) for _, url in web_pages}))
    state = SavedState(front_url, tuple(cookies), recent, window, opened)
    return _with_pending(state, before) if before.pending else state


def _address(connection: Connection, target_id: str, listed: str, before: SavedState) -> str | None:
    """Return the address by which a page can be opened again, if it has one; a listed one may be cut."""
    if listed.startswith(_WEB):
        return listed
    if not listed:
        # Chrome lists none while a document replaces another one.
        return before.url
    if not listed.startswith(_LOCAL) or listed == _EMPTY:
        return None
    whole = str(connection.call("Target.getTargetInfo", BROWSER_S, targetId=target_id)["targetInfo"]["url"])
    return whole if len(whole) <= MAX_ADDRESS else None


def _with_pending(state: SavedState, before: SavedState) -> SavedState:
    """Return a captured state together with what its browser has not received of the state before.

    Of two values with one name the captured one is kept: it is newer.
    """
    origins = dict(state.origins)
    for origin in before.pending:
        saved = before.origins.get(origin)
        if saved is not None:
            captured = origins.get(origin, saved)
            origins[origin] = replace(captured, local={**saved.local, **captured.local})
    cookies = tuple(state.cookies)
    if COOKIES in before.pending:
        known = {_identity(one) for one in cookies}
        cookies += tuple(one for one in before.cookies if _identity(one) not in known)
    return replace(
        state, url=state.url or before.url, cookies=cookies, origins=origins, pending=before.pending
    )


def _identity(cookie: Mapping[str, Any]) -> tuple[object, ...]:
    partition = json.dumps(cookie.get("partitionKey"), sort_keys=True)
    return cookie.get("name"), cookie.get("domain"), cookie.get("path"), partition


def origin_of(url: str) -> str:
    """Return the origin of an http or https address, as pages see it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


class Into(Enum):
    """What a state is restored into."""

    NEW_PROFILE = "a new profile"
    SAME_PROFILE = "the profile of the browser before, whose local storage may be newer or older"
    LIVING_BROWSER = "the browser that it was captured from, whose local storage is as it was"


@dataclass(frozen=True, slots=True)
class Restored:
    """What a browser has received of a saved state.

    Attributes:
        state: The state, with what it has not received in `pending`.
        lost: Names of what it has not received: `cookies`, `storage:<origin>`.
        has_failed: The browser did not answer, so all of it is lost.
    """

    state: SavedState
    lost: tuple[str, ...] = ()
    has_failed: bool = False


def not_restored(state: SavedState) -> Restored:
    """Return the result for a browser that has received nothing."""
    origins = tuple(origin for origin, storage in state.origins.items() if storage.local)
    cookies = (COOKIES,) if state.cookies else ()
    lost = (*cookies, *(f"storage:{origin}" for origin in origins))
    return Restored(replace(state, pending=(*cookies, *origins)), lost, has_failed=True)


def restore(connection: Connection, target_id: str, state: SavedState, into: Into) -> Restored:
    """Restore a saved state into a browser: cookies, local storage of every origin, window, page in front.

    No site is asked before everything is in its place, so it does not matter if it is down.

    Raises:
        DevToolsFailed: The browser does not answer.
    """
    has_cookies = restore_cookies(connection, state)
    unreached = write_local_storage(connection, storage_writes(state, into))
    _set_window(connection, target_id, state.window)
    if state.url is not None:
        _open_front_page(connection, target_id, state.url, state.origins)
    lost = () if has_cookies else (COOKIES,)
    restored = replace(state, pending=unreached)
    return Restored(restored, (*lost, *(f"storage:{origin}" for origin in unreached)))


def storage_writes(state: SavedState, into: Into) -> tuple[Write, ...]:
    """Return what to write into local storage, so that nothing old replaces something newer.

    In the same profile the storage of a page that was open is replaced: Chrome may not have written its last
    changes to disk. Of the others only what is missing is added: they may have changed after their capture.
    """
    if into is Into.LIVING_BROWSER:
        return ()
    writes = []
    for origin, storage in state.origins.items():
        is_last = into is Into.SAME_PROFILE and origin in state.open and origin not in state.pending
        how = How.REPLACE if is_last else How.OVERWRITE if into is Into.NEW_PROFILE else How.ADD
        if storage.local or is_last:
            writes.append(Write(origin, storage.local, how))
    return tuple(writes)


def _open_front_page(
    connection: Connection, target_id: str, url: str, origins: Mapping[str, OriginStorage]
) -> None:
    """Open the page that was in front, with its session storage.

    A site that does not answer in time has its page loaded later.
    """
    storage = origins.get(origin_of(url))
    if storage is not None and storage.session:
        with suppress(DevToolsFailed):
            write_session_storage(connection, target_id, origin_of(url), storage.session)
    with suppress(DevToolsFailed):
        open_page(connection, target_id, url, NAVIGATE_S)
        # The empty page is nothing to go back to.
        connection.call_page(target_id, "Page.resetNavigationHistory", BROWSER_S)


def restore_cookies(connection: Connection, state: SavedState) -> bool:
    """Set the cookies of a saved state in a browser; return whether it has accepted all of them.

    Raises:
        DevToolsFailed: The browser does not answer.
    """
    cookies = [_settable(one) for one in state.cookies]
    if not cookies:
        return True
    try:
        connection.call("Storage.setCookies", BROWSER_S, cookies=cookies)
    except DevToolsRefused:
        # Chrome sets all cookies or none: one at a time, only those that it refuses are lost.
        refused = [cookie for cookie in cookies if not _is_set(connection, cookie)]
        return not refused
    return True


def _read_storages(
    connection: Connection, pages: Sequence[tuple[str, str]]
) -> list[tuple[str, OriginStorage]]:
    """Return origin and storage of the pages that answer in time, in their order.

    Many pages that do not answer must not delay the save of the cookies.
    """
    over, read = time.monotonic() + STORAGES_S, list[tuple[str, OriginStorage]]()
    for target, url in pages:
        if time.monotonic() > over:
            break
        read += _read_storage(connection, target, origin_of(url)).items()
    return read


def _read_storage(connection: Connection, target_id: str, origin: str) -> dict[str, OriginStorage]:
    try:
        answer = connection.call_page(
            target_id, "Runtime.evaluate", PAGE_S, expression=_READ_STORAGE, returnByValue=True
        )
        read = json.loads(answer["result"]["value"])
        parts = dict(read["local"]), dict(read["session"])
        # A page may replace what the script uses: it must not speak for another origin, nor spoil the state.
        is_its_own = read["origin"] == origin and all(
            isinstance(text, str) for part in parts for item in part.items() for text in item
        )
    except (DevToolsFailed, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        # Busy, crashed, behind a dialog, or a page without storage: keep what was captured before.
        return {}
    return {origin: OriginStorage(*parts)} if is_its_own else {}


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


def _is_set(connection: Connection, cookie: Mapping[str, Any]) -> bool:
    try:
        connection.call("Storage.setCookies", BROWSER_S, cookies=[cookie])
    except DevToolsRefused:
        return False
    return True


def _settable(cookie: Mapping[str, Any]) -> dict[str, Any]:
    wanted = _COOKIE_FIELDS if cookie.get("session") else (*_COOKIE_FIELDS, "expires")
    return {name: cookie[name] for name in wanted if name in cookie}
