"""The fixtures of the acceptance tests, and the table of promises in docs/platforms.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.pages import Pages
from tests.acceptance.service import Service, running_in
from tests.machine import remove, short_folder

PLATFORMS: Final = Path(__file__).resolve().parents[2] / "docs" / "platforms.md"
BEGIN: Final = "<!-- promises: written by `tests/windows/world test --record` -->\n"
END: Final = "<!-- promises: end -->\n"
HEAD: Final = "| promise | Wine 10 |\n|---|---|\n"
OUTCOMES: Final = pytest.StashKey[dict[str, str]]()
WORDS: Final = {"skipped": "only on Windows itself"}


@pytest.fixture(scope="session")
def pages() -> Iterator[Pages]:
    """Serve the pages; the fixtures of the acceptance tests need Playwright, which is not for Wine."""
    with Pages() as server:
        yield server


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
    """Write the table if this was asked for; a run of some tests changes their rows only."""
    if not session.config.getoption("--record"):
        return
    seen = {
        name.removeprefix("test_").replace("_", " "): WORDS.get(outcome, outcome)
        for name, outcome in session.config.stash[OUTCOMES].items()
    }
    head, _, rest = PLATFORMS.read_text(encoding="utf-8").partition(BEGIN)
    table, _, rest = rest.partition(END)
    if session.config.option.lf:
        seen = rows(table) | seen
    lines = "".join(f"| {promise} | {outcome} |\n" for promise, outcome in seen.items())
    PLATFORMS.write_text(head + BEGIN + HEAD + lines + END + rest, encoding="utf-8", newline="\n")


def rows(table: str) -> dict[str, str]:
    """Return the rows of a table of two columns, without its head."""
    pairs = (line.strip("| ").partition(" | ") for line in table.removeprefix(HEAD).splitlines())
    return {promise: outcome for promise, _, outcome in pairs}
