"""Keep what web pages write within limits: downloads and profiles of the sessions."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from drover.browser.browsers import Browsers
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.downloads import MIB
from drover.core import events
from drover.core.jobs import Job, JobKind, Jobs
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Session, SessionState
from drover.storage.disk_usage import disk_usage
from drover.storage.room import read_room

MEASURE_S: Final = 60.0
"""A profile is measured at least this often; sooner if the disk fills."""
GROWTH_SHARE: Final = 16
"""Profiles are measured when the disk has lost this part of the limit: a page writes 700 MB in a second."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the pages of one session may write.

    Attributes:
        downloads_mb: All downloads together, in MiB; the DevTools connection cancels what exceeds it.
        profile_mb: The profile, in MiB.
    """

    downloads_mb: int
    profile_mb: int


@dataclass(eq=False, repr=False)
class DiskLimits:
    """Measures profiles, has those over the limit made smaller, and reports downloads that were cancelled.

    Args:
        data_dir: The folder whose disk is watched.
    """

    _registry: SessionRegistry
    _browsers: Browsers
    _jobs: Jobs
    _emit: events.Emit
    _data_dir: Path
    _limits: Limits
    _free: int = field(default=0, init=False)
    _measured_at: float = field(default=float("-inf"), init=False)
    _cancelled: dict[str, int] = field(default_factory=dict, init=False)

    def tick(self) -> None:
        """Report cancelled downloads, and begin to measure the profiles if that is due."""
        self._report_downloads([one for one in self._registry.sessions() if one.running is not None])
        if self._limits.profile_mb:
            # A disk that hangs must not stop the other periodic tasks.
            self._jobs.begin(Job(JobKind.PROFILE_LIMIT), self._measure_if_due)

    def _measure_if_due(self) -> None:
        if not self._is_due():
            return
        for session in self._registry.sessions():
            if session.state is SessionState.READY:
                job = Job(JobKind.PROFILE_LIMIT, session.session_id, session.birth)
                self._jobs.begin(job, partial(self._limit_profile, session))

    def _report_downloads(self, sessions: list[Session]) -> None:
        before, self._cancelled = self._cancelled, {}
        for session in sessions:
            assert session.running is not None
            count = self._browsers.cancelled_downloads(session.running)
            self._cancelled[session.running.browser_guid] = count
            if count > before.get(session.running.browser_guid, 0):
                self._report(
                    session, events.DownloadsCancelled(session.session_id, self._limits.downloads_mb)
                )

    def _is_due(self) -> bool:
        room = read_room(self._data_dir)
        if room is None:
            # The folder was removed, which has a periodic task of its own.
            return False
        now, free = time.monotonic(), room.free
        lost = self._free - free
        if now - self._measured_at < MEASURE_S and lost * GROWTH_SHARE < self._limits.profile_mb * MIB:
            # What is freed in the meantime must not hide what is written.
            self._free = max(self._free, free)
            return False
        self._measured_at, self._free = now, free
        return True

    def _limit_profile(self, session: Session) -> None:
        profile, limit = session.folder.profile, self._limits.profile_mb * MIB
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
            session.session_id, size // MIB, self._limits.profile_mb, ", ".join(removed), after // MIB
        )
        self._report(session, shrunk)

    def _report(self, session: Session, event: events.DownloadsCancelled | events.ProfileShrunk) -> None:
        self._emit(event)
        self._registry.note(session, notice=event.notice)
