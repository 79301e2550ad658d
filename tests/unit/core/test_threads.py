"""The thread pool: order, results, the stop, and what happens when no thread can be started."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from drover.core.errors import Overloaded, ShuttingDown
from drover.core.threads import ThreadPool, fill_pools
from tests.machine import ThreadLimit, wait_until

TIMEOUT_S = 10.0


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool("pool", 2)
    yield pool
    pool.shutdown(wait=True, cancel_futures=True)


def test_calls_give_their_results_and_errors(pool: ThreadPool) -> None:
    assert pool.submit(divmod, 7, 2).result(TIMEOUT_S) == (3, 1)
    assert isinstance(pool.submit(divmod, 7, 0).exception(TIMEOUT_S), ZeroDivisionError)
    assert list(pool.map(str, range(20))) == [str(number) for number in range(20)]


def test_no_more_calls_run_at_a_time_than_there_are_threads(pool: ThreadPool) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def call() -> None:
        begun.release()
        assert go_on.wait(TIMEOUT_S)

    calls = [pool.submit(call) for _ in range(3)]
    for _ in range(2):
        assert begun.acquire(timeout=TIMEOUT_S)
    assert not calls[2].running()
    go_on.set()
    for each in calls:
        each.result(TIMEOUT_S)


def test_a_filled_pool_needs_no_further_thread(pool: ThreadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.fill(2) == 0
    ThreadLimit(monkeypatch, 0)
    assert [pool.submit(abs, -1).result(TIMEOUT_S) for _ in range(5)] == [1] * 5


def test_with_fewer_threads_than_wanted_every_call_runs_in_its_turn(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = ThreadLimit(monkeypatch, 1)
    assert pool.fill(2) == 1
    assert [call.result(TIMEOUT_S) for call in [pool.submit(abs, -1) for _ in range(5)]] == [1] * 5
    limit.left = 1
    pool.submit(abs, -1).result(TIMEOUT_S)
    assert pool.fill(2) == 0


def test_each_pool_gets_a_thread_before_any_gets_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = ThreadPool("large", 5), ThreadPool("small", 2)
    limit = ThreadLimit(monkeypatch, 3)
    assert fill_pools((large, small, large)) == 4
    assert [(pool.fill(1), pool.fill(2)) for pool in (large, small)] == [(0, 1), (0, 0)]
    limit.left = 4
    assert fill_pools((large, small)) == 0
    for pool in (large, small):
        pool.shutdown()


def test_without_any_thread_a_call_is_refused_and_never_runs(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = ThreadLimit(monkeypatch, 0)
    ran: list[str] = []
    with pytest.raises(Overloaded, match=r"can't start new thread.*Raise the limit of processes"):
        pool.submit(ran.append, "refused")
    limit.left = 2
    pool.submit(ran.append, "accepted").result(TIMEOUT_S)
    assert ran == ["accepted"]


def test_a_pool_that_refuses_takes_no_more_calls_than_it_has_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, go_on = ThreadPool("pool", 3, refuses=True), threading.Event()
    limit = ThreadLimit(monkeypatch, 2)
    calls = [pool.submit(go_on.wait, TIMEOUT_S) for _ in range(2)]
    with pytest.raises(Overloaded, match=r"All 2 threads .* are busy"):
        pool.submit(abs, -1)
    limit.left = 1
    assert pool.submit(abs, -1).result(TIMEOUT_S) == 1
    go_on.set()
    for call in calls:
        call.result(TIMEOUT_S)
    for number in range(100):
        # Whoever has got a result may call again at once.
        assert pool.submit(abs, -number).result(TIMEOUT_S) == number
    pool.shutdown()


def test_the_shutdown_lets_running_calls_end_and_cancels_queued_ones(pool: ThreadPool) -> None:
    go_on = threading.Event()
    running = [pool.submit(go_on.wait, TIMEOUT_S) for _ in range(2)]
    wait_until(lambda: all(call.running() for call in running), "both threads are busy")
    queued = pool.submit(abs, -1)
    pool.shutdown(wait=False, cancel_futures=True)
    assert queued.cancelled()
    with pytest.raises(ShuttingDown):
        pool.submit(abs, -1)
    go_on.set()
    assert all(call.result(TIMEOUT_S) for call in running)
    pool.shutdown(wait=True)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pool-")]


def test_the_shutdown_runs_what_is_queued_unless_it_is_cancelled(pool: ThreadPool) -> None:
    calls = [pool.submit(abs, -number) for number in range(10)]
    pool.shutdown()
    assert [call.result(0) for call in calls] == list(range(10))


def test_a_thread_that_hangs_does_not_keep_the_program_from_ending() -> None:
    program = (
        "import threading; from drover.core.threads import ThreadPool; "
        "begun = threading.Event(); pool = ThreadPool('hung', 1); "
        "pool.submit(lambda: (begun.set(), threading.Event().wait())); begun.wait()"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
