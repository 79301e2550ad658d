"""Set-up for every test: a clean environment before, no leftovers after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from tests.machine import end_leftovers, leftovers, remove, run_folder, short_folder

PREFIX: Final = "DROVER_"
SWITCH: Final = "DROVER_TEST_SYSTEM_WIDE"
SYSTEM_WIDE: Final = pytest.StashKey[bool]()
SKIP: Final = f"ends processes system-wide: set {SWITCH}=1, and use no workers (-m system_wide -n 0)"
EXHAUSTIVE: Final = pytest.StashKey[bool]()
LONGEST_ID: Final = 100
LEFT_OUT: Final = "exhaustive: run `python3 run.py test -m exhaustive`"
# Most of the time the tests wait for a browser. More workers than this only wait for each other.
WORKERS: Final = 3


# A loaded machine generates examples slowly. That is not a failure.
_NO_DEADLINE: Final = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _NO_DEADLINE, max_examples=12)
# The same examples in every run, so that a failure can be repeated elsewhere.
settings.register_profile("thorough", _NO_DEADLINE, max_examples=400, derandomize=True)
settings.load_profile("quick")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use several workers for the whole suite, and none if tests or files were selected."""
    return 0 if picked_out(config) or config.option.usepdb else WORKERS


def picked_out(config: pytest.Config) -> bool:
    """Return whether files, tests or the last failures were selected, instead of the whole suite."""
    return bool(config.option.file_or_dir or config.option.lf)


def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - a worker of pytest-xdist, which has no types for it
    """Pass on which tests run; workers do not inherit the selection."""
    node.workerinput["exhaustive"] = node.config.stash[EXHAUSTIVE]


def pytest_configure(config: pytest.Config) -> None:
    """Remove every DROVER_ variable from the environment: a developer's settings must not affect a test."""
    config.stash[SYSTEM_WIDE] = os.environ.get(SWITCH) == "1" and not worker_input(config)
    selected = bool(picked_out(config) or config.option.markexpr)
    config.stash[EXHAUSTIVE] = worker_input(config).get("exhaustive", selected)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    marker = f"system_wide: may end Chrome that the tests did not start; runs only with {SWITCH}=1"
    config.addinivalue_line("markers", marker)
    marker = "exhaustive: takes long, and shows in many cases what others show in a few; runs if selected"
    config.addinivalue_line("markers", marker)


def worker_input(config: pytest.Config) -> dict[str, Any]:
    """Return what the controller sent to this worker; empty if there are no workers."""
    return getattr(config, "workerinput", {})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of a module on one worker; skip those that end Chrome or take long if not asked for."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(name=item.nodeid.partition("::")[0]))
        if item.get_closest_marker("system_wide") and not config.stash[SYSTEM_WIDE]:
            item.add_marker(pytest.mark.skip(reason=SKIP))
        elif item.get_closest_marker("exhaustive") and not config.stash[EXHAUSTIVE]:
            item.add_marker(pytest.mark.skip(reason=LEFT_OUT))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long values by their length: they make ids unreadable, and some are new in every worker."""
    if isinstance(val, (bytes, str)) and len(val) > LONGEST_ID:
        return f"{argname} of {len(val)}"
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write one line for each kind of tests that was left out: how many, and how to run them."""
    skipped = [str(report.longrepr) for report in terminalreporter.getreports("skipped")]
    for what, reason in (("end processes system-wide", SKIP), ("take long", LEFT_OUT)):
        left_out = sum(reason in one for one in skipped)
        if left_out:
            advice = reason.partition(": ")[2]
            terminalreporter.write_line(f"{left_out} tests that {what} were left out: {advice}")


@pytest.fixture(scope="session", autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail the run if the tests left a process, a folder or a listening port."""
    run_folder()
    yield
    left = leftovers()
    end_leftovers()
    remove(run_folder())
    if left:
        pytest.fail("left behind by the tests:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose path is short enough for Chrome's sockets."""
    path = short_folder()
    yield path
    remove(path)
