"""Every error has a code and a status from the API contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drover.core.errors import BrowserUnavailable, DroverError, SessionLost, StartRefused

CONTRACT = {
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden_origin": 403,
    "forbidden_host": 403,
    "forbidden_capability": 403,
    "not_found": 404,
    "session_not_found": 404,
    "method_not_allowed": 405,
    "session_in_use": 409,
    "key_conflict": 409,
    "request_too_large": 413,
    "unsupported_media_type": 415,
    "internal_error": 500,
    "cleanup_incomplete": 500,
    "at_capacity": 503,
    "overloaded": 503,
    "browser_unavailable": 503,
    "recovery_failed": 503,
    "shutting_down": 503,
    "node_unreachable": 503,
    "not_owner": 421,
    "storage_unavailable": 503,
}


def tree(error: type[DroverError]) -> Iterator[type[DroverError]]:
    if error.__module__ == DroverError.__module__:  # an endpoint may define errors of its own protocol
        yield error
    for below in error.__subclasses__():
        yield from tree(below)


ALL = sorted(set(tree(DroverError)), key=lambda error: error.__name__)


@pytest.mark.parametrize("error", ALL)
def test_every_error_has_a_code_and_status_of_the_contract(error: type[DroverError]) -> None:
    assert CONTRACT[error.code] == error.status


@pytest.mark.parametrize("error", ALL)
def test_exactly_the_errors_with_503_have_a_retry_time(error: type[DroverError]) -> None:
    assert (error.retry_after_s is not None) == (error.status == 503)
    assert error.retry_after_s is None or error.retry_after_s > 0


def test_two_errors_share_a_code_only_where_one_is_the_other() -> None:
    for error in ALL:
        for other in ALL:
            # A lost session must not trigger the next recovery method, but the client gets the same code.
            pair = (error, other) if error is SessionLost else (other, error)
            lost = pair[0] is SessionLost and issubclass(pair[1], BrowserUnavailable)
            related = issubclass(error, other) or issubclass(other, error) or lost
            shares = error.code == other.code
            assert not shares or related or issubclass(error, StartRefused)


def test_an_error_converts_to_its_message() -> None:
    error = BrowserUnavailable("Install Chrome", {"field": "problem"})
    assert (str(error), error.message, error.details) == (
        "Install Chrome",
        "Install Chrome",
        {"field": "problem"},
    )
