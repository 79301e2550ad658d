"""The turns of commands: one at a time, in their order, whoever waits and whoever gives up."""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from drover.attach.turns import CommandWatch, Turns


class Line:
    """Commands that take turns; notes which one has its turn."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.had: list[int] = []
        self.running = 0

    def callback(self, number: int) -> None:
        """Let a callback have its turn for two rounds of the event loop."""

        def begin() -> None:
            self._enter(number)
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._leave)

        self.turns.take(begin)

    async def coroutine(self, number: int) -> None:
        """Let a coroutine have its turn for two rounds of the event loop."""
        async with self.turns.turn():
            self._enter(number)
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            finally:
                self.running -= 1

    def _enter(self, number: int) -> None:
        self.running += 1
        assert self.running == 1
        self.had.append(number)

    def _leave(self) -> None:
        self.running -= 1
        self.turns.release()


async def settled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    for _ in range(100):
        await asyncio.sleep(0)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), max_size=12))
def test_everyone_who_does_not_give_up_has_one_turn_in_the_order_of_arrival(
    arrivals: list[tuple[bool, bool, int]],
) -> None:
    async def scenario() -> None:
        line, tasks, stay = Line(), [], []
        for number, (is_callback, gives_up, rounds) in enumerate(arrivals):
            if is_callback:
                line.callback(number)
                stay.append(number)
            else:
                tasks.append(asyncio.create_task(line.coroutine(number)))
                await asyncio.sleep(0)
                if gives_up:
                    tasks[-1].cancel()
                else:
                    stay.append(number)
            for _ in range(rounds):
                await asyncio.sleep(0)
        await settled(tasks)
        assert line.had == sorted(line.had)
        assert set(stay) <= set(line.had)
        assert not line.turns.is_taken

    asyncio.run(scenario())


def test_one_who_gives_up_when_the_turn_has_just_come_passes_it_on() -> None:
    async def scenario() -> None:
        turns, had = Turns(), list[str]()
        turns.take(lambda: None)

        async def waits() -> None:
            async with turns.turn():
                had.append("the one who gave up")

        waiting = asyncio.create_task(waits())
        await asyncio.sleep(0)
        turns.take(lambda: had.append("the next"))
        turns.release()
        asyncio.get_running_loop().call_soon(waiting.cancel)
        await settled([waiting])
        assert had == ["the next"]

    asyncio.run(scenario())


class ManualClock(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when a test says so."""

    now = 0.0

    def time(self) -> float:
        return self.now


def watched(durations: list[int]) -> int:
    """Run commands that take so many seconds; return how many tasks a watch after ten seconds has started."""
    loop, started = ManualClock(), 0

    async def watch_over() -> None:
        nonlocal started
        started += 1
        await asyncio.get_running_loop().create_future()

    async def scenario() -> None:
        watch = CommandWatch(10)
        for duration in [*durations, 0]:
            watch.start(watch_over)
            for _ in range(duration):
                loop.now += 1
                await asyncio.sleep(0)
            watch.stop()
        loop.now += 100
        await settled([])

    loop.run_until_complete(scenario())
    loop.close()
    return started


@given(st.lists(st.integers(0, 30), max_size=8))
def test_every_command_that_takes_longer_than_the_delay_is_watched_and_no_other(durations: list[int]) -> None:
    certain = sum(1 for duration in durations if duration > 12)
    possible = sum(1 for duration in durations if duration >= 10)
    assert certain <= watched(durations) <= possible
