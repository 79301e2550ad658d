"""A session that an operator uses by hand in the dashboard, in a separate browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.acceptance.conftest import StartService
from tests.acceptance.dashboards import (
    APPEARANCES,
    HIDE,
    OpenPage,
    assert_accessible,
    assert_fits,
    button,
    card,
)
from tests.acceptance.driver_commands import Driver
from tests.acceptance.faults import kill
from tests.acceptance.pages import Pages
from tests.acceptance.service import Service, running
from tests.machine import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")

CLIPBOARD: Final = ["clipboard-read", "clipboard-write"]
DRAWN: Final = "return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
PRESSED: Final = "return document.body.dataset.pressed"
SHARES_NO_CLIPBOARD: Final = "delete Navigator.prototype.clipboard"


class Hands:
    """An operator who has the large view of a session open, and a driver that tells what has arrived."""

    def __init__(self, page: Page, service: Service, session_id: str = "job") -> None:
        self.page = page
        self._service = service
        self._session_id = session_id
        self.driver = Driver(service.listed()[session_id])
        button(page, f"View {session_id}").click()
        wait_until(lambda: page.evaluate("document.getElementById('viewer-live').width"), "a large picture")

    def take_control(self) -> None:
        button(self.page, "Take control").click()
        expect(self.page.locator("#control-sign")).to_have_text("You are in control")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the place on the screen of a place in the page."""
        width, height = self.driver.run("return [innerWidth, innerHeight]")
        box = self.page.locator("#viewer-live").bounding_box()
        assert box is not None
        return box["x"] + x * box["width"] / width, box["y"] + y * box["height"] / height

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.place(x, y))

    def click_on(self, element: str) -> None:
        """Click into the middle of an element of the page."""
        read = f"const box = document.getElementById({element!r}).getBoundingClientRect(); "
        x, y, width, height = self.driver.run(read + "return [box.x, box.y, box.width, box.height]")
        self.click(x + width / 2, y + height / 2)

    def value(self, element: str) -> object:
        return self.driver.run(f"return document.getElementById({element!r}).value")

    def wait_for_value(self, element: str, value: str) -> None:
        wait_until(lambda: self.value(element) == value, f"{element} has the value {value}")

    def wait_for_title(self, title: str) -> None:
        """Wait without a WebDriver command, which would close an open dialog."""
        wait_until(lambda: title in self._titles(), f"the title is {title}")

    def _titles(self) -> list[str]:
        listed = self._service.get(f"/sessions/{self._session_id}/json/list").json()
        return [target["title"] for target in listed]


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that probes its sessions every second."""
    with running(watch_interval=1) as service:
        yield service


@pytest.fixture
def page(open_page: OpenPage, service: Service, console_errors: list[str]) -> Iterator[Page]:
    """Yield the dashboard; assert that its console shows no error."""
    yield open_page(service, permissions=CLIPBOARD)
    assert console_errors == []


@pytest.fixture
def hands(page: Page, service: Service, pages: Pages) -> Hands:
    """Return an operator who is in control of a session."""
    service.create(session_id="job", url=pages.url("/hands"))
    hands = Hands(page, service)
    hands.driver.run(DRAWN)
    hands.take_control()
    return hands


def compose(session: CDPSession, first: str, composed: str) -> None:
    """Compose text as an input method does."""
    session.send("Input.imeSetComposition", {"text": first, "selectionStart": 1, "selectionEnd": 1})
    session.send("Input.insertText", {"text": composed})


def test_a_person_signs_in_with_a_second_factor(page: Page, service: Service, pages: Pages) -> None:
    service.create(session_id="job", url=pages.url("/login"))
    hands = Hands(page, service)
    hands.driver.run(DRAWN)
    hands.take_control()
    hands.click_on("user")
    page.keyboard.type("Zoë")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    asked = page.get_by_role("dialog", name="The page says")
    expect(asked).to_contain_text("Wrong password")
    button(asked, "OK").click()
    hands.wait_for_title("Sign in again")
    hands.click_on("word")
    page.keyboard.press("Control+a")
    page.keyboard.type("ünlösbar")
    compose(page.context.new_cdp_session(page), "nihon", "日本")
    hands.wait_for_value("word", "ünlösbar日本")
    page.keyboard.press("Enter")
    wait_until(lambda: hands.driver.run("return document.activeElement.id") == "code", "it asks for a code")
    page.evaluate("navigator.clipboard.writeText('123456')")
    page.keyboard.press("Control+v")
    hands.wait_for_value("code", "123456")
    page.keyboard.press("Enter")
    button(page.get_by_role("dialog", name="The page asks"), "OK").click()
    hands.wait_for_title("Welcome Zoë")
    assert service.report("job")["in_use"]
    button(page, "Give back control").click()
    expect(page.locator("#control-sign")).to_have_text("View only")
    wait_until(lambda: not service.report("job")["in_use"], "the session is free again")


def test_nothing_reaches_the_page_before_control_is_taken(page: Page, service: Service, pages: Pages) -> None:
    service.create(session_id="job", url=pages.url("/hands"))
    hands = Hands(page, service)
    expect(page.locator("#control-sign")).to_have_text("View only")
    expect(page.locator("#page-bar")).to_be_hidden()
    hands.click(50, 25)
    expect(page.locator("#viewer-note")).to_contain_text("Take control")
    page.keyboard.type("unheard")
    assert hands.value("text") == ""
    assert hands.driver.run(PRESSED) is None
    assert not service.report("job")["in_use"]
    hands.take_control()
    hands.click(400, 25)
    wait_until(lambda: hands.driver.run(PRESSED), "the press has arrived")
    x, y = map(float, str(hands.driver.run(PRESSED)).split(","))
    assert abs(x - 400) <= 1
    assert abs(y - 25) <= 1


@pytest.mark.exhaustive
def test_text_is_selected_with_the_mouse_and_copied_out(hands: Hands) -> None:
    page = hands.page
    page.mouse.move(*hands.place(11, 222))
    page.mouse.down()
    page.mouse.move(*hands.place(150, 222), steps=3)
    page.mouse.move(*hands.place(300, 222), steps=3)
    page.mouse.up()
    page.keyboard.press("Control+c")
    expect(page.locator("#viewer-note")).to_have_text("Copied: some words here")
    assert str(page.evaluate("navigator.clipboard.readText()")).strip() == "some words here"
    page.evaluate(SHARES_NO_CLIPBOARD)
    button(page, "Copy").click()
    expect(page.get_by_role("dialog", name="Text from the page")).to_be_visible()
    expect(page.locator("#text-content")).to_have_value("some words here")


def test_an_element_is_dragged_and_the_wheel_scrolls(hands: Hands) -> None:
    page = hands.page

    def drag() -> bool:
        page.mouse.move(*hands.place(50, 275))
        page.mouse.down()
        for x in range(60, 330, 30):
            page.mouse.move(*hands.place(x, 275))
            hands.driver.run("return new Promise(requestAnimationFrame)")
        page.mouse.up()
        title = "return new Promise(done => setTimeout(() => done(document.title), 200))"
        return bool(hands.driver.run(title) == "dragged")

    wait_until(drag, "the element was dropped")
    page.mouse.wheel(0, 500)
    wait_until(lambda: hands.driver.run("return scrollY") == 500, "the page was scrolled")


def test_a_list_a_prompt_and_a_file_chooser_are_shown_as_dialogs(hands: Hands) -> None:
    page = hands.page
    hands.click_on("list")
    choice = page.get_by_role("dialog", name="Choose an option")
    expect(choice.get_by_role("option", name="two")).to_be_disabled()
    assert_accessible(page)
    choice.get_by_role("option", name="three").click()
    hands.wait_for_value("list", "three")
    hands.click_on("list")
    expect(choice).to_be_visible()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    hands.wait_for_value("list", "one")
    hands.click(50, 175)
    asked = page.get_by_role("dialog", name="The page asks")
    expect(asked).to_contain_text("Who?")
    assert_accessible(page)
    expect(asked.get_by_role("textbox")).to_have_value("me")
    page.keyboard.type("日本")
    page.keyboard.press("Enter")
    hands.wait_for_title("日本")
    hands.click_on("file")
    chooser = page.get_by_role("dialog", name="The page asks for a file")
    expect(chooser).to_be_visible()
    assert_accessible(page)
    content = {"name": "Übung.txt", "mimeType": "text/plain", "buffer": b"content"}
    page.locator("#files-input").set_input_files(content)  # type: ignore[arg-type]
    button(chooser, "Send to the page").click()
    read = "return document.getElementById('file').files[0]?.text()"
    wait_until(lambda: hands.driver.run(read) == "content", "the page has the file")


def test_a_dialog_that_was_closed_while_nobody_watched_is_not_asked_about(
    page: Page, service: Service, pages: Pages
) -> None:
    service.create(session_id="job", url=pages.url("/hands"))
    hands = Hands(page, service)
    hands.driver.run("setTimeout(() => confirm('Really?'))")
    expect(page.locator("#viewer-note")).to_contain_text("Really?")
    page.evaluate(HIDE, True)
    hands.driver.dismiss_alert()
    page.evaluate(HIDE, False)
    expect(page.locator("#viewer-note")).to_have_text("")
    hands.take_control()
    expect(page.get_by_role("dialog", name="The page asks")).to_be_hidden()


def test_the_bar_opens_addresses_and_goes_back(hands: Hands, pages: Pages) -> None:
    page, address = hands.page, hands.page.get_by_label("Address", exact=True)
    expect(address).to_have_value(pages.url("/hands"))
    page.keyboard.press("F6")
    expect(address).to_be_focused()
    address.fill(pages.url("/red"))
    page.keyboard.press("Enter")
    hands.wait_for_title("Red")
    expect(address).to_have_value(pages.url("/red"))
    button(page, "Back").click()
    expect(address).to_have_value(pages.url("/hands"))
    hands.driver.run("document.title = 'before the reload'")
    button(page, "Reload").click()
    hands.wait_for_title("Hands")
    address.fill("file:///etc/passwd")
    button(page, "Go").click()
    expect(page.locator("#viewer-note")).to_contain_text("http")


@pytest.mark.exhaustive
def test_escape_belongs_to_the_page_while_its_keyboard_is_used(hands: Hands) -> None:
    hands.click_on("text")
    hands.driver.run("onkeydown = event => document.title = event.key")
    hands.page.keyboard.press("Escape")
    hands.wait_for_title("Escape")
    expect(hands.page.locator("#viewer")).to_be_visible()
    hands.page.keyboard.press("F6")
    hands.page.keyboard.press("Escape")
    expect(hands.page.locator("#viewer")).to_be_hidden()


def test_text_is_entered_without_a_clipboard(hands: Hands) -> None:
    hands.click_on("text")
    button(hands.page, "Enter text").click()
    dialog = hands.page.get_by_role("dialog", name="Text for the page")
    dialog.get_by_role("textbox").fill("ß日本")
    button(dialog, "Insert into the page").click()
    hands.wait_for_value("text", "ß日本")


@pytest.mark.exhaustive
def test_a_second_person_sees_who_is_in_control_and_can_take_it(
    start_service: StartService, open_page: OpenPage, console_errors: list[str]
) -> None:
    service = start_service(api_token="open sesame")
    bearer = {"Authorization": "Bearer open sesame"}
    service.post("/sessions", json={"session_id": "job"}, headers=bearer)
    opened = []
    for name in ("Anna", "Ben"):
        page = open_page(service, http_credentials={"username": name, "password": "open sesame"})
        button(page, "View job").click()
        expect(page.locator("#control-sign")).to_have_text("View only")
        opened.append(page)
    anna, ben = opened
    wait_until(lambda: anna.evaluate("document.getElementById('viewer-live').width"), "a large picture")
    button(anna, "Take control").click()
    expect(anna.locator("#control-sign")).to_have_text("You are in control")
    expect(ben.locator("#control-sign")).to_have_text("Anna is in control")
    expect(ben.locator("#viewer-facts")).to_contain_text("Anna, by hand")
    button(ben, "Take control").click()
    expect(anna.locator("#control-sign")).to_have_text("Ben is in control")
    expect(anna.locator("#page-bar")).to_be_hidden()
    assert console_errors == []


def test_the_view_lives_through_a_recovery(hands: Hands, service: Service, pages: Pages) -> None:
    page, address = hands.page, hands.page.get_by_label("Address", exact=True)
    kill(service.listed()["job"]["browser"]["pid"])
    expect(card(page, "job")).to_contain_text("the browser had died")
    expect(page.locator("#control-sign")).to_have_text("You are in control")
    expect(page.locator("#viewer-note")).to_be_empty()
    hands.driver = Driver(service.listed()["job"])

    def opened() -> bool:
        address.fill(pages.url("/hands"))
        button(page, "Go").click()
        return bool(hands.driver.run("return document.title") == "Hands")

    wait_until(opened, "the page is open again")
    hands.driver.run(DRAWN)
    hands.click_on("text")
    page.keyboard.type("again é")
    hands.wait_for_value("text", "again é")


def test_the_end_of_the_session_is_shown(hands: Hands, service: Service, console_errors: list[str]) -> None:
    service.delete("/sessions/job")
    expect(hands.page.locator("#viewer-note")).to_have_text("This session is closed.")
    expect(button(hands.page, "Take control")).to_be_hidden()
    expect(hands.page.locator("#control-sign")).to_have_text("View only")
    # A screenshot for the card may be on its way at this moment.
    console_errors[:] = [text for text in console_errors if "404" not in text]


@pytest.mark.exhaustive
@pytest.mark.parametrize("appearance", APPEARANCES)
def test_the_view_is_accessible_and_fits_its_window(
    service: Service, open_page: OpenPage, console_errors: list[str], pages: Pages, appearance: str
) -> None:
    service.create(session_id="job", url=pages.url("/hands"))
    page = open_page(service, **APPEARANCES[appearance])
    hands = Hands(page, service)
    assert_accessible(page)
    assert_fits(page)
    hands.take_control()
    assert_accessible(page)
    assert_fits(page)
    button(page, "Enter text").click()
    assert_accessible(page)
    assert_fits(page)
    assert console_errors == []


@pytest.mark.exhaustive
def test_a_phone_taps_scrolls_and_types(service: Service, open_page: OpenPage, pages: Pages) -> None:
    service.create(session_id="job", url=pages.url("/hands"))
    page = open_page(service, **APPEARANCES["phone"], has_touch=True, is_mobile=True)
    hands = Hands(page, service)
    hands.driver.run(DRAWN)
    hands.take_control()
    page.touchscreen.tap(*hands.place(50, 25))
    wait_until(lambda: hands.driver.run("return document.activeElement.id") == "text", "the tap has arrived")
    button(page, "Keyboard").click()
    # A phone's keyboard sends no keys, only what it has written.
    session = page.context.new_cdp_session(page)
    compose(session, "e", "éa")
    hands.wait_for_value("text", "éa")
    page.evaluate("document.execCommand('delete')")
    hands.wait_for_value("text", "é")
    x, y = hands.place(400, 300)
    touch = {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    session.send("Input.dispatchTouchEvent", touch)
    for step in range(1, 6):
        moved = {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 20 * step}]}
        session.send("Input.dispatchTouchEvent", moved)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_until(lambda: hands.driver.run("return scrollY") > 50, "the page was scrolled")
