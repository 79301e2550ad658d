"""The dashboard as an operator sees it, in a separate browser."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import psutil
import pytest
import requests
from playwright.sync_api import Page, expect

from drover.browser.binaries import resolve
from tests.acceptance.conftest import StartService
from tests.acceptance.dashboards import (
    APPEARANCES,
    HIDE,
    OpenPage,
    assert_accessible,
    assert_fits,
    assert_live,
    button,
    card,
)
from tests.acceptance.faults import kill
from tests.acceptance.pages import Pages
from tests.acceptance.service import Service, running
from tests.cases import first_or_all
from tests.machine import is_living, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")

MARKUP: Final = "<img src=x onerror=alert(1)><script>alert(2)</script>"
LARGE_PICTURE: Final = "document.getElementById('viewer-live').width > 0"
GROUPED: Final = """
async rows => {
  const { grouped } = await import("/static/process_grouping.js");
  const { titleOf } = await import("/static/process_trees.js");
  const brief = ({ process, depth }) => [process.pid, depth];
  return grouped(new Map(rows.map(row => [row.pid, row])))
    .map(tree => [titleOf(tree), tree.verdict, tree.rows.map(brief), tree.memoryMb]);
}
"""

LINKS_OF_A_PAGE_THAT_WAS_HIDDEN_FOR_LONG: Final = """
async () => {
  const [links, sources] = [[], []];
  let [check, now, hidden] = [null, 1000, false];
  window.EventSource = class {
    constructor() { sources.push(this); }
    addEventListener(kind, take) { this[kind] = take; }
    close() {}
  };
  window.setInterval = (work) => { check = work; };
  Date.now = () => now;
  Object.defineProperty(document, "hidden", { get: () => hidden });
  const { Stream } = await import("/static/stream.js");
  new Stream(() => {}, (link) => links.push(link));
  sources[0].state({ data: "{}" });
  for (hidden of [true, false]) {
    document.dispatchEvent(new Event("visibilitychange"));
    now += 60_000;
  }
  now -= 60_000;
  check();
  const before = links.length;
  now += 60_000;
  check();
  return [links.slice(0, before), links.slice(before)];
}
"""
WITHOUT_PROCESSES: Final = """
async () => {
  const { State } = await import("/static/state.js");
  const state = new State();
  const process = { pid: 1, verdict: "orphan", age_s: 1 };
  const processes = { read_at: "x", rows: [process] };
  const whole = { sessions: [], capacity: {}, timeline: [], log: [], processes };
  state.take("state", whole);
  const before = state.processesReadAt;
  state.take("state", { ...whole, processes: null });
  return [before, state.processesReadAt];
}
"""
PICTURES: Final = """
async () => {
  const { Screen } = await import("/static/view_socket.js");
  const canvas = document.createElement("canvas");
  document.createElement("div").append(canvas);
  const screen = new Screen(canvas);
  const source = Object.assign(document.createElement("canvas"), { width: 7, height: 1 });
  const picture = await new Promise((resolve) => source.toBlob(resolve));
  await screen.draw(new Blob(["no picture"])).catch(() => {});
  await screen.draw(picture);
  const afterBroken = canvas.width;
  const drawing = screen.draw(picture);
  screen.clear();
  await drawing;
  return [afterBroken, canvas.width];
}
"""
UNREADABLE_FILE: Final = """
async () => {
  window.FileReader = class extends EventTarget {
    readAsDataURL() {
      this.error = new Error("it is gone");
      this.dispatchEvent(new Event("error"));
    }
  };
  const { PageDialogs } = await import("/static/page_dialogs.js");
  const dialog = document.getElementById("files-dialog");
  const notes = [];
  return new Promise((resolve) => {
    const dialogs = new PageDialogs((sent) => resolve([sent, notes]), () => {}, (note) => notes.push(note));
    dialogs.askFiles({ multiple: false });
    const chosen = new DataTransfer();
    chosen.items.add(new File(["content"], "letter.txt"));
    document.getElementById("files-input").files = chosen.files;
    dialog.close("send");
    setTimeout(() => resolve(null), 5000);
  });
}
"""


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that probes its sessions every second."""
    with running(watch_interval=1) as service:
        yield service


@pytest.fixture
def page(service: Service, open_page: OpenPage, console_errors: list[str]) -> Iterator[Page]:
    """Yield the dashboard of the module's service; assert that its console shows no error."""
    yield open_page(service)
    assert console_errors == []


@pytest.fixture
def orphan(shared_service: Service) -> Iterator[int]:
    """Leave a ChromeDriver with the mark of an unknown session; return its pid."""
    folder = shared_service.data_dir / "s" / "stranded"
    folder.mkdir()
    driver = resolve(None, None).chromedriver
    stranded = subprocess.Popen(
        [driver, "--port=0", f"--log-path={folder / 'chromedriver.log'}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield stranded.pid
    stranded.kill()
    stranded.wait()
    for left in folder.glob("*"):
        left.unlink()
    folder.rmdir()


def remote_ends(service: Service) -> set[int]:
    """Return the remote ends of the open connections to a service."""
    known = psutil.Process(service.process.pid).net_connections()
    return {
        one.raddr.port
        for one in known
        if one.status == psutil.CONN_ESTABLISHED and one.laddr.port == service.port
    }


def test_a_session_appears_with_its_details_and_disappears(
    service: Service, page: Page, pages: Pages
) -> None:
    expect(page.get_by_text("No session is open.", exact=False).last).to_be_visible()
    service.create(session_id="seen", key=MARKUP, url=pages.url("/form"))
    service.post("/sessions/seen/lease", json={"ttl": 60, "holder": "night shift"})
    shown = card(page, "seen")
    expect(shown).to_contain_text("Healthy")
    expect(shown).to_contain_text(f"key {MARKUP}")
    expect(shown).to_contain_text("night shift")
    link = shown.get_by_role("link", name=pages.url("/form"))
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(shown.locator(".no-picture")).to_be_hidden()
    expect(page.locator("#figure-sessions")).to_have_text("1 of 10")
    service.delete("/sessions/seen")
    expect(shown).to_have_count(0)


def test_a_crash_and_its_recovery_appear_without_a_click(service: Service, page: Page) -> None:
    session = service.create(session_id="crashed")
    expect(card(page, "crashed")).to_contain_text("Recoveriesnone")
    kill(session["driver"]["pid"])
    expect(card(page, "crashed")).to_contain_text("ChromeDriver had died; same browser")
    lately = page.locator("#moments > li").filter(has_text="crashed")
    expect(lately.filter(has_text="Found dead")).to_have_count(1)
    expect(lately.filter(has_text="Recovered in")).to_have_count(1)
    expect(page.locator("#log-lines")).to_contain_text("Session crashed recovered: reattached")


def test_a_session_is_opened_recovered_viewed_and_closed_by_clicks(
    service: Service, open_page: OpenPage, pages: Pages, console_errors: list[str]
) -> None:
    page = open_page(service)
    button(page, "Open a session").click()
    page.get_by_label("First page").fill(pages.url("/red"))
    page.get_by_label("Session id").fill("-")
    button(page, "Open").click()
    expect(page.locator("#open-error")).to_contain_text("session_id")
    # A browser writes every refused request to its console.
    assert [text for text in console_errors if "400" not in text] == []
    console_errors.clear()
    page.get_by_label("Session id").fill("by-hand")
    button(page, "Open").click()
    expect(card(page, "by-hand")).to_contain_text("Healthy")
    button(page, "Recover by-hand").click()
    expect(page.locator("#notices")).to_contain_text("no recovery was needed")
    button(page, "View by-hand live").click()
    expect(page.locator("#viewer")).to_contain_text(pages.url("/red"))
    wait_until(lambda: page.evaluate(LARGE_PICTURE), "a large picture")
    # Idle connections stay open for the next request; that of the picture only while it is shown.
    watching = remote_ends(service)
    page.keyboard.press("Escape")
    wait_until(lambda: watching - remote_ends(service), "the picture's connection is closed")
    button(page, "Close by-hand").click()
    button(page, "Keep it").click()
    assert "by-hand" in service.listed()
    button(page, "Close by-hand").click()
    button(page, "Close the session").click()
    expect(card(page, "by-hand")).to_have_count(0)
    assert service.listed() == {}
    # A picture of a session that closes is refused.
    assert [text for text in console_errors if "503" not in text] == []


def test_the_preview_changes_nothing_and_the_cleanup_ends_the_orphan(
    service: Service, page: Page, orphan: int
) -> None:
    service.create(session_id="spared")
    expect(page.locator("#headline")).to_have_text("1 orphaned process on this machine")
    tree = page.locator(".tree[data-verdict=orphan]")
    expect(tree).to_contain_text("no longer belongs to a session")
    button(page, "Preview").click()
    report = page.get_by_role("dialog", name="What a cleanup would do")
    expect(report.get_by_role("row", name=str(orphan))).to_be_visible()
    expect(report).to_contain_text("Spared: protected")
    assert is_living(orphan)
    button(report, "Done").click()
    button(page, "Clean up orphans").click()
    report = page.get_by_role("dialog", name="What the cleanup did")
    expect(report).to_contain_text("Ended1 process")
    expect(report.get_by_role("row", name=str(orphan))).to_be_visible()
    assert not is_living(orphan)
    page.keyboard.press("Escape")
    expect(page.locator("#headline")).to_have_text("All is well")
    expect(page.locator("#moments")).to_contain_text("1 orphaned process ended")
    assert list(service.listed()) == ["spared"]


def test_the_emergency_lists_its_targets_and_requires_the_typed_word(service: Service, page: Page) -> None:
    service.create(session_id="target")
    button(page, "Emergency recovery").click()
    dialog = page.get_by_role("dialog", name="End every Chrome on this machine?")
    expect(dialog).to_contain_text("including your own")
    # The browser that shows this page belongs to the operator.
    expect(dialog).to_contain_text(": your own Chrome and those of other programs")
    expect(dialog).to_contain_text("Session target")
    mark = service.mark()
    for typed in ("", "emergenc"):
        page.get_by_label("Type EMERGENCY to confirm").fill(typed)
        button(dialog, "End all browsers").click()
        expect(page.locator("#emergency-error")).to_contain_text("Nothing was done")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button(page, "Emergency recovery")).to_be_focused()
    assert not any("EMERGENCY" in line for line in service.logs(mark))
    assert list(service.listed()) == ["target"]


@pytest.mark.exhaustive
def test_a_lost_and_a_restored_connection_are_shown(start_service: StartService, open_page: OpenPage) -> None:
    service = start_service()
    page = open_page(service)
    assert service.stop() == 0
    expect(page.locator("#connection")).to_contain_text("The connection to Drover is lost")
    expect(page.locator("#link")).to_have_text("Not connected")
    service.start()
    expect(page.locator("#connection")).to_contain_text("Connected again")
    assert_live(page)


@pytest.mark.parametrize("way", first_or_all(["browser dialog", "URL"]))
def test_with_a_token_the_page_works_with_basic_authentication(
    start_service: StartService, open_page: OpenPage, console_errors: list[str], way: str
) -> None:
    service = start_service(api_token="open sesame")
    assert service.get("/").status_code == service.get("/events").status_code == 401
    if way == "URL":
        real = service.url
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Service, "url", real.replace("//", "//operator:open%20sesame@"))
            page = open_page(service)
    else:
        page = open_page(service, http_credentials={"username": "operator", "password": "open sesame"})
    button(page, "Preview").click()
    expect(page.get_by_role("dialog", name="What a cleanup would do")).to_be_visible()
    page.goto(page.evaluate("new URL('/docs', document.baseURI).href"))
    page.locator("#get_keys_key_state summary").first.click()
    tried = page.locator("#get_keys_key_state form")
    tried.get_by_role("textbox").fill("a/b")
    button(tried, "Send").click()
    expect(page.locator("#get_keys_key_state [role=status]")).to_contain_text("key a/b")
    # A browser writes every refused request to its console.
    assert [text for text in console_errors if "404" not in text] == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("appearance", APPEARANCES)
def test_it_is_accessible_and_fits_its_window(
    service: Service, open_page: OpenPage, console_errors: list[str], orphan: int, appearance: str
) -> None:
    service.create(session_id="a", key="account-17")
    page = open_page(service, **APPEARANCES[appearance])
    expect(page.locator(".tree[data-verdict=orphan]")).to_be_visible()
    assert_accessible(page)
    assert_fits(page)
    for name in ("Preview", "Emergency recovery", "Open a session", "Close a"):
        button(page, name).click()
        expect(page.locator("dialog[open]")).to_be_visible()
        assert_accessible(page)
        assert_fits(page)
        page.keyboard.press("Escape")
    assert console_errors == []


@pytest.mark.exhaustive
def test_no_screenshot_is_taken_of_a_session_that_is_not_visible(
    service: Service, open_page: OpenPage
) -> None:
    service.create(session_id="below")
    requested_urls: list[str] = []
    page = open_page(service, viewport={"width": 1280, "height": 300})
    page.on("request", lambda request: requested_urls.append(request.url))
    table = page.locator("#processes-age")
    expect(table).to_have_text(re.compile("just now"))
    expect(table).not_to_have_text(re.compile("just now"))
    assert [url for url in requested_urls if "screenshot" in url or "live" in url] == []
    before = service.report("below")
    page.locator(".card").scroll_into_view_if_needed()
    expect(page.locator(".card .no-picture")).to_be_hidden()
    after = service.report("below")
    assert (after["last_used"], after["in_use"]) == (before["last_used"], False)


def test_a_hidden_page_receives_no_events_until_it_is_visible_again(service: Service, page: Page) -> None:
    page.evaluate(HIDE, True)
    expect(page.locator("#link")).to_have_text("Paused")
    service.create(session_id="opened-while-hidden")
    expect(page.locator(".card")).to_have_count(0)
    page.evaluate(HIDE, False)
    expect(card(page, "opened-while-hidden")).to_be_visible()
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator("#connection")).to_be_empty()


def test_a_page_that_was_hidden_for_long_waits_for_the_connection_that_it_has_just_opened(page: Page) -> None:
    assert page.evaluate(LINKS_OF_A_PAGE_THAT_WAS_HIDDEN_FOR_LONG) == [["live", "paused"], ["lost"]]


def test_processes_that_are_not_read_yet_are_not_taken_for_none(page: Page) -> None:
    assert page.evaluate(WITHOUT_PROCESSES) == ["x", None]


def test_a_broken_picture_and_that_of_another_session_are_not_shown(page: Page) -> None:
    assert page.evaluate(PICTURES) == [7, 0]


def test_a_file_that_cannot_be_read_does_not_keep_the_page_waiting(page: Page) -> None:
    sent, notes = page.evaluate(UNREADABLE_FILE)
    assert sent == {"type": "files", "files": []}
    assert notes == ["Nothing was sent: a file cannot be read (it is gone)."]


def test_processes_are_shown_in_trees_with_orphans_first(page: Page) -> None:
    def process(pid: int, ppid: int, role: str, verdict: str, **fields: object) -> dict[str, object]:
        plain = {"name": role, "reason": f"because of {pid}", "session_id": None, "memory_mb": 1}
        return plain | {"pid": pid, "ppid": ppid, "role": role, "verdict": verdict} | fields

    trees = page.evaluate(
        GROUPED,
        [
            process(10, 1, "driver", "protected", session_id="s"),
            process(11, 10, "browser", "protected", session_id="s"),
            process(12, 1, "crashpad", "protected", session_id="s"),
            process(20, 1, "browser", "foreign"),
            process(30, 1, "driver", "orphan", reason="it has ended"),
            process(31, 30, "browser", "orphan"),
            process(32, 31, "renderer", "orphan"),
            process(33, 1, "crashpad", "orphan", reason="it has ended"),
            process(40, 1, "other", "foreign", reason="defunct"),
            process(41, 1, "other", "foreign", reason="defunct"),
            process(50, 1, "driver", "protected", session_id="warm:7"),
        ],
    )
    assert trees == [
        ["ChromeDriver, PID 30", "orphan", [[30, 0], [31, 1], [32, 2], [33, 0]], 4],
        ["Browser browser, PID 20", "foreign", [[20, 0]], 1],
        ["Without a browser: other, PID 40 and 1 more", "foreign", [[40, 0], [41, 0]], 2],
        ["Session s", "protected", [[10, 0], [11, 1], [12, 0]], 3],
        ["Warm browser, PID 50", "protected", [[50, 0]], 1],
    ]


def test_open_connections_do_not_prevent_the_service_from_stopping(start_service: StartService) -> None:
    service = start_service()
    with requests.get(f"{service.url}/events", stream=True, timeout=20) as events:
        lines = events.iter_lines()
        first = next(line for line in lines if line.startswith(b"data: "))
        assert json.loads(first.removeprefix(b"data: "))["capacity"]["max_sessions"] == 10
        assert service.stop() == 0
        # An answer that was cut off would raise here.
        assert "Stopped" in str(list(lines))
