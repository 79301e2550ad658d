"""Tasks of asyncio that begin and end with the code that needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")


async def is_set_within(event: asyncio.Event, limit: float | None) -> bool:
    """Wait for an event, at most `limit` seconds; return whether it is set.

    Up to Python 3.11 `asyncio.wait_for` ignores a cancellation in the moment in which the event was set.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=limit)
        return waiting.done()
    finally:
        waiting.cancel()


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks, and wait until they have ended, whatever their results are."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running_task(work: Coroutine[Any, Any, Result]) -> AsyncIterator[asyncio.Task[Result]]:
    """Run work in a task, which ends with the `with` block at the latest."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await end_tasks(task)
