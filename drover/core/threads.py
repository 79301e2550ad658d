"""A pool of threads that are started beforehand, so that work can begin when no thread is left to start.

`ThreadPoolExecutor` starts its threads one by one as work comes. If the limit of threads is reached by then,
`submit` raises although it has queued the work, which runs later all the same. Its threads also keep the
program from ending while one of them hangs. Here they do not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from drover.core.errors import Overloaded, ShuttingDown

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


class ThreadPool(Executor):
    """Runs calls on a fixed number of threads, in the order in which they are submitted.

    Args:
        name: Prefix of the threads' names.
        size: The number of threads.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._is_shut = False

    def fill(self) -> int:
        """Start the threads that have not started yet; return how many of them could not be started."""
        with self._lock:
            while len(self._threads) < self.size and self._start_one() is None:
                pass
            return self.size - len(self._threads)

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Have a call run on a thread; return the future of its result.

        Raises:
            ShuttingDown: The pool has been shut down.
            Overloaded: It has no thread, and none can be started.
        """
        future: Future[Result] = Future()
        self.run(future, partial(fn, *args, **kwargs))
        return future

    def run(self, future: Future[Result], call: Callable[[], Result]) -> None:
        """Have a call run on a thread, and complete a future with its result or its exception.

        Raises:
            ShuttingDown: The pool has been shut down.
            Overloaded: It has no thread, and none can be started.
        """
        with self._lock:
            if self._is_shut:
                raise ShuttingDown("The service is stopping; retry after its restart")
            if len(self._threads) < self.size:
                failure = self._start_one()
                if not self._threads:
                    raise Overloaded(
                        f"No thread can be started ({failure}); raise the limit of processes, then retry"
                    )
            self._queue.put(_Call(future, call))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and end the threads when they have run what is queued."""
        with self._lock:
            self._is_shut = True
            cancelled = self._take_queued() if cancel_futures else []
            for _ in self._threads:
                self._queue.put(None)
        for call in cancelled:
            call.future.cancel()
        if wait:
            for thread in self._threads:
                thread.join()

    def _start_one(self) -> RuntimeError | None:
        """Start another thread; return the error if none can be started."""
        name = f"{self.name}-{len(self._threads)}"
        thread = threading.Thread(target=_serve, args=[self._queue], name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            return error
        self._threads.append(thread)
        return None

    def _take_queued(self) -> list[_Call]:
        taken = []
        with suppress(Empty):
            while True:
                taken.append(self._queue.get_nowait())
        return [call for call in taken if call is not None]


class _Call:
    """A call that waits for a thread, and the future of its result."""

    def __init__(self, future: Future[Any], call: Callable[[], Any]) -> None:
        self.future = future
        self._call = call

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._call()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the future must get any exception
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


def _serve(queue: SimpleQueue[_Call | None]) -> None:
    while True:
        call = queue.get()
        if call is None:
            return
        call.run()
        # Otherwise the result would be kept until the next call.
        del call
