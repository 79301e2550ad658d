"""Shared fixtures of the acceptance tests: a running service and pages to visit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.acceptance.pages import Gate, Pages
from tests.acceptance.service import Service, running


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
