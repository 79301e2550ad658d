"""How a re-attach with BiDi keeps every page: a spare one for ChromeDriver, and a check afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import Connection, DevToolsFailed
from drover.browser.navigation import close_page
from drover.browser.running_browser import RunningBrowser

COMMAND_S = 5.0
BLANK = "about:blank"
_TABS = [{"type": "tab"}]


@dataclass(frozen=True, slots=True)
class Document:
    """What a page shows: DevTools' id of the load, which every navigation changes, and the address."""

    loader_id: str
    url: str


@contextmanager
def spare_page(devtools: DevTools, running: RunningBrowser, connection: Connection) -> Iterator[str]:
    """Yield the DevTools address through which a ChromeDriver attaches with BiDi; the spare page goes then.

    Raises:
        DevToolsFailed: The browser does not answer.
    """
    before = _tabs(connection)
    opened = connection.call("Target.createTarget", COMMAND_S, url=BLANK, background=True)
    spare = str(opened["targetId"])
    try:
        # ChromeDriver chooses a page up to some version, since then the tab that holds it.
        with devtools.gate(running, _tabs(connection) - before | {spare}) as address:
            yield address
    finally:
        # If the browser is gone, so is the page.
        with suppress(DevToolsFailed):
            close_page(connection, spare)


def documents(connection: Connection) -> Mapping[str, Document]:
    """Return the documents of all pages that answer, by target id.

    Raises:
        DevToolsFailed: The connection is lost.
    """
    trees = connection.call_pages("Page.getFrameTree", COMMAND_S)
    frames = {target_id: tree["frameTree"]["frame"] for target_id, tree in trees.items()}
    return {target_id: Document(frame["loaderId"], frame["url"]) for target_id, frame in frames.items()}


def load_again(connection: Connection, before: Mapping[str, Document]) -> tuple[str, ...]:
    """Load the pages again that show `about:blank` since the attach; return their addresses.

    Raises:
        DevToolsFailed: The browser does not answer.
    """
    lost = blanked(before, documents(connection))
    for target_id, document in lost.items():
        connection.call_page(target_id, "Page.navigate", COMMAND_S, url=document.url)
    return tuple(document.url for document in lost.values())


def blanked(before: Mapping[str, Document], after: Mapping[str, Document]) -> Mapping[str, Document]:
    """Return the earlier documents of the pages that show another one now, which is `about:blank`."""
    return {
        target_id: document
        for target_id, document in before.items()
        if (now := after.get(target_id)) is not None
        and now.loader_id != document.loader_id
        and now.url == BLANK != document.url
    }


def _tabs(connection: Connection) -> frozenset[str]:
    listed = connection.call("Target.getTargets", COMMAND_S, filter=_TABS)["targetInfos"]
    return frozenset(str(target["targetId"]) for target in listed)
