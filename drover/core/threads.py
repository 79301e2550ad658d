"""A pool of threads that are started beforehand, so that work can begin when no thread is left to start.

`ThreadPoolExecutor` starts its threads one by one as work comes. If the limit of threads is reached by then,
`submit` raises although it has queued the work, which runs later all the same. Its threads also keep the
program from ending while one of them hangs. Here they do not.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from drover.core.errors import Overloaded, ShuttingDown

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")

_Queued = tuple[Future[Any], Callable[[], Any]]
"""A call that waits for a thread, and the future of its result."""


async def fill_loop_threads() -> None:
    """Start the threads of the event loop itself now.

    libuv starts them when an address is first looked up, and aborts the program if the system allows no
    thread by then (`init_threads` in src/threadpool.c).
    """
    await asyncio.get_running_loop().getaddrinfo("127.0.0.1", None)


def start_thread(run: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that does not keep the program from ending.

    Raises:
        Overloaded: No thread can be started.
    """
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise Overloaded(
            f"No thread can be started ({error}). Raise the limit of processes (ulimit -u, or that of the "
            "container), then retry"
        ) from error
    return thread


class ThreadPool(Executor):
    """Runs calls on a fixed number of threads, in the order in which they are submitted.

    Args:
        name: Prefix of the threads' names.
        size: The number of threads.
        refuses: Refuse a call while all threads are busy, instead of queueing it.
    """

    def __init__(self, name: str, size: int, *, refuses: bool = False) -> None:
        self.name = name
        self.size = size
        self._refuses = refuses
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._queue: SimpleQueue[_Queued | None] = SimpleQueue()
        self._unfinished = 0
        self._is_shut = False

    def fill(self, wanted: int) -> int:
        """Start threads until there are as many as wanted; return how many of them could not be started."""
        with self._lock:
            with suppress(Overloaded):
                while len(self._threads) < wanted:
                    self._start_one()
            return max(0, wanted - len(self._threads))

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Have a call run on a thread; return the future of its result.

        Raises:
            ShuttingDown: The pool has been shut down.
            Overloaded: It has no thread, and none can be started; or all are busy, if it refuses calls then.
        """
        future: Future[Result] = Future()
        self.run(future, partial(fn, *args, **kwargs))
        return future

    def run(self, future: Future[Result], call: Callable[[], Result]) -> None:
        """Have a call run on a thread, and complete a future with its result or its exception.

        Raises:
            ShuttingDown: The pool has been shut down.
            Overloaded: It has no thread, and none can be started; or all are busy, if it refuses calls then.
        """
        with self._lock:
            if self._is_shut:
                raise ShuttingDown
            if len(self._threads) < self.size:
                try:
                    self._start_one()
                except Overloaded:
                    if not self._threads:
                        raise
            if self._refuses and self._unfinished >= len(self._threads):
                raise Overloaded(f"All {len(self._threads)} threads for such requests are busy; retry later")
            self._unfinished += 1
            # The lines that the call logs name the request that asked for it (log_context.py).
            self._queue.put((future, partial(copy_context().run, call)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and end the threads when they have run what is queued."""
        with self._lock:
            self._is_shut = True
            cancelled = self._take_queued() if cancel_futures else []
            for _ in self._threads:
                self._queue.put(None)
        for future, _ in cancelled:
            future.cancel()
        if wait:
            for thread in self._threads:
                thread.join()

    def _start_one(self) -> None:
        self._threads.append(start_thread(self._serve, f"{self.name}-{len(self._threads)}"))

    def _serve(self) -> None:
        while (queued := self._queue.get()) is not None:
            self._run(*queued)
            # Otherwise the result would be kept until the next call.
            del queued

    def _run(self, future: Future[Any], call: Callable[[], Any]) -> None:
        """Run a call, and count it as finished before its result is set: who gets that may submit another."""
        if not future.set_running_or_notify_cancel():
            self._finish_one()
            return
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the future must get any exception
            self._finish_one()
            future.set_exception(error)
        else:
            self._finish_one()
            future.set_result(result)

    def _finish_one(self) -> None:
        with self._lock:
            self._unfinished -= 1

    def _take_queued(self) -> list[_Queued]:
        taken = []
        with suppress(Empty):
            while True:
                taken.append(self._queue.get_nowait())
        return [queued for queued in taken if queued is not None]


def fill_pools(pools: Iterable[ThreadPool]) -> int:
    """Start all threads of pools; return how many could not be started.

    If the system does not allow all, each pool gets a thread before any gets a second one, without which it
    could not do anything.
    """
    distinct = sorted(set(pools), key=lambda pool: pool.size)
    for pool in distinct:
        pool.fill(1)
    return sum(pool.fill(pool.size) for pool in distinct)
