"""Shared fixtures of the acceptance tests: a running service and pages to visit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pytest
from playwright.sync_api import Browser

from tests.acceptance.clusters import Nodes
from tests.acceptance.dashboards import OpenPage, opener, operators_browser
from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Service, running

if TYPE_CHECKING:
    from tests.postgres import Postgres


class StartService(Protocol):
    """Start another service with its own settings; it ends with the test."""

    def __call__(self, **settings: object) -> Service:
        """Return the running service."""
        ...


@pytest.fixture(scope="session")
def pages() -> Iterator[Pages]:
    """Serve the pages."""
    with Pages() as server:
        yield server


@pytest.fixture
def slow_page(pages: Pages) -> Iterator[Gate]:
    """Yield a page that is answered only when released, at the latest when the test ends."""
    gate = pages.slow()
    yield gate
    gate.release()


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """Run one service for a whole module."""
    with running() as service:
        yield service


@pytest.fixture
def service(shared_service: Service) -> Iterator[Service]:
    """Yield the module's service, which has no sessions before and after."""
    yield shared_service
    shared_service.close_all()


@pytest.fixture
def start_service() -> Iterator[StartService]:
    """Yield a function that starts services."""
    with contextlib.ExitStack() as stack:

        def start(**settings: object) -> Service:
            return stack.enter_context(running(**settings))

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run the operator's own browser."""
    with operators_browser() as browser:
        yield browser


@pytest.fixture
def console_errors() -> list[str]:
    """Collect the console errors and exceptions of the pages of this test."""
    return []


@pytest.fixture
def open_page(browser: Browser, console_errors: list[str]) -> Iterator[OpenPage]:
    """Yield a function that opens the dashboard of a service and waits until it is up to date."""
    with opener(browser, console_errors) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    """Run a PostgreSQL server."""
    from tests.postgres import postgres  # noqa: PLC0415 - needs psycopg

    with postgres() as server:
        yield server


@pytest.fixture
def nodes(database: Postgres) -> Iterator[Nodes]:
    """Yield what starts nodes of one cluster; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield Nodes(database, stack)
