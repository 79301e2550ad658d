"""The shapes in which foreign programs leave Chrome and ChromeDriver behind; each returns the pids."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psutil
import requests

from tests.acceptance.faults import stop
from tests.acceptance.foreign_programs import (
    START_S,
    SUBREAPER,
    Automation,
    copied,
    first_browser,
    helpers_of,
    start_automation,
)
from tests.machine import marked, wait_gone, wait_until

Shape = Callable[[contextlib.ExitStack, Path], set[int]]


def registered(stack: contextlib.ExitStack, automation: Automation) -> Automation:
    """End what is left of an automation with the test."""
    stack.callback(automation.finish)
    return automation


def lose_driver(automation: Automation, browser: int) -> set[int]:
    """Kill the ChromeDriver; return its Chrome with all helpers, wherever they were re-parented to."""
    psutil.Process(automation.driver).kill()
    wait_gone([automation.driver])
    wait_until(lambda: psutil.Process(browser).ppid() != automation.driver, "Chrome is re-parented")
    return {browser} | helpers_of(browser)


def driver_alone(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    """A ChromeDriver without a browser, whose program has ended."""
    automation = registered(stack, start_automation(folder))
    automation.leave()
    return {automation.driver}


def driver_with_chrome(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    """A ChromeDriver and a Chrome, whose program has ended."""
    automation = registered(stack, start_automation(folder))
    browser = automation.browse()
    automation.leave()
    return {automation.driver, browser} | helpers_of(browser)


def renamed_driver(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    """The same with the binary that undetected-chromedriver patches and renames."""
    renamed = copied("chromedriver", folder / "undetected_chromedriver")
    automation = registered(stack, start_automation(folder, driver=renamed))
    browser = automation.browse()
    automation.leave()
    return {automation.driver, browser} | helpers_of(browser)


def chrome_of_a_dead_driver(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    """Chrome in the process group of its dead ChromeDriver, while the program still runs."""
    automation = registered(stack, start_automation(folder, own_session=True))
    return lose_driver(automation, automation.browse())


def chrome_of_a_dead_driver_and_program(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    """Chrome in the process group of its dead program; the ChromeDriver is dead too."""
    automation = registered(stack, start_automation(folder))
    browser = automation.browse()
    automation.leave()
    return lose_driver(automation, browser)


def chrome_at_a_subreaper(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    """Chrome that was re-parented to a subreaper whose name is not known."""
    automation = registered(stack, start_automation(folder, before=SUBREAPER, own_session=True))
    browser = automation.browse()
    automation.leave()
    left = lose_driver(automation, browser)
    assert psutil.Process(browser).ppid() == automation.program.pid
    return left


def half_started(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    """A Chrome that was stopped as soon as it existed, and that no program waits for any more."""
    automation = registered(stack, start_automation(folder, own_session=True))
    caller = stack.enter_context(ThreadPoolExecutor(1))
    request = caller.submit(automation.request_session)
    browser = first_browser(automation.driver)
    stop(browser)
    psutil.Process(automation.driver).kill()
    wait_gone([automation.driver])
    assert isinstance(request.exception(START_S), requests.ConnectionError)
    return {browser}


def stopped(stack: contextlib.ExitStack, folder: Path) -> set[int]:
    """A ChromeDriver and a Chrome that were both stopped."""
    automation = registered(stack, start_automation(folder))
    browser = automation.browse()
    automation.leave()
    stop(browser)
    stop(automation.driver)
    return {automation.driver, browser} | helpers_of(browser)


def chromes(folder: Path) -> list[str]:
    """Return the names of all living Chrome and ChromeDriver processes below a folder."""
    return [name for name in map(psutil.Process.name, marked(folder)) if "chrom" in name]


SHAPES: Final = [
    driver_alone,
    driver_with_chrome,
    renamed_driver,
    chrome_of_a_dead_driver,
    chrome_of_a_dead_driver_and_program,
    chrome_at_a_subreaper,
    half_started,
    stopped,
]
