"""Whether there is enough memory for another browser: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass

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
