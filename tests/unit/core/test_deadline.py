"""One deadline per request: bounded waits that end early when the client disconnects."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from drover.core.deadline import ClientDisconnected, Deadline, DeadlineExceeded


def done(result: object = None) -> Future[object]:
    future: Future[object] = Future()
    future.set_result(result)
    return future


def left() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def test_an_available_result_is_returned_even_after_the_deadline() -> None:
    assert Deadline(0).wait(done(42)) == 42


def test_an_available_result_is_returned_even_if_the_client_disconnected() -> None:
    assert Deadline(60, left()).wait(done(42)) == 42


def test_the_error_of_the_work_is_the_error_of_the_wait() -> None:
    failed: Future[None] = Future()
    failed.set_exception(ZeroDivisionError("work"))
    with pytest.raises(ZeroDivisionError, match="work"):
        Deadline(60).wait(failed)


def test_a_wait_ends_when_the_time_is_over_and_the_work_goes_on() -> None:
    work: Future[None] = Future()
    with pytest.raises(DeadlineExceeded):
        Deadline(0).wait(work)
    assert not work.cancelled()


def test_a_wait_ends_when_the_caller_leaves_and_the_work_goes_on() -> None:
    work: Future[None] = Future()
    with pytest.raises(ClientDisconnected):
        Deadline(60, left()).wait(work)
    assert not work.cancelled()


def test_time_that_is_over_is_never_negative() -> None:
    assert Deadline(-5).remaining() == 0


def test_a_part_has_at_most_the_time_of_the_whole() -> None:
    assert Deadline(0).within(60).remaining() == 0
    assert 0 < Deadline(600).within(60).remaining() <= 60


def test_a_part_ends_too_when_the_caller_leaves() -> None:
    with pytest.raises(ClientDisconnected):
        Deadline(600, left()).within(60).wait(Future())
