"""What a DevTools connection knows of a browser's pages, from the events that it receives."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from drover.browser.dialogs import MAX_PROMPT, Dialog

Event = Mapping[str, Any]
MAX_URL = 200
"""Characters that are kept of a page's address; a page can make it megabytes long."""
OWN_PAGE = f"about:blank#{secrets.token_hex(8)}"
"""The first address of a page that Drover opens for itself, by which it is known if it opens too late to be
waited for. No page can guess it."""


@dataclass(frozen=True, slots=True)
class BrowserSignals:
    """What a DevTools connection knows of a browser's pages.

    Attributes:
        crashed_pages: Target ids of pages whose renderer has crashed and that were not reloaded.
        no_page_left: The last page was closed.
    """

    crashed_pages: tuple[str, ...] = ()
    no_page_left: bool = False


NO_SIGNALS = BrowserSignals()


@dataclass(frozen=True, slots=True)
class PageTarget:
    """A page of a browser.

    Attributes:
        target_id: DevTools' id of it.
        url: Its address, shortened.
        opened_by_script: Another page opened it, and shares a process with it.
        watched: Chrome has confirmed `Page.enable`, so no dialog opens in it without an event.
        crashed: Its renderer has crashed, and it was not reloaded.
        dialog: The dialog that is open in it, or in a frame of it.
        context: DevTools' id of its browser context.
    """

    target_id: str
    url: str = ""
    opened_by_script: bool = False
    watched: bool = False
    crashed: bool = False
    dialog: Dialog | None = None
    context: str | None = None


class PageTargets:
    """The pages of one browser. Changed by one thread; every thread may read, because values are replaced."""

    def __init__(self) -> None:
        self.signals = NO_SIGNALS
        """What a health check needs to know."""
        self.own: frozenset[str] = frozenset()
        """The target ids of pages that Drover has opened for itself, and of their popups."""
        self._pages: Mapping[str, PageTarget] = MappingProxyType({})
        self._sessions: dict[str, str] = {}
        self._had_pages = False

    @property
    def pages(self) -> tuple[PageTarget, ...]:
        """The pages that are open, the oldest first."""
        return tuple(self._pages.values())

    def page(self, target_id: str) -> PageTarget | None:
        """Return an open page, or None."""
        return self._pages.get(target_id)

    def session_of(self, target_id: str) -> str | None:
        """Return the id of our DevTools session on a page; None before it is attached."""
        return self._sessions.get(target_id)

    def attached(self, target_id: str, session: str) -> None:
        """Record our DevTools session on a page."""
        self._sessions[target_id] = session

    def leave_out(self, target_id: str) -> None:
        """Take a page for one that Drover has opened for itself, so that it is none of the session's."""
        self.own |= {target_id}
        self._set({one: known for one, known in self._pages.items() if one != target_id})

    def handle(self, event: str, parameters: Event, session: str | None) -> PageTarget | None:
        """Take an event into account; return the page that it concerns, if any.

        Args:
            event: Its method, such as `Target.targetCreated`.
            session: The DevTools session that it came from; None for the browser itself.
        """
        if event in {"Target.targetCreated", "Target.targetInfoChanged"}:
            return self._inform(parameters["targetInfo"])
        if event == "Target.attachedToTarget":
            self.attached(parameters["targetInfo"]["targetId"], parameters["sessionId"])
            return self.page(parameters["targetInfo"]["targetId"])
        if event == "Target.targetDestroyed":
            return self._remove(parameters["targetId"])
        if event == "Target.targetCrashed":
            return self.change(parameters["targetId"], **_CRASHED)
        if event == "Target.detachedFromTarget":
            return self._detach(parameters["sessionId"])
        target_id = next((target for target, known in self._sessions.items() if known == session), "")
        return self.change(target_id, **_changes_of_page(event, parameters))

    def change(self, target_id: str, **changes: object) -> PageTarget | None:
        """Change what is known of a page; return it, or None if it is not open."""
        page = self._pages.get(target_id)
        if page is None:
            return None
        changed = replace(page, **changes)  # type: ignore[arg-type]
        self._set({**self._pages, target_id: changed})
        return changed

    def _inform(self, info: Event) -> PageTarget | None:
        if info.get("url") == OWN_PAGE or info.get("openerId") in self.own:
            self.leave_out(info["targetId"])
        # A page that Chrome loads in advance becomes a page without a subtype when it is shown.
        if info["targetId"] in self.own or info.get("type") != "page" or info.get("subtype"):
            return None
        known = self._pages.get(info["targetId"]) or PageTarget(info["targetId"])
        self._had_pages = True
        page = replace(
            known,
            url=str(info.get("url", ""))[:MAX_URL],
            opened_by_script=bool(info.get("canAccessOpener")),
            context=info.get("browserContextId"),
        )
        self._set({**self._pages, page.target_id: page})
        return page

    def _detach(self, session: str) -> PageTarget | None:
        targets = [target for target, known in self._sessions.items() if known == session]
        for target in targets:
            del self._sessions[target]
        return self.change(targets[0], watched=False, dialog=None) if targets else None

    def _remove(self, target_id: str) -> PageTarget | None:
        self._sessions.pop(target_id, None)
        self.own -= {target_id}
        page = self._pages.get(target_id)
        if page is not None:
            self._set({one: known for one, known in self._pages.items() if one != target_id})
        return page

    def _set(self, pages: Mapping[str, PageTarget]) -> None:
        self._pages = MappingProxyType(pages)
        crashed = tuple(page.target_id for page in pages.values() if page.crashed)
        self.signals = BrowserSignals(crashed, no_page_left=self._had_pages and not pages)


_CRASHED: Mapping[str, Any] = {"crashed": True, "dialog": None}


def _changes_of_page(event: str, parameters: Event) -> Mapping[str, Any]:
    """Return what an event from a page's own session changes."""
    if event == "Page.javascriptDialogOpening":
        suggested = str(parameters.get("defaultPrompt", ""))[:MAX_PROMPT]
        message = str(parameters.get("message", ""))[:MAX_PROMPT]
        return {"dialog": Dialog(str(parameters["type"]), suggested, message)}
    if event == "Page.javascriptDialogClosed":
        return {"dialog": None}
    if event == "Inspector.targetCrashed":
        return _CRASHED
    if event == "Inspector.targetReloadedAfterCrash":
        return {"crashed": False}
    return {}
