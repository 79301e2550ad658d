"""Every shape in which Chrome and ChromeDriver are left behind, on real processes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.acceptance.cleanups import (
    ENDS_LEFTOVERS,
    ENDS_LEFTOVERS_ALONE,
    abandon,
    assert_judged,
    clean,
    date_back,
    killed_pids,
    main_pids,
    verdicts,
)
from tests.acceptance.conftest import StartService
from tests.acceptance.faults import stop
from tests.acceptance.foreign_programs import (
    OWN_NAMESPACE,
    START_S,
    SUBREAPER,
    can_have_a_namespace,
    first_browser,
)
from tests.acceptance.orphan_shapes import SHAPES, Shape, chromes, half_started
from tests.acceptance.service import APP, Service, running
from tests.machine import is_living, kill, living, short_folder, wait_gone, wait_until

pytestmark = [
    pytest.mark.exhaustive,
    ENDS_LEFTOVERS_ALONE,
    pytest.mark.skipif(sys.platform != "linux", reason="these shapes exist only on Linux"),
]


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run a service that ends what a long-dead instance left."""
    with running(**ENDS_LEFTOVERS) as service:
        yield service


@pytest.fixture
def stack(folder: Path) -> Iterator[contextlib.ExitStack]:
    """Yield a stack that is unwound before the test's folder is removed."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.system_wide
@pytest.mark.parametrize("shape", SHAPES)
def test_orphans_of_foreign_programs_are_ended_with_all_helpers(
    start_service: StartService, stack: contextlib.ExitStack, folder: Path, shape: Shape
) -> None:
    service = start_service(cleanup_scope="system")
    session = service.create()
    left = shape(stack, folder)
    stay = {pid for pid in left if is_living(pid)}
    assert_judged(service, stay, "orphan")
    answer = clean(service)
    assert living(left) == set()
    # The crash handlers have init as their parent from the start, and end a moment after their browser.
    wait_until(lambda: not chromes(folder), "the crash handlers end")
    assert stay & killed_pids(answer)
    # A Chrome that was stopped right after its start may hold almost no memory yet.
    assert answer["freed_mb"] > 0 or shape is half_started
    assert living(main_pids(session)) == main_pids(session)


@pytest.mark.parametrize("shape", SHAPES)
def test_orphans_of_foreign_programs_are_foreign_in_scope_owned(
    service: Service, stack: contextlib.ExitStack, folder: Path, shape: Shape
) -> None:
    left = shape(stack, folder)
    assert_judged(service, left, "foreign")
    before = living(left)
    assert not before & killed_pids(clean(service))
    assert roots(before) <= living(left)


def roots(pids: set[int]) -> set[int]:
    """Return the topmost of some processes: helpers end at any time."""
    return {pid for pid in pids if is_living(pid) and psutil.Process(pid).ppid() not in pids}


def test_a_driver_without_browser_of_a_dead_instance_is_ended(
    service: Service, start_service: StartService
) -> None:
    other = start_service()
    session = other.create()
    psutil.Process(session["browser"]["pid"]).kill()
    abandon(other)
    wait_gone([session["browser"]["pid"]])
    assert verdicts(service)[session["driver"]["pid"]]["verdict"] == "orphan"
    assert session["driver"]["pid"] in killed_pids(clean(service))
    assert other.processes() == []


def test_chrome_of_a_dead_instance_without_its_driver_is_ended(
    service: Service, start_service: StartService
) -> None:
    other = start_service()
    session = other.create()
    left = abandon(other)
    psutil.Process(session["driver"]["pid"]).kill()
    wait_gone([session["driver"]["pid"]])
    assert_judged(service, left, "orphan")
    assert session["browser"]["pid"] in killed_pids(clean(service))
    assert living(left) == set()


def test_chrome_of_a_dead_instance_below_a_subreaper_is_ended(service: Service) -> None:
    other = Service(short_folder())
    other.command = [*SUBREAPER, *other.command]
    try:
        other.start()
        session = other.create()
        left = {process.pid for process in other.processes()}
        psutil.Process(other.process.pid).children()[0].kill()
        psutil.Process(session["driver"]["pid"]).kill()
        browser = psutil.Process(session["browser"]["pid"])
        wait_until(lambda: browser.ppid() == other.process.pid, "the subreaper adopts Chrome")
        date_back(other)
        assert_judged(service, left, "orphan")
        assert browser.pid in killed_pids(clean(service))
        assert living(left) == set()
    finally:
        other.reap()


def test_a_browser_whose_instance_died_during_its_start_is_ended(
    service: Service, start_service: StartService
) -> None:
    other = start_service()
    with ThreadPoolExecutor(1) as caller:
        request = caller.submit(other.post, "/sessions", json={})
        driver = wait_until(psutil.Process(other.process.pid).children, "it starts a ChromeDriver")[0].pid
        browser = first_browser(driver)
        stop(browser)
        left = abandon(other)
        assert isinstance(request.exception(START_S), requests.ConnectionError)
    assert {driver, browser} <= left
    assert_judged(service, left, "orphan")
    assert {driver, browser} <= killed_pids(clean(service))
    assert other.processes() == []


def test_a_dead_instances_stopped_driver_and_browser_are_ended(
    service: Service, start_service: StartService
) -> None:
    other = start_service()
    session = other.create()
    for pid in main_pids(session):
        stop(pid)
    left = abandon(other)
    assert main_pids(session) <= killed_pids(clean(service))
    assert living(left) == set()


@pytest.mark.system_wide  # so short a grace has passed for every instance
def test_without_a_grace_leftovers_of_an_instance_that_just_died_are_orphans(
    service: Service, start_service: StartService
) -> None:
    hasty = start_service(adopt_grace=0)
    other = start_service()
    stay = main_pids(other.create())
    assert_judged(hasty, stay, "protected")
    other.kill()
    assert_judged(service, stay, "protected")
    assert_judged(hasty, stay, "orphan")
    assert stay <= killed_pids(clean(hasty))
    assert other.processes() == []


@pytest.mark.skipif(not can_have_a_namespace(), reason="needs the right to make a PID namespace")
def test_our_own_defunct_children_are_reaped() -> None:
    service = Service(short_folder(), cleanup_scope="system")
    service.command = [*OWN_NAMESPACE, sys.executable, str(APP)]

    def defunct() -> set[int]:
        return {pid for pid, row in verdicts(service).items() if "defunct" in row["reason"]}

    def reaped_by_a_cleanup() -> set[int]:
        service.create()
        kill([process for process in service.processes() if "crashpad" in process.name()])
        waiting = defunct()
        answer = clean(service)
        assert not waiting & killed_pids(answer)
        assert not waiting & verdicts(service).keys()
        return waiting if waiting <= set(answer["reaped"]) else set()

    try:
        service.start()
        (first_process,) = psutil.Process(service.process.pid).children()
        # Every few seconds the service reaps by itself, and may be faster than the cleanup.
        wait_until(reaped_by_a_cleanup, "a cleanup reaps the defunct processes", 60)
        first_process.terminate()
        assert service.wait_for_exit() == 0
    finally:
        service.reap()
