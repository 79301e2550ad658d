"""Some hundreds of requests that nobody would write by hand; thousands are in `bench/fuzz_http.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.fuzzing import PREY, STARTS_BROWSERS, Fuzzer
from tests.acceptance.service import Service

EXAMPLES = 8
ODD = 150


@pytest.fixture(scope="module")
def service(shared_service: Service) -> Iterator[Service]:
    """Give a service with a session that may be asked anything."""
    shared_service.create(session_id=PREY)
    yield shared_service
    shared_service.close_all()


@pytest.mark.parametrize("right", [True, False], ids=["allowed", "forbidden"])
def test_what_the_document_allows_and_forbids_is_answered_as_it_says(service: Service, right: bool) -> None:
    fuzzer = Fuzzer(service, EXAMPLES)
    asked = 0
    for operation in fuzzer.operations():
        starts = (operation.method.upper(), operation.path) in STARTS_BROWSERS
        if starts and right:
            continue
        fuzzer.ask_by_the_document(operation, right=right)
        asked += 1
    assert asked
    fuzzer.finish()


def test_odd_paths_are_answered_in_words(service: Service) -> None:
    fuzzer = Fuzzer(service, ODD)
    fuzzer.ask_with_odd_paths()
    fuzzer.finish()
    assert fuzzer.statuses[404]


def test_odd_bodies_are_answered_in_words(service: Service) -> None:
    fuzzer = Fuzzer(service, ODD)
    fuzzer.ask_with_odd_bodies()
    fuzzer.finish()
    assert fuzzer.statuses[400]
