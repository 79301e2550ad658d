"""Some hundreds of unusual requests; `bench/fuzz_http.py` sends thousands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.fuzzing import SESSION_ID, STARTS_BROWSERS, Fuzzer
from tests.acceptance.service import Service

# Examples are generated for every operation of the document, which takes minutes on a busy machine.
pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(600)]
EXAMPLES = 8
ODD = 150


@pytest.fixture(scope="module")
def service(shared_service: Service) -> Iterator[Service]:
    """Yield a service with one session that may receive any request."""
    shared_service.create(session_id=SESSION_ID)
    yield shared_service
    shared_service.close_all()


@pytest.mark.parametrize("right", [True, False], ids=["allowed", "forbidden"])
def test_allowed_and_forbidden_requests_are_answered_as_documented(service: Service, right: bool) -> None:
    fuzzer = Fuzzer(service, EXAMPLES)
    sent = 0
    for operation in fuzzer.operations():
        starts = (operation.method.upper(), operation.path) in STARTS_BROWSERS
        if starts and right:
            continue
        fuzzer.send_documented(operation, right=right)
        sent += 1
    assert sent
    fuzzer.finish()


def test_odd_paths_are_answered_according_to_the_contract(service: Service) -> None:
    fuzzer = Fuzzer(service, ODD)
    fuzzer.send_odd_paths()
    fuzzer.finish()
    assert fuzzer.statuses[404]


def test_odd_bodies_are_answered_according_to_the_contract(service: Service) -> None:
    fuzzer = Fuzzer(service, ODD)
    fuzzer.send_odd_bodies()
    fuzzer.finish()
    assert fuzzer.statuses[400]
