"""Waiting until every page of a browser answers, so that a new ChromeDriver can attach to it.

A page does not answer while its script runs, and while a dialog is open in it. Scripts are waited for, and
dialogs are answered as they open. What is left are dialogs without an event, which opened before our
DevTools session was on the page (a second ChromeDriver then waits without end, measured). They cost that
one page, as the last resort, and only if no script of the whole browser runs: Chrome does not tell which
process a page is in.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from drover.browser.devtools_connection import Connection, DevToolsFailed
from drover.browser.dialogs import DialogAnswers
from drover.browser.driver_processes import StillWanted
from drover.browser.page_targets import PageTarget
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, SessionLost

ANSWER_S = 0.5
COMMAND_S = 5.0
STOP_S = 2.0
"""How long a page may be silent, without any script running, until what it loads is stopped: while the next
page is awaited from another process, it does not answer, and no ChromeDriver can attach (seen with 150)."""
BLOCKED_S = 3.0
"""How long a page may be silent, without any script running, that may have a dialog without an event."""
IDLE_S = 20.0
"""The same for a page whose dialogs are all known: it may wait for a server in the middle of a script."""
MAX_DIALOGS = 50
"""So many dialogs in a row come from a page that opens them without end."""
COMPUTING = 0.05
"""The share of one processor that a renderer uses at least while its script runs on a loaded machine."""


class Action(Enum):
    """What is done to a page as the last resort."""

    STOP = "stop"
    """It stays as it is, but the page that it is about to become is given up."""
    CLOSE = "close"
    RELOAD = "reload"
    LEAVE = "about:blank"
    """Chrome gives the page another process then, so this works even while a script never ends."""


_NAMES = {Action.CLOSE: "popup", Action.STOP: "load"}


@dataclass(frozen=True, slots=True)
class LastResort:
    """A page that is given up, or what it loads, so that the others and the browser are kept."""

    action: Action
    page: PageTarget

    @property
    def lost(self) -> str:
        """The page as `recovery.lost` names it."""
        return f"{_NAMES.get(self.action, 'page')}:{_address(self.page.url)}"


def last_resort(
    silent: Sequence[PageTarget], idle_s: float, answers: DialogAnswers, tried: Mapping[str, Action]
) -> LastResort | None:
    """Return which page to give up; None while waiting may help.

    Args:
        silent: The pages that do not answer, the oldest first.
        idle_s: Seconds for which no script has run in any page.
        tried: What was done last to pages that were given up already, by target id.
    """
    left = [page for page in silent if tried.get(page.target_id) in {None, Action.STOP, Action.RELOAD}]
    for page in left:
        if answers.count(page.target_id) > MAX_DIALOGS:
            return LastResort(Action.LEAVE, page)
        if page.crashed:
            crashed_again = tried.get(page.target_id) is Action.RELOAD
            return LastResort(Action.LEAVE if crashed_again else Action.RELOAD, page)
        if idle_s >= STOP_S and page.target_id not in tried:
            return LastResort(Action.STOP, page)
    unwatched = [page for page in left if not page.watched]
    suspects = unwatched or left
    if not suspects or idle_s < (BLOCKED_S if unwatched else IDLE_S):
        return None
    popups = [page for page in suspects if page.opened_by_script]
    if popups:
        return LastResort(Action.CLOSE, popups[-1])
    action = Action.LEAVE if tried.get(suspects[-1].target_id) is Action.RELOAD else Action.RELOAD
    return LastResort(action, suspects[-1])


class PageWait:
    """Waits for the pages of one browser."""

    def __init__(self, connection: Connection, answers: DialogAnswers) -> None:
        self._connection = connection
        self._answers = answers
        self._lost: list[str] = []
        self._tried: dict[str, Action] = {}

    @property
    def lost(self) -> tuple[str, ...]:
        """The dialogs that were answered and the pages that were given up, as `recovery.lost` names them."""
        return (*self._answers.lost, *self._lost)

    def note_reloads(self, urls: Iterable[str]) -> None:
        """Take note that pages with these addresses had to be loaded again."""
        self._lost += [f"page:{_address(url)}" for url in urls]

    def until_all_answer(self, deadline: Deadline, wanted: StillWanted) -> None:
        """Wait until every page answers.

        Raises:
            BrowserUnavailable: A page did not answer until the deadline; it was not touched.
            DevToolsFailed: The browser does not answer.
            SessionLost: The session is no longer wanted.
        """
        activity: _Activity | None = None
        while silent := self._connection.silent_pages(ANSWER_S):
            if not wanted():
                raise SessionLost("The session was closed while its pages were waited for")
            if deadline.remaining() == 0:
                raise BrowserUnavailable(_still_silent(silent))
            activity = activity or _Activity(self._connection)
            given_up = last_resort(silent, activity.idle_s(), self._answers, self._tried)
            if given_up is not None:
                self._give_up(given_up)
                # A page that was stopped, and does not answer at once, is no different from before.
                activity = activity if given_up.action is Action.STOP else None

    def leave_endless_dialogs(self) -> None:
        """Leave the pages that open one dialog after another, which keeps a ChromeDriver from attaching.

        Raises:
            DevToolsFailed: The browser does not answer.
        """
        for page in self._connection.pages:
            if self._answers.count(page.target_id) > MAX_DIALOGS:
                self._give_up(LastResort(Action.LEAVE, page))

    def reload_crashed(self) -> None:
        """Reload the pages whose renderer has crashed; a ChromeDriver cannot attach to them.

        Raises:
            DevToolsFailed: The browser does not answer.
        """
        for page in self._connection.pages:
            if page.crashed:
                self._give_up(LastResort(Action.RELOAD, page))

    def _give_up(self, one: LastResort) -> None:
        target_id = one.page.target_id
        self._tried[target_id] = one.action
        try:
            if one.action is Action.CLOSE:
                self._connection.call("Target.closeTarget", COMMAND_S, targetId=target_id)
            elif one.action is Action.STOP:
                self._connection.call_page(target_id, "Page.stopLoading", COMMAND_S)
            elif one.action is Action.LEAVE:
                self._connection.call_page(target_id, "Page.navigate", COMMAND_S, url=Action.LEAVE.value)
            else:
                self._connection.reload_page(target_id, COMMAND_S)
        except DevToolsFailed:
            if any(page.target_id == target_id for page in self._connection.pages):
                raise
            # It was closed in the meantime.
            return
        stopped = LastResort(Action.STOP, one.page).lost
        self._lost = [name for name in self._lost if name not in {one.lost, stopped}]
        self._lost.append(one.lost)


class _Activity:
    """For how long no script has run in any page of a browser."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._used = self._processor_times()
        self._read_at = self._idle_since = time.monotonic()

    def idle_s(self) -> float:
        """Return the seconds since a renderer was last seen to compute."""
        before, read_before = self._used, self._read_at
        self._used, self._read_at = self._processor_times(), time.monotonic()
        most = COMPUTING * (self._read_at - read_before)
        if any(used - before.get(pid, 0.0) >= most for pid, used in self._used.items()):
            self._idle_since = self._read_at
        return self._read_at - self._idle_since

    def _processor_times(self) -> dict[int, float]:
        listed = self._connection.call("SystemInfo.getProcessInfo", COMMAND_S)["processInfo"]
        return {one["id"]: one["cpuTime"] for one in listed if one["type"] == "renderer"}


def _still_silent(silent: Sequence[PageTarget]) -> str:
    names = ", ".join(sorted({_address(page.url) for page in silent}))
    return (
        f"A new ChromeDriver can attach only if every page answers, and this one does not: {names}. "
        "Its script is running, or it waits for a server; it was left as it is. Retry later"
    )


def _address(url: str) -> str:
    """Return the address of a page without its query, which may contain a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}:{'//' if parts.netloc else ''}{parts.netloc}{parts.path}"
