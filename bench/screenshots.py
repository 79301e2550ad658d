"""Create the pictures of `docs/dashboard.md` and `docs/view.md` from a running service.

    python bench/screenshots.py [folder]

Starts a service with some sessions on its own pages, kills the ChromeDriver of one, leaves orphans of another
service behind, opens the dashboard in a browser, and writes WebP pictures into the folder (default
`docs/pictures`). POSIX: it ends processes with a signal.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import Browser, Page, expect, sync_playwright

from drover.browser.binaries import resolve
from tests.acceptance.cleanups import abandon, assert_judged
from tests.acceptance.faults import kill
from tests.acceptance.service import Json, Service, running
from tests.machine import end_leftovers, remove, run_folder, short_folder, wait_until

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_MS = 60_000
QUALITY = 72
SETTLE_MS = 500
# Only what is on the screen is rendered.
ALL_DRAWN = """[...document.querySelectorAll(".no-picture:not([hidden])")]
    .every(note => note.getBoundingClientRect().top > innerHeight)"""
PAGES = {
    "orders": ("#0b7285", "Orders", "214 open, 12 of them late"),
    "invoices": ("#5f3dc4", "Invoices", "Sent this month: 1,318"),
    "stock": ("#2b8a3e", "Stock", "All shelves counted on Monday"),
    "tickets": ("#c92a2a", "Tickets", "7 wait for an answer"),
    "freight": ("#d9480f", "Freight", "Three containers are at sea"),
}

SIGN_IN = """<!doctype html><meta charset=utf-8><title>Sign in</title><style>
body{margin:0;font:18px sans-serif;background:#eef1f6;display:grid;place-items:center;height:100vh}
form{background:#fff;padding:32px 40px;border-radius:12px;width:380px}h1{font-size:26px;margin:0 0 12px}
input{font:24px monospace;letter-spacing:8px;width:100%;padding:10px;margin:8px 0 20px}
*{box-sizing:border-box}
button{font:18px sans-serif;padding:10px 24px;background:#0b7285;color:#fff;border:0}</style>
<form><h1>One more step</h1><p>Enter the code that we have sent to your phone.<input id=code autofocus>
<button>Confirm</button></form>"""


@dataclass(frozen=True)
class Shot:
    """One picture: its name, the width of the window, and the colour scheme."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"]


def main() -> None:
    """Create all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            pages() as base,
            running(watch_interval=0, warm_sessions=1, max_sessions=12, adopt_grace=60) as service,
        ):
            prepare(service, base)
            with sync_playwright() as playwright:
                chrome = str(resolve(None, None).chrome)
                browser = playwright.chromium.launch(executable_path=chrome, args=["--no-sandbox"])
                take_all(browser, service, base, folder)
                browser.close()
    finally:
        end_leftovers()
        remove(run_folder())


def prepare(service: Service, base: str) -> None:
    """Open sessions, kill a part of one, and leave orphans behind."""
    sessions: list[Json] = [
        service.create(session_id=f"{name}-1", key=f"account-{number}", url=f"{base}/{name}")
        for number, name in enumerate(PAGES, 17)
    ]
    service.post("/sessions/orders-1/lease", json={"ttl": 3600, "holder": "nightly export"})
    kill(sessions[1]["driver"]["pid"])
    service.get("/sessions/invoices-1")
    left = Service(short_folder())
    left.start()
    left.create(url=f"{base}/stock")
    assert_judged(service, abandon(left), "orphan")


def take_all(browser: Browser, service: Service, base: str, folder: Path) -> None:
    """Open the dashboard in every way that the documentation shows."""
    for shot in (
        Shot("dashboard-light", 1280, 1000, "light"),
        Shot("dashboard-dark", 1280, 1000, "dark"),
        Shot("dashboard-phone", 390, 844, "light"),
    ):
        with opened_dashboard(browser, service, shot) as page:
            wait_until(partial(page.evaluate, ALL_DRAWN), "every picture is rendered", TIMEOUT_MS / 1000)
            save(page, folder / f"{shot.name}.webp")
    with opened_dashboard(browser, service, Shot("", 1280, 900, "light")) as page:
        page.locator("#processes").scroll_into_view_if_needed()
        page.evaluate("document.getElementById('processes').scrollIntoView()")
        page.wait_for_timeout(SETTLE_MS)
        save(page, folder / "dashboard-processes.webp")
        page.get_by_role("button", name="Preview", exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        save(page, folder / "dashboard-preview.webp")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Emergency recovery", exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        save(page, folder / "dashboard-emergency.webp")
    with opened_dashboard(browser, service, Shot("", 1280, 900, "light")) as page:
        page.get_by_role("button", name="View orders-1", exact=True).click()
        page.get_by_role("button", name="Take control", exact=True).click()
        page.get_by_label("Address", exact=True).fill(f"{base}/sign-in")
        page.keyboard.press("Enter")
        expect(page.locator("#viewer-facts")).to_contain_text("/sign-in", timeout=TIMEOUT_MS)
        page.locator("#viewer-live").click()
        page.keyboard.type("4711")
        page.wait_for_timeout(SETTLE_MS)
        save(page, folder / "dashboard-control.webp")


@contextlib.contextmanager
def opened_dashboard(browser: Browser, service: Service, shot: Shot) -> Iterator[Page]:
    """Open the dashboard in a new window, and wait until it is up to date."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme=shot.scheme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(service.url)
    expect(page.locator("#link")).to_have_text("Live", timeout=TIMEOUT_MS)
    expect(page.locator("#verdict")).not_to_have_attribute("data-tone", "quiet", timeout=TIMEOUT_MS)
    yield page
    context.close()


def save(page: Page, path: Path) -> None:
    """Write what the window shows, small enough for a page of documentation."""
    session = page.context.new_cdp_session(page)
    taken: dict[str, Any] = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    path.write_bytes(base64.b64decode(taken["data"]))
    print(f"{path} {path.stat().st_size // 1024} KB")


@contextlib.contextmanager
def pages() -> Iterator[str]:
    """Serve the pages that the sessions show; yield their URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class _Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with the page of this name."""
        name = self.path.strip("/")
        page = SIGN_IN if name == "sign-in" else _html(*PAGES.get(name, ("#495057", "Nothing", "here")))
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has in Python
        """Log nothing."""


def _html(colour: str, title: str, text: str) -> str:
    rows = "".join(f"<tr><td>{title.rstrip('s')} {number}<td>✓" for number in range(101, 109))
    return (
        f"<!doctype html><title>{title}</title><style>body{{margin:0;font:18px sans-serif}}"
        f"header{{background:{colour};color:#fff;padding:28px 36px;font-size:30px}}p{{padding:0 36px}}"
        f"table{{margin:0 36px;width:80%}}td{{border-bottom:1px solid #ddd;padding:10px}}</style>"
        f"<header>{title}</header><p>{text}</p><table>{rows}</table>"
    )


if __name__ == "__main__":
    main()
