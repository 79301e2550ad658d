"""Keep what web pages write within limits: downloads, profiles, and profiles that are kept for keys."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from drover.browser.browsers import Browsers
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.downloads import MIB
from drover.core import events
from drover.core.jobs import Job, JobKind, Jobs
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from drover.storage.kept_profiles import KeptProfiles
from drover.storage.profile_contents import disk_usage
from drover.storage.room import Room

MEASURE_S: Final = 120.0
"""A profile is measured at least this often; sooner if the disk fills."""
GROWTH_SHARE: Final = 16
"""Profiles are measured when the disk has lost this part of the limit: a page writes 700 MB in a second."""
KEPT_EVERY_S: Final = 3600.0
"""Profiles that were set aside expire, although none is added."""


@dataclass(eq=False, repr=False)
class DiskLimits:
    """Measures profiles, has those over the limit made smaller, and reports downloads that were cancelled.

    Args:
        downloads_mb: What all downloads of a session may take, in MiB; the DevTools connection cancels more.
        profile_mb: What the profile of a session may take, in MiB; 0 = no limit.
    """

    _registry: SessionRegistry
    _browsers: Browsers
    _jobs: Jobs
    _emit: events.Emit
    _downloads_mb: int
    _profile_mb: int
    _free: int = field(default=0, init=False)
    _measured_at: float = field(default=float("-inf"), init=False)
    _cancelled: dict[str, int] = field(default_factory=dict, init=False)

    def measure_if_due(self, room: Room | None) -> None:
        """Begin to measure the profiles if that is due, given the room on their disk if it is known."""
        if not self._profile_mb or room is None or not self._is_due(room.free):
            return
        for session in self._registry.sessions():
            if session.state is SessionState.READY:
                job = Job(JobKind.PROFILE_LIMIT, session.session_id, session.birth)
                self._jobs.begin(job, partial(self._limit_profile, session))

    def report_downloads(self) -> None:
        """Report the downloads that were cancelled since the last call."""
        before, self._cancelled = self._cancelled, {}
        for session in self._registry.sessions():
            if session.running is None:
                continue
            count = self._browsers.devtools.cancelled_downloads(session.running)
            self._cancelled[session.running.browser_guid] = count
            if count > before.get(session.running.browser_guid, 0):
                self._report(session, events.DownloadsCancelled(session.session_id, self._downloads_mb))

    def _is_due(self, free: int) -> bool:
        now = time.monotonic()
        lost = self._free - free
        if now - self._measured_at < MEASURE_S and lost * GROWTH_SHARE < self._profile_mb * MIB:
            # What is freed in the meantime must not hide what is written.
            self._free = max(self._free, free)
            return False
        self._measured_at, self._free = now, free
        return True

    def _limit_profile(self, session: Session) -> None:
        profile, limit = session.folder.profile, self._profile_mb * MIB
        size = disk_usage(profile)
        if size <= limit or session.running is None:
            return
        try:
            removed = self._browsers.shrink_profile(
                session.running, profile, lambda: disk_usage(profile) <= limit
            )
        except DevToolsFailed as error:
            removed = (f"nothing ({error})",)
        after = disk_usage(profile)
        shrunk = events.ProfileShrunk(
            session.session_id, size // MIB, self._profile_mb, ", ".join(removed), after // MIB
        )
        self._report(session, shrunk)

    def _report(self, session: Session, event: events.DownloadsCancelled | events.ProfileShrunk) -> None:
        self._emit(event)
        self._registry.note(session, notice=event.notice)


@dataclass(eq=False, repr=False)
class KeptLimit:
    """Removes the least recently used profiles when those that are kept have grown over the limit.

    Args:
        limit_mb: What they may take together, in units of 1,000,000 bytes; 0 = no limit.
    """

    _profiles: KeptProfiles
    _jobs: Jobs
    _emit: events.Emit
    _limit_mb: int
    _measured: tuple[int, float] = field(default=(-1, float("-inf")), init=False)

    def tick(self) -> None:
        """Begin to measure if a profile was added, or if it was long ago."""
        version, at = self._measured
        if self._profiles.version == version and time.monotonic() - at < KEPT_EVERY_S:
            return
        self._measured = (self._profiles.version, time.monotonic())
        self._jobs.begin(Job(JobKind.KEPT_PROFILES), self._limit, anew=True)

    def _limit(self) -> None:
        removed = self._profiles.limit(self._limit_mb)
        if removed:
            self._emit(events.KeptProfilesDropped(len(removed), self._limit_mb))
