"""The wait queue for places: first come, first served. The registry calls it under its own lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from drover.core.errors import AtCapacity, DroverError
from drover.sessions.pool.acquire import Claim, LookupOutcome, Waiter


@dataclass(frozen=True, slots=True)
class Grant:
    """The outcome for a waiter, to be delivered when no lock is held."""

    waiter: Waiter
    answer: LookupOutcome | DroverError

    def tell(self) -> None:
        """Complete the waiter's future."""
        if isinstance(self.answer, DroverError):
            self.waiter.granted.set_exception(self.answer)
        else:
            self.waiter.granted.set_result(self.answer)


class WaitQueue:
    """Callers that wait for a place, at most `longest` of them."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._waiters: deque[Waiter] = deque()

    def __len__(self) -> int:
        return len(self._waiters)

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
        """Remove a waiter from the queue; False if its outcome has already been granted."""
        if waiter not in self._waiters:
            return False
        self._waiters.remove(waiter)
        return True

    def serve(self, answer: Callable[[Claim], LookupOutcome | None]) -> list[Grant]:
        """Remove the waiters that can be answered, from the front until the first that cannot."""
        grants = []
        while self._waiters:
            try:
                found: LookupOutcome | DroverError | None = answer(self._waiters[0].claim)
            except DroverError as error:
                found = error
            if found is None:
                break
            grants.append(Grant(self._waiters.popleft(), found))
        return grants

    def fail(self, error: DroverError) -> list[Grant]:
        """Remove all waiters, with an error as their outcome."""
        grants = [Grant(waiter, error) for waiter in self._waiters]
        self._waiters.clear()
        return grants
