"""Who is never hurt by a cleanup, on real processes, whoever asks for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.cleanups import assert_judged, clean, killed_pids, mains, verdicts
from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.foreign_programs import (
    Automation,
    can_be_somebody_else,
    can_have_a_namespace,
    helpers_of,
    start_automation,
    unrelated_processes,
)
from tests.acceptance.service import Service, expect
from tests.machine import is_living, living, remove, short_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="starts processes as POSIX does")

PidsByName = Mapping[str, set[int]]

SCOPES: Final = ["owned", pytest.param("system", marks=pytest.mark.system_wide)]
REASONS: Final = {
    "a person's Chrome": "Chrome that was not started by a ChromeDriver",
    "a person's Chrome with a debugging port": "Chrome that was not started by a ChromeDriver",
    "Puppeteer": "Chrome in a process group of its own: no ChromeDriver looks after it",
    "Playwright": "Chrome in a process group of its own: no ChromeDriver looks after it",
    "chrome-launcher": "Chrome in a process group of its own: no ChromeDriver looks after it",
    "chromedp": "Chrome that was not started by a ChromeDriver",
    "left behind by its driver (detach)": "its ChromeDriver was told to leave it behind (`detach`)",
    "another user's Chrome": "it belongs to another user",
    "another user's ChromeDriver": "it belongs to another user",
    "another namespace": "it lives in another PID namespace, that of a container",
    "Electron's crash handler": "no Chrome in spite of its name: it runs ",
    "look-alikes": "no Chrome in spite of its name: it runs ",
}


@pytest.fixture(scope="module")
def unrelated() -> Iterator[PidsByName]:
    """Run everybody at once for the whole module; all of them live through every test."""
    home = short_folder()
    with unrelated_processes(home) as pids_by_name:
        yield pids_by_name
        assert hurt(pids_by_name) == {}
    remove(home)


@pytest.fixture
def working_script(folder: Path) -> Iterator[Automation]:
    """Run a script of somebody's that still works with its ChromeDriver and Chrome."""
    with contextlib.ExitStack() as stack:
        automation = start_automation(folder)
        stack.callback(automation.finish)
        yield automation


def hurt(unrelated: PidsByName) -> dict[str, set[int]]:
    """Give who has lost a process."""
    lost = {name: pids - living(pids) for name, pids in unrelated.items()}
    return {name: pids for name, pids in lost.items() if pids}


def pids_of_all(unrelated: PidsByName) -> set[int]:
    """Give everybody's pids, with the helpers of their browsers."""
    roots = set().union(*unrelated.values())
    return roots | {helper for pid in roots if is_living(pid) for helper in helpers_of(pid)}


@pytest.mark.parametrize("scope", SCOPES)
def test_a_cleanup_that_a_person_asks_for_hurts_nobody(
    start_service: StartService, unrelated: PidsByName, scope: str
) -> None:
    service = start_service(cleanup_scope=scope)
    session = service.create()
    spared = pids_of_all(unrelated)
    assert not spared & killed_pids(clean(service, "?dry_run=true"))
    assert not spared & killed_pids(clean(service))
    assert not spared & killed_pids(clean(service))
    assert hurt(unrelated) == {}
    assert living(mains(session)) == mains(session)


@pytest.mark.parametrize("scope", SCOPES)
def test_everybody_is_foreign_with_all_helpers_and_it_is_said_why(
    start_service: StartService, unrelated: PidsByName, scope: str
) -> None:
    service = start_service(cleanup_scope=scope)
    listed = verdicts(service)
    assert_judged(service, pids_of_all(unrelated) & listed.keys(), "foreign")
    for name, pids in unrelated.items():
        told = {listed[pid]["reason"] for pid in pids & listed.keys()}
        assert told, f"{name} is not listed"
        assert {reason for reason in told if not reason.startswith(REASONS[name])} == set(), name


def test_whom_this_machine_cannot_show_is_known(unrelated: PidsByName) -> None:
    expected = set(REASONS)
    if not can_be_somebody_else():
        expected -= {"another user's Chrome", "another user's ChromeDriver"}
    if not can_have_a_namespace():
        expected -= {"another namespace"}
    assert unrelated.keys() == expected


def test_with_scope_owned_a_script_that_works_is_spared(service: Service, working_script: Automation) -> None:
    stay = {working_script.driver, working_script.browse()}
    assert_judged(service, stay | helpers_of(working_script.driver), "foreign")
    assert not stay & killed_pids(clean(service))
    assert living(stay) == stay


def test_with_scope_owned_a_chrome_that_lost_its_driver_is_spared(
    service: Service, working_script: Automation
) -> None:
    browser = working_script.browse()
    working_script.leave()
    assert not {browser, working_script.driver} & killed_pids(clean(service))
    assert living({browser, working_script.driver}) == {browser, working_script.driver}


@pytest.mark.system_wide
def test_cleanups_that_start_by_themselves_spare_a_script_that_works_and_everybody_else(
    start_service: StartService, unrelated: PidsByName, working_script: Automation, folder: Path
) -> None:
    stay = {working_script.driver, working_script.browse()}
    lost = folder / "lost"
    lost.mkdir()
    service = start_service(cleanup_scope="system", cleanup_interval=0.5)
    abandoned = start_automation(lost)
    try:
        browser = abandoned.browse()
        since = service.mark()
        abandoned.leave()
        service.wait_for_log(f"Killing orphaned ChromeDriver process: PID {abandoned.driver}", since)
        service.wait_for_log("No orphaned processes found", service.mark())
        assert living({abandoned.driver, browser}) == set()
    finally:
        abandoned.finish()
    assert living(stay) == stay
    assert hurt(unrelated) == {}


@pytest.mark.parametrize("scope", SCOPES)
def test_a_second_instance_that_lives_and_its_sessions_are_protected(
    start_service: StartService, scope: str
) -> None:
    one, other = start_service(cleanup_scope=scope), start_service(cleanup_scope=scope)
    mine, theirs = one.create(), other.create()
    Driver(theirs).run("window.left = 42")
    assert_judged(one, mains(theirs), "protected")
    assert_judged(other, mains(mine), "protected")
    both = mains(mine, theirs)
    assert not both & (killed_pids(clean(one)) | killed_pids(clean(other)))
    assert living(both) == both
    assert Driver(theirs).run("return window.left") == 42
    assert expect(other.get(f"/sessions/{theirs['session_id']}"))["recovered"] is False
