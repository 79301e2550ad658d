"""Saves the state of each session's browser, so that it can be restored into a new one.

A save takes a browser about two milliseconds, and an idle session is not saved: ChromeDriver's activity
count (`activity_of`), which does not change while it is idle, shows whether it has done anything since the
last save. Changes that pages make by themselves are saved at a longer interval. If the count is not known,
every session is saved each time.

Chrome continues when its network process dies, but the cookies in that process's memory are lost: those
of the last save are restored into the new one before the next capture.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial

from drover.browser.browsers import Browsers
from drover.browser.devtools_connection import DevToolsFailed
from drover.browser.saved_state import SavedState
from drover.core.jobs import Job, JobKind, Jobs
from drover.processes.activity import activity_of
from drover.processes.helpers import network_process
from drover.processes.table import Liveness, ProcessIdentity, liveness
from drover.sessions.pool.session import Session, SessionState

SLOW_INTERVAL_S = 15.0
LAST_SAVE_S = 2.0

Persist = Callable[[Session, SavedState], None]


@dataclass(frozen=True, slots=True)
class _SaveMark:
    """ChromeDriver's activity count at the last save of a session, and the time of that save.

    The count is None if it is not known.
    """

    activity: int | None
    at: float


_NEVER_SAVED = _SaveMark(None, 0.0)


@dataclass(frozen=True, slots=True)
class _Network:
    """The process that held a browser's cookies at its last save."""

    browser_guid: str
    process: ProcessIdentity

    @property
    def is_gone(self) -> bool:
        return liveness(self.process) is Liveness.GONE


@dataclass(eq=False, repr=False)
class StateSaver:
    """Saves the states of sessions in parallel.

    Args:
        persist: Called with a session and its new state whenever the state has changed.
    """

    _browsers: Browsers
    _persist: Persist
    _jobs: Jobs
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _states: dict[str, SavedState] = field(default_factory=dict, init=False)
    _seen: dict[str, _SaveMark] = field(default_factory=dict, init=False)
    _networks: dict[str, _Network] = field(default_factory=dict, init=False)

    def state_of(self, session: Session) -> SavedState | None:
        """Return the state last saved from a session's browser."""
        with self._lock:
            return self._states.get(session.birth)

    def remember(self, session: Session, state: SavedState) -> None:
        """Set a session's state to one that was saved earlier."""
        with self._lock:
            self._states[session.birth] = state

    def forget(self, session: Session) -> None:
        """Forget a session's state."""
        with self._lock:
            for known in (self._states, self._seen, self._networks):
                known.pop(session.birth, None)

    def forget_all(self) -> None:
        """Forget every state."""
        with self._lock:
            for known in (self._states, self._seen, self._networks):
                known.clear()

    def tick(self, sessions: Iterable[Session]) -> None:
        """Begin to save the sessions whose state may have changed since their last save.

        If there are fewer threads than sessions, those in use come first, then the longest unsaved.
        """
        now = time.monotonic()
        changed = [session for session in sessions if self._may_have_changed(session, now)]
        for session in sorted(changed, key=self._turn):
            self._begin(session)

    def _may_have_changed(self, session: Session, now: float) -> bool:
        if session.state is not SessionState.READY or session.running is None:
            return False
        seen = self._seen.get(session.birth, _NEVER_SAVED)
        if now - seen.at >= SLOW_INTERVAL_S:
            return True
        activity = activity_of(session.running.driver)
        return activity is None or activity != seen.activity or self._has_lost_its_network(session)

    def _turn(self, session: Session) -> tuple[bool, float]:
        return not session.in_use, self._seen.get(session.birth, _NEVER_SAVED).at

    def save_now(self, sessions: Iterable[Session]) -> None:
        """Save sessions a last time, in parallel, and wait at most `LAST_SAVE_S` seconds."""
        started = [one for one in sessions if one.running is not None]
        # A save in progress may have captured the state before the last command was done.
        wait([self._begin(one, anew=True) for one in started], timeout=LAST_SAVE_S)

    def _begin(self, session: Session, *, anew: bool = False) -> Future[None]:
        with self._lock:
            self._seen.setdefault(session.birth, _NEVER_SAVED)
        job = Job(JobKind.SAVE, session.session_id, session.birth)
        return self._jobs.begin(job, partial(self._save, session), anew=anew)

    def _save(self, session: Session) -> None:
        assert session.running is not None
        seen = _SaveMark(activity_of(session.running.driver), time.monotonic())
        with self._lock:
            if session.birth not in self._seen:
                # The session was forgotten in the meantime.
                return
            self._seen[session.birth] = seen
        before = self.state_of(session)
        try:
            network = self._network(session, before)
            state = self._browsers.save(session.running, before or SavedState(), session.window)
        except DevToolsFailed:
            # The health check handles a browser that does not answer; keep the state saved before.
            return
        if state is None or state == before or (network is not None and network.is_gone):
            return
        with self._lock:
            if session.birth not in self._seen:
                return
            self._states[session.birth] = state
        self._persist(session, state)

    def _has_lost_its_network(self, session: Session) -> bool:
        known = self._networks.get(session.birth)
        return known is not None and known.is_gone

    def _network(self, session: Session, before: SavedState | None) -> _Network | None:
        """Return the process that holds the cookies; if it has replaced a dead one, restore them first."""
        assert session.running is not None
        known, guid = self._networks.get(session.birth), session.running.browser_guid
        if known is not None and known.browser_guid == guid:
            if not known.is_gone:
                return known
            if before is not None:
                self._browsers.restore_cookies(session.running, before)
        process = network_process(session.running.browser)
        if process is None:
            return None
        found = self._networks[session.birth] = _Network(guid, process)
        return found
