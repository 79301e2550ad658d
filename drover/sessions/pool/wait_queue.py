"""The waiting line for places: first come, first served. The registry calls it under its own lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from drover.core.errors import AtCapacity, DroverError
from drover.sessions.pool.acquire import Answer, Claim, Ticket


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody's turn has come: what there is to tell, once no lock is held."""

    ticket: Ticket
    answer: Answer | DroverError

    def tell(self) -> None:
        """Let the one who waits go on."""
        if isinstance(self.answer, DroverError):
            self.ticket.turn.set_exception(self.answer)
        else:
            self.ticket.turn.set_result(self.answer)


class WaitingLine:
    """Those who wait for a place, at most `longest` of them."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._tickets: deque[Ticket] = deque()

    def __len__(self) -> int:
        return len(self._tickets)

    def join(self, claim: Claim) -> Ticket:
        """Take the last place in the line.

        Raises:
            AtCapacity: It is full.
        """
        if len(self._tickets) >= self._longest:
            raise AtCapacity("Every session is in use and the waiting line is full; ask again later")
        ticket = Ticket(claim)
        self._tickets.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> bool:
        """Leave the line; False where one's turn has come already."""
        if ticket not in self._tickets:
            return False
        self._tickets.remove(ticket)
        return True

    def serve(self, answer: Callable[[Claim], Answer | None]) -> list[Turn]:
        """Take those out of the line who can be answered, from the front and until one cannot."""
        turns = []
        while self._tickets:
            try:
                found: Answer | DroverError | None = answer(self._tickets[0].claim)
            except DroverError as error:
                found = error
            if found is None:
                break
            turns.append(Turn(self._tickets.popleft(), found))
        return turns

    def fail(self, error: DroverError) -> list[Turn]:
        """Take everybody out of the line."""
        turns = [Turn(ticket, error) for ticket in self._tickets]
        self._tickets.clear()
        return turns
