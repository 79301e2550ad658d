"""What a cleanup and an emergency recovery report."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from drover.processes.cleanup.cleanup_plan import Judgement, Verdict
from drover.processes.termination import Outcome


@dataclass(frozen=True, slots=True)
class Killed:
    """A process that was ended and verified to be gone."""

    judgement: Judgement
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """A process that could not be ended, and the reason."""

    judgement: Judgement
    why: str

    @property
    def is_ours_to_end(self) -> bool:
        """Whether it belongs to the user of the service, or its user is unknown."""
        return self.judgement.row.own_user is not False


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """The result of a cleanup; for a dry run, what it would do.

    Attributes:
        killed: Processes verified to be gone; in a dry run, the processes that would be ended.
        failed: Processes that could not be ended, and why.
        spared: Number of Chrome-like processes that were left alone, by verdict.
        reaped: Pids of defunct children of the service that were reaped.
        removed_profiles: Number of orphaned session folders that were removed.
        freed_mb: Memory of the killed processes, in units of 1,000,000 bytes.
        duration_ms: Duration of the whole cleanup.
        phases_ms: Duration by phase: scan, plan, end, sweep.
        dry_run: Whether nothing was changed.
    """

    killed: tuple[Killed, ...] = ()
    failed: tuple[Failed, ...] = ()
    spared: tuple[tuple[Verdict, int], ...] = ()
    reaped: tuple[int, ...] = ()
    removed_profiles: int = 0
    freed_mb: float = 0.0
    duration_ms: int = 0
    phases_ms: tuple[tuple[str, int], ...] = ()
    dry_run: bool = False

    def followed_by(self, later: CleanupReport) -> CleanupReport:
        """Return the combined report; a process that the later cleanup ended does not count as failed."""
        ended = {killed.judgement.row.identity for killed in later.killed}
        return replace(
            later,
            killed=self.killed + later.killed,
            failed=later.failed + tuple(f for f in self.failed if f.judgement.row.identity not in ended),
            reaped=self.reaped + later.reaped,
            removed_profiles=self.removed_profiles + later.removed_profiles,
            freed_mb=self.freed_mb + later.freed_mb,
            duration_ms=self.duration_ms + later.duration_ms,
        )

    @property
    def killed_count(self) -> int:
        """Number of processes that were verified to be gone."""
        return 0 if self.dry_run else len(self.killed)


@dataclass(frozen=True, slots=True)
class EmergencyReport:
    """The result of an emergency recovery.

    Attributes:
        cleanup: What was ended.
        cleared: Whether all sessions and states are deleted from the disk; if not, that is retried.
    """

    cleanup: CleanupReport
    cleared: bool = True


class Stopwatch:
    """A stopwatch that measures phases in milliseconds."""

    def __init__(self) -> None:
        self._started = self._lap_started = time.monotonic()
        self._spent_s: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """End a phase; repeated phases with the same name add up."""
        now = time.monotonic()
        self._spent_s[phase] = self._spent_s.get(phase, 0.0) + now - self._lap_started
        self._lap_started = now

    def phases(self) -> tuple[tuple[str, int], ...]:
        """Return the duration of each phase."""
        return tuple((phase, round(1000 * spent)) for phase, spent in self._spent_s.items())

    def total(self) -> int:
        """Return the duration since the start."""
        return round(1000 * (time.monotonic() - self._started))
