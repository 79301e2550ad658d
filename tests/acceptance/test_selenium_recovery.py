"""A Selenium driver object survives the loss of its ChromeDriver, its browser and its tab."""

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
from tests.cases import first_or_all
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
each_fault = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.exhaustive] if name.endswith("stopped") else [])
        for name in FAULTS
    ],
)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service in which only a client's access triggers a health check."""
    with running(watch_interval=0) as service:
        yield service


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Yield the module's service; the one session stays."""
    return shared_service


@pytest.fixture(scope="module")
def shared_driver(shared_service: Service) -> Iterator[WebDriver]:
    """Yield one driver object, which is used by all tests of this module."""
    with new_session(shared_service) as driver:
        yield driver


@pytest.fixture
def driver(shared_driver: WebDriver) -> Iterator[WebDriver]:
    """Return the driver object with its initial timeouts and its one initial window."""
    yield shared_driver
    kept, *others = shared_driver.window_handles
    for handle in others:
        shared_driver.switch_to.window(handle)
        shared_driver.close()
    shared_driver.switch_to.window(kept)
    shared_driver.set_script_timeout(30)
    shared_driver.implicitly_wait(0)


def session_of(service: Service, driver: WebDriver) -> Json:
    """Return the session object of a driver object."""
    return service.listed()[str(driver.session_id)]


def open_form(driver: WebDriver, pages: Pages, fault: str) -> None:
    """Open a page, and wait until its state is safe from the fault."""
    driver.get(pages.url("/form"))
    if fault.startswith("Chrome "):
        wait_until_saved()


def inject_fault(service: Service, driver: WebDriver, name: str) -> str:
    """Inject a fault into a session; return the least intrusive recovery from it."""
    fault, method = FAULTS[name]
    fault(session_of(service, driver))
    return method


def endless_script(pages: Pages) -> tuple[str, str]:
    """Return a script that reports to the server and does not end, and the path that it requests."""
    path = f"/?run={next(_numbers)}"
    return f"fetch({pages.url(path)!r}); void arguments", path


def in_flight(command: Callable[[], Any], begun: Callable[[], object]) -> Future[Any]:
    """Send a command in a thread, and return when it runs."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(command)
    pool.shutdown(wait=False)
    wait_until(begun, "the command runs", 30)
    return future


@each_fault
def test_a_fault_between_two_commands_is_transparent(
    service: Service, driver: WebDriver, pages: Pages, name: str
) -> None:
    driver.set_script_timeout(7)
    driver.implicitly_wait(0.25)
    before = session_of(service, driver)["recoveries"]
    driver.get(pages.url("/form"))
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    driver.get(pages.url("/red"))
    other = driver.current_window_handle
    driver.switch_to.window(first)
    if name.startswith("Chrome "):
        wait_until_saved()
    method = inject_fault(service, driver, name)
    # A command that changes something is also sent: the dead ChromeDriver never received it.
    driver.execute_script("document.title = 'Set'")
    assert driver.title == "Set"
    assert driver.current_url == pages.url("/form")
    assert (driver.timeouts.script, driver.timeouts.implicit_wait) == (7, 0.25)
    session = session_of(service, driver)
    assert session["last_recovery"]["method"] == method
    assert session["recoveries"] == before + 1
    if method == "reattached":
        assert set(driver.window_handles) == {first, other}
        assert driver.current_window_handle == first


@each_fault
def test_a_command_in_flight_is_not_repeated_and_its_error_names_the_recovery(
    service: Service, driver: WebDriver, pages: Pages, name: str
) -> None:
    open_form(driver, pages, name)
    script, path = endless_script(pages)
    running = in_flight(partial(driver.execute_async_script, script), lambda: path in pages.visits)
    method = inject_fault(service, driver, name)
    error = running.exception(60)
    assert isinstance(error, WebDriverException)
    assert "recovered" in str(error)
    assert method in str(error)
    assert driver.title == "Form"
    assert pages.visits.count(path) == 1


@pytest.mark.parametrize("name", first_or_all(["ChromeDriver killed", "Chrome killed"]))
def test_a_page_that_was_loading_is_requested_once(
    service: Service, driver: WebDriver, pages: Pages, slow_page: Gate, name: str
) -> None:
    open_form(driver, pages, name)
    loading = in_flight(partial(driver.get, slow_page.url), slow_page.requested.is_set)
    method = inject_fault(service, driver, name)
    assert f"recovered ({method})" in str(loading.exception(60))
    assert driver.title == "Form"
    assert pages.visits.count(slow_page.url.removeprefix(pages.url(""))) == 1


@pytest.mark.parametrize("name", first_or_all(["ChromeDriver killed", "Chrome killed"]))
def test_a_read_in_flight_is_repeated_only_for_the_same_page(
    service: Service, driver: WebDriver, pages: Pages, name: str
) -> None:
    open_form(driver, pages, name)
    # The page is too busy to answer, and ChromeDriver waits with the read.
    path = f"/?busy={next(_numbers)}"
    driver.execute_script(BUSY, pages.url(path))
    wait_until(lambda: path in pages.visits, "the page is busy")
    read = in_flight(lambda: driver.title, lambda: session_of(service, driver)["in_use"])
    method = inject_fault(service, driver, name)
    if method == "reattached":
        assert read.result(60) == "Late"
    else:
        assert "recovered (restored)" in str(read.exception(60))
        assert driver.title == "Form"
    assert session_of(service, driver)["last_recovery"]["method"] == method


def test_a_crashed_tab_is_reloaded_for_the_next_command(
    service: Service, driver: WebDriver, pages: Pages
) -> None:
    driver.get(pages.url("/form"))
    with pytest.raises(WebDriverException, match=r"tab_crashed|recovered"):
        driver.get("chrome://crash")
    driver.get(pages.url("/form"))
    assert driver.title == "Form"
    assert session_of(service, driver)["last_recovery"]["cause"] == "tab_crashed"


def test_a_tab_crash_between_two_commands_is_transparent(
    service: Service, driver: WebDriver, pages: Pages
) -> None:
    driver.get(pages.url("/form"))
    faults.kill(*faults.renderers(session_of(service, driver)))
    wait_until(
        lambda: service.report(str(driver.session_id))["health"]["status"] == "dead", "the crash is detected"
    )
    assert driver.title == "Form"


def test_elements_stay_valid_after_a_reattach(service: Service, driver: WebDriver, pages: Pages) -> None:
    driver.get(pages.url("/form"))
    field = driver.find_element(By.ID, "name")
    field.send_keys("Ada")
    inject_fault(service, driver, "ChromeDriver killed")
    field.send_keys(" L")
    assert field.get_property("value") == "Ada L"


@pytest.mark.exhaustive
def test_elements_of_a_lost_page_are_stale(service: Service, driver: WebDriver, pages: Pages) -> None:
    open_form(driver, pages, "Chrome killed")
    field = driver.find_element(By.ID, "name")
    inject_fault(service, driver, "Chrome killed")
    with pytest.raises((NoSuchElementException, StaleElementReferenceException)):
        field.send_keys("lost")
    driver.find_element(By.ID, "name").send_keys("found")


def test_two_programs_on_one_session_both_continue(service: Service, driver: WebDriver, pages: Pages) -> None:
    before = session_of(service, driver)["recoveries"]
    driver.get(pages.url("/form"))
    with attached(service, str(driver.session_id)) as other:
        inject_fault(service, driver, "ChromeDriver killed")
        assert [other.title, driver.title] == ["Form", "Form"]
    assert session_of(service, driver)["recoveries"] == before + 1


@pytest.mark.parametrize("name", first_or_all(["ChromeDriver stopped", "Chrome killed"]))
def test_quitting_a_dead_session_leaves_nothing(service: Service, name: str) -> None:
    known = set(service.listed())
    with new_session(service) as driver:
        pids = pids_of(session_of(service, driver))
        inject_fault(service, driver, name)
        driver.quit()
    assert set(service.listed()) == known
    assert living(pids) == set()
