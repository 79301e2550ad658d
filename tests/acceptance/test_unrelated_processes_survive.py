"""Processes that a cleanup must never end, on real processes, for every trigger."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.cleanups import (
    assert_judged,
    clean,
    killed_pids,
    main_pids,
    proves_orphans,
    verdicts,
)
from tests.acceptance.conftest import StartService
from tests.acceptance.driver_commands import Driver
from tests.acceptance.foreign_programs import (
    Automation,
    can_be_another_user,
    can_have_a_namespace,
    helpers_of,
    start_automation,
    unrelated_processes,
)
from tests.acceptance.service import Service, expect
from tests.machine import is_living, living, remove, short_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="starts processes with POSIX means")

PidsByName = Mapping[str, set[int]]

SCOPES: Final = ["owned", pytest.param("system", marks=pytest.mark.system_wide)]
REASONS: Final = {
    "a person's Chrome": "Chrome not started by a ChromeDriver",
    "a person's Chrome with a debugging port": "Chrome not started by a ChromeDriver",
    "Puppeteer": "Chrome in its own process group; no ChromeDriver manages it",
    "Playwright": "Chrome in its own process group; no ChromeDriver manages it",
    "chrome-launcher": "Chrome in its own process group; no ChromeDriver manages it",
    "chromedp": "Chrome not started by a ChromeDriver",
    "left behind by its driver (detach)": "its ChromeDriver was told to leave it running (`detach`)",
    "another user's Chrome": "belongs to another user",
    "another user's ChromeDriver": "belongs to another user",
    "another namespace": "runs in another PID namespace, such as a container",
    "Electron's crash handler": "not Chrome despite its name; it runs ",
    "look-alikes": "not Chrome despite its name; it runs ",
}


@pytest.fixture(scope="module")
def unrelated() -> Iterator[PidsByName]:
    """Run all unrelated processes for the whole module; all of them survive every test."""
    home = short_folder()
    with unrelated_processes(home) as pids_by_name:
        yield pids_by_name
        assert lost_pids(pids_by_name) == {}
    remove(home)


@pytest.fixture
def working_script(folder: Path) -> Iterator[Automation]:
    """Run a foreign script that still uses its ChromeDriver and Chrome."""
    with contextlib.ExitStack() as stack:
        automation = start_automation(folder)
        stack.callback(automation.finish)
        yield automation


def lost_pids(unrelated: PidsByName) -> dict[str, set[int]]:
    """Return those that lost a process, with the lost pids."""
    lost = {name: pids - living(pids) for name, pids in unrelated.items()}
    return {name: pids for name, pids in lost.items() if pids}


def pids_of_all(unrelated: PidsByName) -> set[int]:
    """Return all pids, including the helpers of their browsers."""
    roots = set().union(*unrelated.values())
    return roots | {helper for pid in roots if is_living(pid) for helper in helpers_of(pid)}


@pytest.mark.parametrize("scope", SCOPES)
def test_a_manual_cleanup_ends_no_unrelated_process(
    start_service: StartService, unrelated: PidsByName, scope: str
) -> None:
    service = start_service(cleanup_scope=scope)
    session = service.create()
    spared = pids_of_all(unrelated)
    assert not spared & killed_pids(clean(service, "?dry_run=true"))
    assert not spared & killed_pids(clean(service))
    assert not spared & killed_pids(clean(service))
    assert lost_pids(unrelated) == {}
    assert living(main_pids(session)) == main_pids(session)


@pytest.mark.parametrize("scope", SCOPES)
def test_all_unrelated_processes_and_helpers_are_foreign_with_a_reason(
    start_service: StartService, unrelated: PidsByName, scope: str
) -> None:
    service = start_service(cleanup_scope=scope)
    listed = verdicts(service)
    assert_judged(service, pids_of_all(unrelated) & listed.keys(), "foreign")
    for name, pids in unrelated.items():
        reasons = {listed[pid]["reason"] for pid in pids & listed.keys()}
        assert reasons, f"{name} is not listed"
        assert {reason for reason in reasons if not reason.startswith(REASONS[name])} == set(), name


def test_missing_kinds_of_processes_are_known(unrelated: PidsByName) -> None:
    expected = set(REASONS)
    if not can_be_another_user():
        expected -= {"another user's Chrome", "another user's ChromeDriver"}
    if not can_have_a_namespace():
        expected -= {"another namespace"}
    assert unrelated.keys() == expected


@pytest.mark.exhaustive
def test_with_scope_owned_a_working_script_is_spared(service: Service, working_script: Automation) -> None:
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
def test_automatic_cleanups_spare_working_scripts_and_unrelated_processes(
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
        if proves_orphans():
            service.wait_for_log(f"Killing orphaned ChromeDriver process: PID {abandoned.driver}", since)
        service.wait_for_log("No orphaned processes found", service.mark())
        assert living({abandoned.driver, browser}) == (
            set() if proves_orphans() else {abandoned.driver, browser}
        )
    finally:
        abandoned.finish()
    assert living(stay) == stay
    assert lost_pids(unrelated) == {}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.exhaustive
def test_a_living_second_instance_and_its_sessions_are_protected(
    start_service: StartService, scope: str
) -> None:
    one, other = start_service(cleanup_scope=scope), start_service(cleanup_scope=scope)
    mine, theirs = one.create(), other.create()
    Driver(theirs).run("window.left = 42")
    assert_judged(one, main_pids(theirs), "protected")
    assert_judged(other, main_pids(mine), "protected")
    both = main_pids(mine, theirs)
    assert not both & (killed_pids(clean(one)) | killed_pids(clean(other)))
    assert living(both) == both
    assert Driver(theirs).run("return window.left") == 42
    assert expect(other.get(f"/sessions/{theirs['session_id']}"))["recovered"] is False
