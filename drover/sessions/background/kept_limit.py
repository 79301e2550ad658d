"""Keeps the kept profiles below their limit."""

from __future__ import annotations

import time

from drover.core import events
from drover.core.jobs import Job, JobKind, Jobs
from drover.storage.kept_profiles import KeptProfiles

EVERY_S = 3600.0
"""Profiles that were set aside expire, although none is added."""


class KeptLimit:
    """Removes the least recently used profiles when those that are kept have grown over the limit.

    Args:
        limit_mb: What they may take together, in units of 1,000,000 bytes; 0 = no limit.
    """

    def __init__(self, profiles: KeptProfiles, jobs: Jobs, emit: events.Emit, limit_mb: int) -> None:
        self._profiles = profiles
        self._jobs = jobs
        self._emit = emit
        self._limit_mb = limit_mb
        self._measured = (-1, float("-inf"))

    def tick(self) -> None:
        """Begin to measure if a profile was added, or if it was long ago."""
        version, at = self._measured
        if self._profiles.version == version and time.monotonic() - at < EVERY_S:
            return
        self._measured = (self._profiles.version, time.monotonic())
        self._jobs.begin_anew(Job(JobKind.KEPT_PROFILES), self._limit)

    def _limit(self) -> None:
        removed = self._profiles.limit(self._limit_mb)
        if removed:
            self._emit(events.KeptProfilesDropped(len(removed), self._limit_mb))
