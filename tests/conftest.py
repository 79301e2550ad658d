"""For every test: a clean environment before, nothing left behind after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from tests.machine import end_what_is_left, remove, run_folder, short_folder, what_is_left

PREFIX: Final = "DROVER_"
SWITCH: Final = "DROVER_TEST_SYSTEM_WIDE"
SYSTEM_WIDE: Final = pytest.StashKey[bool]()
SKIPPED: Final = pytest.StashKey[int]()


# A machine under load is slow to make an example; that is no failure.
_PATIENT: Final = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _PATIENT, max_examples=12)
settings.register_profile("thorough", _PATIENT, max_examples=400)
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Take every DROVER_ variable out of the environment; a developer's own are no part of a test."""
    config.stash[SYSTEM_WIDE] = os.environ.get(SWITCH) == "1"
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    config.addinivalue_line("markers", f"system_wide: may end a stranger's Chrome; runs only with {SWITCH}=1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what may end a stranger's processes, unless it was asked for."""
    if config.stash[SYSTEM_WIDE]:
        return
    guarded = [item for item in items if item.get_closest_marker("system_wide")]
    for item in guarded:
        item.add_marker(pytest.mark.skip(reason=f"ends processes system-wide: set {SWITCH}=1"))
    config.stash[SKIPPED] = len(guarded)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say in one line what was skipped."""
    if skipped := config.stash.get(SKIPPED, 0):
        terminalreporter.write_line(
            f"{skipped} tests that end processes system-wide were skipped: set {SWITCH}=1"
        )


@pytest.fixture(scope="session", autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail the run where a process, a folder or a listening port of the tests is left."""
    run_folder()
    yield
    left = what_is_left()
    end_what_is_left()
    remove(run_folder())
    if left:
        pytest.fail("left behind by the tests:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder with a path that is short enough for Chrome's sockets."""
    path = short_folder()
    yield path
    remove(path)
