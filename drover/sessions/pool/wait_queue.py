"""The wait queue for places: first come, first served. The registry calls it under its own lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from drover.core.errors import AtCapacity, DroverError
from drover.sessions.pool.acquire import Claim, LookupOutcome, Waiter


class WaitQueue:
    """Callers that wait for a place, at most `longest` of them.

    A waiter that leaves the queue with an answer must be told when no lock is held.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._waiters: deque[Waiter] = deque()

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def waiters(self) -> Sequence[Waiter]:
        """The waiters, the one that is served next first."""
        return self._waiters

    def join(self, claim: Claim) -> Waiter:
        """Append a waiter to the queue.

        Raises:
            AtCapacity: The queue is full.
        """
        if len(self._waiters) >= self._longest:
            raise AtCapacity("Every session is in use and the wait queue is full; retry later")
        waiter = Waiter(claim)
        self._waiters.append(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> bool:
        """Remove a waiter from the queue; False if it has been answered already."""
        if waiter not in self._waiters:
            return False
        self._waiters.remove(waiter)
        return True

    def serve(self, answer: Callable[[Claim], LookupOutcome | None]) -> list[Waiter]:
        """Answer waiters from the front, until the first that cannot be answered; return them."""
        answered = []
        while self._waiters:
            try:
                found: LookupOutcome | DroverError | None = answer(self._waiters[0].claim)
            except DroverError as error:
                found = error
            if found is None:
                break
            answered.append(self._waiters.popleft())
            answered[-1].answer = found
        return answered

    def send_away(self, error: DroverError, is_elsewhere: Callable[[Claim], bool], room: int) -> list[Waiter]:
        """Answer some waiters with an error that sends them to other nodes, and return them.

        Args:
            is_elsewhere: Returns whether another node has the session that a waiter wants.
            room: How many waiters for other sessions have a place elsewhere: so many of the first.
        """
        others = [one for one in self._waiters if not is_elsewhere(one.claim)]
        staying = set(map(id, others[room:]))
        away = [one for one in self._waiters if id(one) not in staying]
        for waiter in away:
            self._waiters.remove(waiter)
            waiter.answer = error
        return away

    def fail(self, refusal: Callable[[Claim], DroverError]) -> list[Waiter]:
        """Answer all waiters with the error for their claim, and return them."""
        failed = list(self._waiters)
        self._waiters.clear()
        for waiter in failed:
            waiter.answer = refusal(waiter.claim)
        return failed
