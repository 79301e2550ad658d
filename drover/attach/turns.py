"""The turns of a session's commands, for coroutines and for callbacks, and the watch over the one that runs.

`asyncio.Lock` would need a task for each command that waits, which costs as much as the command.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial


class Turns:
    """One turn at a time, first in first out; used by one event loop.

    Attributes:
        is_taken: Whether a command has the turn, or gets it now.
    """

    def __init__(self) -> None:
        self.is_taken = False
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def are_awaited(self) -> bool:
        """Whether another command waits for its turn."""
        return bool(self._waiting)

    def take(self, begin: Callable[[], None]) -> None:
        """Call `begin` when its turn has come, at once if it is free; `release` ends it."""
        if self.is_taken:
            self._waiting.append(begin)
        else:
            self.is_taken = True
            begin()

    def release(self) -> None:
        """End the turn, and begin the next one."""
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._waiting.popleft())
        else:
            self.is_taken = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn, and have it in the `with` block."""
        come: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.take(partial(self._tell, come))
        try:
            await come
            yield
        finally:
            # Cancelled before it came, it is passed on when it comes.
            if come.done() and not come.cancelled():
                self.release()

    def _tell(self, come: asyncio.Future[None]) -> None:
        if come.cancelled():
            self.release()
        else:
            come.set_result(None)


class CommandWatch:
    """Starts a task if a command takes longer than a delay, and cancels it with the command.

    One timer serves all commands of a session: one for each would take a twentieth of their time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._begin: Callable[[], Coroutine[None, None, None]] | None = None
        self._due = 0.0

    def start(self, begin: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start the task after the delay, unless `stop` is called before."""
        loop = asyncio.get_running_loop()
        self._begin, self._due = begin, loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """Cancel the task, whether it has started or not."""
        self._begin = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _look(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        if self._begin is None:
            return
        if loop.time() < self._due:
            self._timer = loop.call_at(self._due, self._look)
        else:
            self._task = loop.create_task(self._begin())
