"""The dashboard in an operator's own browser: what its tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from drover.browser.binaries import resolve
from tests.acceptance.service import Service

TIMEOUT_MS: Final = 20_000
DESKTOP: Final = {"width": 1280, "height": 900}
PHONE: Final = {"width": 390, "height": 844}
APPEARANCES: Final = {
    "light": {"viewport": DESKTOP, "color_scheme": "light"},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light"},
    "dark phone": {"viewport": PHONE, "color_scheme": "dark"},
}
AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")

HIDE: Final = """
hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""

OpenPage = Callable[..., Page]


@contextlib.contextmanager
def operators_browser() -> Iterator[Browser]:
    """Run the operator's own browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(resolve(None, None).chrome))
        yield browser
        browser.close()


@contextlib.contextmanager
def opener(browser: Browser, console_errors: list[str]) -> Iterator[OpenPage]:
    """Yield a function that opens the dashboard of a service and waits until it is up to date."""
    contexts: list[BrowserContext] = []

    def open_page(service: Service, **options: Any) -> Page:  # noqa: ANN401
        contexts.append(
            browser.new_context(**(APPEARANCES["light"] | {"reduced_motion": "reduce"} | options))
        )
        page = contexts[-1].new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on(
            "console",
            lambda message: console_errors.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        page.goto(service.url)
        assert_live(page)
        return page

    expect.set_options(timeout=TIMEOUT_MS)
    yield open_page
    for context in contexts:
        context.close()


def assert_live(page: Page) -> None:
    """Wait until the page receives events, and has a process table."""
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator("#verdict")).not_to_have_attribute("data-tone", "quiet")


def button(within: Page | Locator, name: str) -> Locator:
    """Return the button with exactly this name."""
    return within.get_by_role("button", name=name, exact=True)


def card(page: Page, session_id: str) -> Locator:
    """Return the card of a session."""
    return page.locator(".card").filter(has=page.get_by_role("heading", name=session_id, exact=True))


def assert_accessible(page: Page) -> None:
    """Check the page against the rules of axe-core."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run().then(results => results.violations)")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def assert_fits(page: Page) -> None:
    """Assert that the page fits the window's width."""
    width, room = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= room
