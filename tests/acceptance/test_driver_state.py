"""After a re-attach a client's frame and overrides are as before, or their loss is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
from selenium.common.exceptions import NoSuchFrameException, NoSuchWindowException, WebDriverException
from selenium.webdriver import ActionChains, ChromeOptions
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webdriver import WebDriver

from tests.acceptance import faults
from tests.acceptance.clients import new_session
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import wait_until_saved
from tests.acceptance.service import Json, Service
from tests.cases import first_or_all
from tests.machine import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

FRAMES: Final = """
const frame = document.createElement('iframe');
frame.id = 'one';
frame.srcdoc = `<p id=inner>inner</p><iframe id=two srcdoc="<b id=deep>deep</b>"></iframe>`;
document.body.append(frame);
"""
AGENT: Final = "Mozilla/5.0 (Drover)"


@pytest.fixture
def driver(service: Service, pages: Pages) -> Iterator[WebDriver]:
    """Yield a driver object whose page has a frame within a frame."""
    with new_session(service) as driver:
        driver.implicitly_wait(5)
        driver.get(pages.url("/form"))
        driver.execute_script(FRAMES)
        driver.switch_to.frame(driver.find_element(By.ID, "one"))
        driver.find_element(By.ID, "inner")
        driver.switch_to.default_content()
        yield driver
        driver.quit()


def kill_driver(service: Service, driver: WebDriver) -> None:
    faults.kill(service.listed()[str(driver.session_id)]["driver"]["pid"])


def last_recovery(service: Service, driver: WebDriver) -> Json:
    recovery: Json = service.listed()[str(driver.session_id)]["last_recovery"]
    return recovery


def cdp(driver: WebDriver, method: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
    return driver.execute("executeCdpCommand", {"cmd": method, "params": parameters})["value"]


@pytest.mark.parametrize("by_number", [False, True])
def test_the_client_stays_in_its_frame(service: Service, driver: WebDriver, by_number: bool) -> None:
    driver.switch_to.frame(0 if by_number else driver.find_element(By.ID, "one"))
    driver.switch_to.frame(0 if by_number else driver.find_element(By.ID, "two"))
    kill_driver(service, driver)
    assert driver.find_element(By.ID, "deep").text == "deep"
    driver.switch_to.parent_frame()
    kill_driver(service, driver)
    assert driver.find_element(By.ID, "inner").text == "inner"
    assert last_recovery(service, driver)["lost"] == []


def test_a_frame_that_is_gone_is_an_error_until_the_client_chooses_again(
    service: Service, driver: WebDriver
) -> None:
    driver.switch_to.frame(driver.find_element(By.ID, "one"))
    # Another frame in its place is not the client's.
    driver.execute_script("parent.setTimeout(() => parent.document.getElementById('one').remove(), 0)")
    kill_driver(service, driver)
    driver.implicitly_wait(0)
    for _ in range(2):
        with pytest.raises(NoSuchFrameException, match="recovered"):
            driver.find_element(By.ID, "name")
    assert driver.title == "Form"
    assert last_recovery(service, driver)["lost"] == ["frame"]
    driver.switch_to.default_content()
    assert driver.find_element(By.ID, "name").is_displayed()


def test_overrides_are_set_again_in_their_tabs_and_what_cannot_be_is_named(
    service: Service, driver: WebDriver, pages: Pages
) -> None:
    first = driver.current_window_handle
    cdp(driver, "Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
    cdp(driver, "Network.setUserAgentOverride", userAgent=AGENT)
    kept = cdp(driver, "Page.addScriptToEvaluateOnNewDocument", source="window.kept = 1")["identifier"]
    removed = cdp(driver, "Page.addScriptToEvaluateOnNewDocument", source="window.removed = 1")["identifier"]
    cdp(driver, "Page.removeScriptToEvaluateOnNewDocument", identifier=removed)
    cdp(driver, "Page.setInterceptFileChooserDialog", enabled=True)
    driver.switch_to.new_window("tab")
    cdp(driver, "Emulation.setTimezoneOverride", timezoneId="Europe/Paris")
    other = driver.current_window_handle
    zone = "return Intl.DateTimeFormat().resolvedOptions().timeZone"
    for _ in range(2):
        kill_driver(service, driver)
        assert driver.execute_script(zone) == "Europe/Paris"
        driver.switch_to.window(first)
        assert driver.execute_script(zone) == "Asia/Tokyo"
        driver.get(pages.url("/form"))
        assert driver.execute_script("return [navigator.userAgent, window.kept, window.removed]") == [
            AGENT,
            1,
            None,
        ]
        driver.switch_to.window(other)
    driver.switch_to.window(first)
    cdp(driver, "Page.removeScriptToEvaluateOnNewDocument", identifier=kept)
    driver.get(pages.url("/form"))
    assert driver.execute_script("return window.kept") is None
    history = service.listed()[str(driver.session_id)]
    assert history["recoveries"] == 2


def test_what_cannot_be_set_again_is_named(service: Service, driver: WebDriver) -> None:
    cdp(driver, "Page.setInterceptFileChooserDialog", enabled=True)
    driver.execute("addVirtualAuthenticator", {"protocol": "ctap2", "transport": "usb"})
    kill_driver(service, driver)
    assert driver.title == "Form"
    assert last_recovery(service, driver)["lost"] == [
        "cdp:Page.setInterceptFileChooserDialog",
        "virtual_authenticators",
    ]


def test_the_client_stays_in_its_first_window_although_a_popup_is_in_front(
    service: Service, driver: WebDriver
) -> None:
    driver.execute_script("open('about:blank')")
    wait_until(lambda: len(driver.window_handles) == 2, "the popup is open")
    kill_driver(service, driver)
    assert driver.title == "Form"
    assert last_recovery(service, driver)["lost"] == []


def test_a_new_browser_shows_the_page_of_the_clients_window_although_a_popup_was_in_front(
    service: Service, driver: WebDriver, pages: Pages
) -> None:
    driver.execute_script("open(arguments[0])", pages.url("/red"))
    wait_until(lambda: len(driver.window_handles) == 2, "the popup is open")
    wait_until_saved()
    faults.kill(service.listed()[str(driver.session_id)]["browser"]["pid"])
    assert driver.title == "Form"


def test_a_client_whose_window_was_closed_has_to_choose_another_one(
    service: Service, driver: WebDriver
) -> None:
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    driver.close()
    for _ in range(2):
        kill_driver(service, driver)
        with pytest.raises(NoSuchWindowException, match="recovered"):
            driver.find_element(By.ID, "name")
        assert driver.window_handles == [first]
    driver.switch_to.window(first)
    assert driver.title == "Form"
    kill_driver(service, driver)
    assert driver.title == "Form"


@pytest.mark.parametrize("dies", first_or_all([False, True]))
def test_a_new_client_gets_a_window_although_the_one_before_has_closed_its_own(
    service: Service, pages: Pages, dies: bool
) -> None:
    with new_session(service, key="shared") as before:
        before.get(pages.url("/red"))
        before.switch_to.new_window("tab")
        before.close()
        if dies:
            kill_driver(service, before)
    with new_session(service, key="shared") as driver:
        assert driver.session_id == before.session_id
        assert driver.title == "Red"
        driver.get(pages.url("/form"))
        driver.quit()


SCREEN: Final = "return [screen.width, devicePixelRatio, navigator.maxTouchPoints, navigator.userAgent]"


def test_an_emulated_device_is_set_again_in_the_open_tabs(service: Service, pages: Pages) -> None:
    options = ChromeOptions()
    options.add_experimental_option("mobileEmulation", {"deviceName": "Pixel 7"})
    with new_session(service, options) as driver:
        driver.get(pages.url("/form"))
        before = driver.execute_script(SCREEN)
        assert before[:3] == [412, 2.625, 1]
        first = driver.current_window_handle
        driver.switch_to.new_window("tab")
        for _ in range(2):
            kill_driver(service, driver)
            assert driver.execute_script(SCREEN) == before
            assert last_recovery(service, driver)["lost"] == ["mobile_emulation"]
            driver.switch_to.window(first)
            driver.get(pages.url("/form"))
            assert driver.execute_script(SCREEN) == before
        driver.quit()


@pytest.mark.exhaustive
def test_settings_of_other_standards_are_set_again(service: Service, driver: WebDriver) -> None:
    base = f"/wd/hub/session/{driver.session_id}"
    for command, body in (
        ("/time_zone", {"time_zone": "Asia/Tokyo"}),
        ("/sensor", {"type": "ambient-light"}),
        ("/permissions", {"descriptor": {"name": "geolocation"}, "state": "granted"}),
    ):
        assert service.post(base + command, json=body).ok
    kill_driver(service, driver)
    zone = "return Intl.DateTimeFormat().resolvedOptions().timeZone"
    assert driver.execute_script(zone) == "Asia/Tokyo"
    assert service.get(f"{base}/sensor/ambient-light").ok
    state = "return navigator.permissions.query({name: 'geolocation'}).then(found => found.state)"
    assert driver.execute_script(state) == "granted"
    assert last_recovery(service, driver)["lost"] == []
    faults.kill(service.listed()[str(driver.session_id)]["browser"]["pid"])
    assert driver.window_handles
    assert set(last_recovery(service, driver)["lost"]) == {"permissions", "time_zone", "sensor"}


def test_no_pointer_is_pressed_where_it_is_not(service: Service, driver: WebDriver) -> None:
    ActionChains(driver).move_to_element(driver.find_element(By.ID, "name")).perform()
    kill_driver(service, driver)
    with pytest.raises(WebDriverException, match="position of the pointer"):
        ActionChains(driver).click().perform()
    assert last_recovery(service, driver)["lost"] == ["actions"]
    ActionChains(driver).click(driver.find_element(By.ID, "name")).send_keys("a").perform()
    assert driver.find_element(By.ID, "name").get_property("value") == "a"
    driver.execute(Command.W3C_CLEAR_ACTIONS)
    kill_driver(service, driver)
    ActionChains(driver).click().perform()
    assert last_recovery(service, driver)["lost"] == []
