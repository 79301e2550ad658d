"""Whether a new session may begin: places, memory, drain, stop. The registry uses it under its own lock."""

from __future__ import annotations

from dataclasses import dataclass

from drover.core.errors import DroverError, SentAway, ShuttingDown
from drover.sessions.pool.acquire import Claim
from drover.sessions.pool.entries import Entries

STARTING_MB = 200.0
"""What a browser that is starting will take soon and a measurement does not contain yet."""


@dataclass(frozen=True, slots=True)
class MemoryRoom:
    """A measurement of the memory, in units of 1,000,000 bytes, and what has to stay free.

    Attributes:
        available_mb: What new processes can have.
        min_free_mb: No browser starts while less is available; 0 = no limit.
        is_swapping: The machine is writing memory to its swap space.
    """

    available_mb: float
    min_free_mb: float
    is_swapping: bool = False

    def shortage(self, starting: int = 0) -> str | None:
        """Return why no browser may start, or None.

        Args:
            starting: How many browsers are starting, besides the one in question.
        """
        if self.min_free_mb == 0:
            return None
        if self.available_mb - STARTING_MB * starting < self.min_free_mb:
            soon = f", and {starting} browsers are starting" if starting else ""
            return (
                f"only {self.available_mb:.0f} MB of memory are available{soon}; "
                f"{self.min_free_mb:.0f} MB have to stay free (DROVER_MIN_FREE_MEMORY_MB)"
            )
        return "the machine is swapping memory to its disk" if self.is_swapping else None

    @property
    def missing_mb(self) -> float:
        """How much more has to become available before a browser may start; 0 if there is enough."""
        return max(0.0, self.min_free_mb - self.available_mb)


UNKNOWN = MemoryRoom(float("inf"), 0.0)
"""Before the first measurement, and where memory is not limited."""


@dataclass(frozen=True, slots=True)
class Room:
    """What could be done now for a request that needs a new session.

    Attributes:
        free: Free places.
        evictable: Sessions that could be closed to make room.
        lacks_memory_only: There is a place, but not the memory for a browser, often for a moment only.
        accepts_new: Whether the request may wait here; not while the service drains, or can start no browser.
    """

    free: int = 0
    evictable: int = 0
    lacks_memory_only: bool = False
    accepts_new: bool = False


class Admission:
    """The conditions for new sessions, each set where it changes.

    Args:
        max_sessions: How many sessions there may be, in any state.

    Attributes:
        stopping: The service is stopping and accepts no more claims.
        draining: Sessions go on, but no new ones are accepted.
        gate_open: Whether an emergency lets sessions start.
        memory: The last measurement of the memory.
    """

    def __init__(self, max_sessions: int, entries: Entries) -> None:
        self.max_sessions = max_sessions
        self.stopping = False
        self.draining = False
        self.gate_open = True
        self.memory: MemoryRoom = UNKNOWN
        self._entries = entries

    @property
    def room(self) -> Room:
        """What could be done now for a request that needs a new session; a warm browser gives way to it."""
        if self.stopping or self.draining:
            return Room()
        sessions = [session for session in self._entries.sessions if not session.warm]
        lacks_memory = self._shortage is not None
        can_start = self.gate_open and not lacks_memory
        has_place = self.gate_open and len(self._entries) < self.max_sessions
        return Room(
            free=max(self.max_sessions - len(sessions), 0) if can_start else 0,
            evictable=sum(session.evictable for session in sessions),
            lacks_memory_only=has_place and lacks_memory,
            accepts_new=True,
        )

    @property
    def is_full(self) -> bool:
        """Whether sessions have all places, so that closing one would help."""
        return self.gate_open and len(self._entries) >= self.max_sessions

    @property
    def allows_another(self) -> bool:
        """Whether another browser may start: there are a place and the memory for it."""
        return self.gate_open and len(self._entries) < self.max_sessions and self._shortage is None

    @property
    def refusal(self) -> str:
        """Why a request for a new session waits: memory is short, or all places are taken."""
        shortage = self._shortage if len(self._entries) < self.max_sessions else None
        if shortage is not None:
            return f"No browser can start: {shortage}. Close a session or a program, or retry later"
        return (
            f"All {self.max_sessions} sessions are in use and none became free in time; "
            "close one, or retry later"
        )

    @property
    def _shortage(self) -> str | None:
        return self.memory.shortage(self._entries.starting)


def draining(claim: Claim) -> DroverError:
    """Return the error for a claim that needs a new session while the service is draining."""
    if claim.elsewhere is not None and claim.elsewhere.accepts_new():
        return SentAway("This node is draining; another one accepts new sessions")
    return ShuttingDown("The service is draining and accepts no new sessions; retry after its restart")
