"""A page counts as open when its new document has replaced the old one."""

from collections.abc import Sequence
from typing import cast

import pytest

from drover.browser import navigation
from drover.browser.devtools_connection import Connection, DevToolsFailed, DevToolsRefused
from drover.browser.navigation import open_page


class Page:
    """A fake page; `loaders` are the documents that it shows at each look, the last one from then on."""

    def __init__(self, loaders: Sequence[str], refusals: int = 0, answer: object = None) -> None:
        self.loaders = list(loaders)
        self.refusals = refusals
        self.answer = {"loaderId": "new"} if answer is None else answer
        self.done: list[str] = []

    def call_page(self, _target: str, method: str, _timeout: float, **_: object) -> object:
        self.done.append(method)
        if method == "Page.navigate":
            return self.answer
        if method == "Page.getFrameTree":
            loader = self.loaders.pop(0) if len(self.loaders) > 1 else self.loaders[0]
            return {"frameTree": {"frame": {"loaderId": loader}}}
        if self.refusals:
            self.refusals -= 1
            raise DevToolsRefused("Not attached to an active page")
        return {}


def open_it(page: Page) -> None:
    open_page(cast("Connection", page), "P1", "https://a.example/", 1)


def test_the_document_before_is_waited_out() -> None:
    page = Page(["old", "old", "new"])
    open_it(page)
    assert page.done == ["Page.navigate", *["Page.getFrameTree"] * 3, "Page.getNavigationHistory"]


def test_the_browser_process_is_waited_for_as_well() -> None:
    page = Page(["new"], refusals=2)
    open_it(page)
    assert page.done.count("Page.getNavigationHistory") == 3


def test_a_navigation_without_a_new_document_is_not_waited_for() -> None:
    page = Page(["old"], answer={})
    open_it(page)
    assert page.done == ["Page.navigate"]


def test_a_page_that_never_opens_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(navigation, "COMMIT_S", 0.0)
    with pytest.raises(DevToolsFailed, match="did not open"):
        open_it(Page(["old"]))
