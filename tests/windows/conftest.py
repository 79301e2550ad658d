"""The fixtures of the acceptance tests, and the table of promises in docs/platforms.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.conftest import pages
from tests.acceptance.service import Service, running_in
from tests.machine import IS_WINE, remove, short_folder

__all__ = ["pages"]

PLATFORMS: Final = Path(__file__).resolve().parents[2] / "docs" / "platforms.md"
BEGIN: Final = "<!-- promises: written by `tests/windows/world test --record` -->\n"
END: Final = "<!-- promises: end -->\n"
OUTCOMES: Final = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run one service for a whole module, in a folder with a space and a letter that is not ASCII."""
    home = short_folder()
    folder = home / "José Müller"
    folder.mkdir()
    with running_in(folder, health_timeout=2, watch_interval=0) as service:
        yield service
    remove(home)


@pytest.fixture
def service(shared_service: Service) -> Iterator[Service]:
    """Yield the module's service, which has no sessions before and after."""
    yield shared_service
    shared_service.close_all()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the table."""
    parser.addoption("--record", action="store_true", help="write what was seen to docs/platforms.md")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the table."""
    config.stash[OUTCOMES] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # the wrapper passes the report on
    """Note how each promise fared."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    outcomes = item.config.stash[OUTCOMES]
    if report.when == "call" or report.outcome != "passed":
        name = item.nodeid.partition("::")[2].partition("[")[0]
        outcomes[name] = "failed" if "failed" in (report.outcome, outcomes.get(name)) else report.outcome
    return report  # type: ignore[return-value]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table if this was asked for."""
    if session.config.getoption("--record"):
        where = "Wine 10" if IS_WINE else "Windows"
        rows = [
            f"| {name.removeprefix('test_').replace('_', ' ')} | {outcome} |\n"
            for name, outcome in session.config.stash[OUTCOMES].items()
        ]
        head, _, rest = PLATFORMS.read_text(encoding="utf-8").partition(BEGIN)
        table = f"| promise | {where} |\n|---|---|\n{''.join(rows)}"
        text = head + BEGIN + table + END + rest.partition(END)[2]
        PLATFORMS.write_text(text, encoding="utf-8", newline="\n")
