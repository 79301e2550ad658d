"""A driver object of Selenium's that outlives the deaths of its ChromeDriver, its browser and its tab."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import pytest
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from tests.acceptance import faults
from tests.acceptance.clients import attached, new_session
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.saved_state import wait_until_saved
from tests.acceptance.service import Json, Service, pids_of, running
from tests.machine import living, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

Fault = Callable[[Json], None]

FAULTS: Final[dict[str, tuple[Fault, str]]] = {
    "ChromeDriver killed": (lambda session: faults.kill(session["driver"]["pid"]), "reattached"),
    "ChromeDriver stopped": (lambda session: faults.stop(session["driver"]["pid"]), "reattached"),
    "Chrome killed": (lambda session: faults.kill(session["browser"]["pid"]), "restored"),
    "Chrome stopped": (lambda session: faults.stop(session["browser"]["pid"]), "restored"),
}
BUSY: Final = """
const [address] = arguments;
const busy = () => {
    const over = Date.now() + 3000;
    fetch(address);
    while (Date.now() < over);
    document.title = 'Late';
};
setTimeout(busy, 100);
"""
each_fault = pytest.mark.parametrize("name", FAULTS)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that nothing but a client's access makes look at its sessions."""
    with running(watch_interval=0) as service:
        yield service


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Give the module's service; the one session stays."""
    return shared_service


@pytest.fixture(scope="module")
def immortal(shared_service: Service) -> Iterator[WebDriver]:
    """Give one driver object, which lives through all that happens in this module."""
    with new_session(shared_service) as driver:
        yield driver


@pytest.fixture
def driver(immortal: WebDriver) -> Iterator[WebDriver]:
    """Give the driver object with the timeouts and the one window that it began with."""
    yield immortal
    kept, *others = immortal.window_handles
    for handle in others:
        immortal.switch_to.window(handle)
        immortal.close()
    immortal.switch_to.window(kept)
    immortal.set_script_timeout(30)
    immortal.implicitly_wait(0)


def of(service: Service, driver: WebDriver) -> Json:
    """Give the session object of a driver object."""
    return service.listed()[str(driver.session_id)]


def open_form(driver: WebDriver, pages: Pages, fault: str) -> None:
    """Open a page, and let as much time pass as it takes to be safe from a fault."""
    driver.get(pages.url("/form"))
    if fault.startswith("Chrome "):
        wait_until_saved()


def inject_fault(service: Service, driver: WebDriver, name: str) -> str:
    """Let a fault befall a session; gives the gentlest recovery from it."""
    fault, method = FAULTS[name]
    fault(of(service, driver))
    return method


def count_and_stay(pages: Pages) -> tuple[str, str]:
    """Give a script that tells the server that it runs, and does not end; and the path that it asks for."""
    path = f"/?run={next(_numbers)}"
    return f"fetch({pages.url(path)!r}); void arguments", path


def in_flight(command: Callable[[], Any], begun: Callable[[], object]) -> Future[Any]:
    """Send a command on a thread, and come back when it runs."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(command)
    pool.shutdown(wait=False)
    wait_until(begun, "the command runs", 30)
    return future


@each_fault
def test_a_fault_between_two_commands_is_not_noticed(
    service: Service, driver: WebDriver, pages: Pages, name: str
) -> None:
    driver.set_script_timeout(7)
    driver.implicitly_wait(0.25)
    before = of(service, driver)["recoveries"]
    driver.get(pages.url("/form"))
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    driver.get(pages.url("/red"))
    other = driver.current_window_handle
    driver.switch_to.window(first)
    if name.startswith("Chrome "):
        wait_until_saved()
    method = inject_fault(service, driver, name)
    # A command that changes something is sent as well: it has never been on its way.
    driver.execute_script("document.title = 'Set'")
    assert driver.title == "Set"
    assert driver.current_url == pages.url("/form")
    assert (driver.timeouts.script, driver.timeouts.implicit_wait) == (7, 0.25)
    told = of(service, driver)
    assert told["last_recovery"]["method"] == method
    assert told["recoveries"] == before + 1
    if method == "reattached":
        assert set(driver.window_handles) == {first, other}
        assert driver.current_window_handle == first


@each_fault
def test_a_command_in_flight_gets_an_error_that_names_the_recovery_and_is_not_run_twice(
    service: Service, driver: WebDriver, pages: Pages, name: str
) -> None:
    open_form(driver, pages, name)
    script, path = count_and_stay(pages)
    running = in_flight(partial(driver.execute_async_script, script), lambda: path in pages.visits)
    method = inject_fault(service, driver, name)
    error = running.exception(60)
    assert isinstance(error, WebDriverException)
    assert "recovered" in str(error)
    assert method in str(error)
    assert driver.title == "Form"
    assert pages.visits.count(path) == 1


@pytest.mark.parametrize("name", ["ChromeDriver killed", "Chrome killed"])
def test_a_page_that_was_loading_is_asked_for_once(
    service: Service, driver: WebDriver, pages: Pages, slow_page: Gate, name: str
) -> None:
    open_form(driver, pages, name)
    loading = in_flight(partial(driver.get, slow_page.url), slow_page.asked.is_set)
    method = inject_fault(service, driver, name)
    assert f"recovered ({method})" in str(loading.exception(60))
    assert driver.title == "Form"
    assert pages.visits.count(slow_page.url.removeprefix(pages.url(""))) == 1


@pytest.mark.parametrize("name", ["ChromeDriver killed", "Chrome killed"])
def test_a_question_in_flight_is_asked_again_of_the_same_page_only(
    service: Service, driver: WebDriver, pages: Pages, name: str
) -> None:
    open_form(driver, pages, name)
    # The page is too busy to answer, and ChromeDriver waits with the question.
    path = f"/?busy={next(_numbers)}"
    driver.execute_script(BUSY, pages.url(path))
    wait_until(lambda: path in pages.visits, "the page is busy")
    asked = in_flight(lambda: driver.title, lambda: of(service, driver)["in_use"])
    method = inject_fault(service, driver, name)
    if method == "reattached":
        assert asked.result(60) == "Late"
    else:
        assert "recovered (restored)" in str(asked.exception(60))
        assert driver.title == "Form"
    assert of(service, driver)["last_recovery"]["method"] == method


def test_a_crashed_tab_is_loaded_again_for_the_next_command(
    service: Service, driver: WebDriver, pages: Pages
) -> None:
    driver.get(pages.url("/form"))
    with pytest.raises(WebDriverException, match=r"tab_crashed|recovered"):
        driver.get("chrome://crash")
    driver.get(pages.url("/form"))
    assert driver.title == "Form"
    assert of(service, driver)["last_recovery"]["cause"] == "tab_crashed"


def test_a_tab_that_crashed_between_two_commands_is_not_noticed(
    service: Service, driver: WebDriver, pages: Pages
) -> None:
    driver.get(pages.url("/form"))
    faults.kill(*faults.renderers(of(service, driver)))
    wait_until(
        lambda: service.report(str(driver.session_id))["health"]["status"] == "dead", "the crash is known"
    )
    assert driver.title == "Form"


def test_elements_are_still_there_after_a_reattach(service: Service, driver: WebDriver, pages: Pages) -> None:
    driver.get(pages.url("/form"))
    field = driver.find_element(By.ID, "name")
    field.send_keys("Ada")
    inject_fault(service, driver, "ChromeDriver killed")
    field.send_keys(" L")
    assert field.get_property("value") == "Ada L"


def test_elements_of_a_lost_page_are_said_to_be_gone(
    service: Service, driver: WebDriver, pages: Pages
) -> None:
    open_form(driver, pages, "Chrome killed")
    field = driver.find_element(By.ID, "name")
    inject_fault(service, driver, "Chrome killed")
    with pytest.raises((NoSuchElementException, StaleElementReferenceException)):
        field.send_keys("lost")
    driver.find_element(By.ID, "name").send_keys("found")


def test_two_programs_on_one_session_both_go_on(service: Service, driver: WebDriver, pages: Pages) -> None:
    before = of(service, driver)["recoveries"]
    driver.get(pages.url("/form"))
    with attached(service, str(driver.session_id)) as other:
        inject_fault(service, driver, "ChromeDriver killed")
        assert [other.title, driver.title] == ["Form", "Form"]
    assert of(service, driver)["recoveries"] == before + 1


@pytest.mark.parametrize("name", ["ChromeDriver stopped", "Chrome killed"])
def test_a_session_that_is_quit_when_it_is_dead_leaves_nothing(service: Service, name: str) -> None:
    known = set(service.listed())
    with new_session(service) as driver:
        pids = pids_of(of(service, driver))
        inject_fault(service, driver, name)
        driver.quit()
    assert set(service.listed()) == known
    assert living(pids) == set()
