"""Keeps what was last taken from each session's browser, so that a new one can be given it.

A save costs a browser some two milliseconds, and nothing while nobody uses it: whether ChromeDriver
has done something since the last one is told by its context switches, which stand still while it is
idle. What pages do by themselves is taken at a slower pace.

Chrome goes on when its network process dies, but the cookies that this one held in memory are gone:
the new one is given those of the last save, before anything is taken again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from drover.browser import health
from drover.browser.devtools import Connection, DevTools, DevToolsFailed
from drover.browser.saved_state import SavedState, capture, restore_cookies
from drover.processes.activity import activity_of
from drover.processes.helpers import network_process
from drover.processes.table import Liveness, ProcessIdentity, liveness
from drover.sessions.pool.session import Session, SessionState

SAVERS = 4
SLOW_TICK_S = 15.0
PAGES_S = 2.0
LAST_SAVE_S = 2.0

Persist = Callable[[str, SavedState], None]


@dataclass(frozen=True, slots=True)
class _SaveMark:
    """What was known of a session when it was last saved."""

    activity: int
    at: float


@dataclass(frozen=True, slots=True)
class _Network:
    """The process that held a browser's cookies when it was last saved."""

    browser_guid: str
    process: ProcessIdentity

    @property
    def is_gone(self) -> bool:
        return liveness(self.process) is Liveness.GONE


class StateSaver:
    """Saves sessions' states side by side, a bounded number at a time.

    Args:
        devtools: The DevTools connections.
        persist: Called with a session's id and its new state whenever that has changed.
    """

    def __init__(self, devtools: DevTools, persist: Persist) -> None:
        self._devtools = devtools
        self._persist = persist
        self._lock = threading.Lock()
        self._states: dict[str, SavedState] = {}
        self._seen: dict[str, _SaveMark] = {}
        self._busy: dict[str, Future[None]] = {}
        self._networks: dict[str, _Network] = {}
        self._executor = ThreadPoolExecutor(SAVERS, thread_name_prefix="saver")

    def state_of(self, session_id: str) -> SavedState | None:
        """Give what was last taken from a session's browser."""
        with self._lock:
            return self._states.get(session_id)

    def remember(self, session_id: str, state: SavedState) -> None:
        """Take up a state that was kept elsewhere."""
        with self._lock:
            self._states[session_id] = state

    def forget(self, session_id: str) -> None:
        """Forget a session's state."""
        with self._lock:
            for known in (self._states, self._seen, self._busy, self._networks):
                known.pop(session_id, None)

    def forget_all(self) -> None:
        """Forget every state."""
        with self._lock:
            for known in (self._states, self._seen, self._busy, self._networks):
                known.clear()

    def tick(self, sessions: Iterable[Session]) -> None:
        """Begin to save the sessions in which something may have happened since their last save."""
        now = time.monotonic()
        for session in sessions:
            if session.state is SessionState.READY and session.running is not None:
                activity = activity_of(session.running.driver)
                seen = self._seen.get(session.session_id)
                quiet = seen is not None and seen.activity == activity and now - seen.at < SLOW_TICK_S
                if not quiet or self._has_lost_its_network(session):
                    self._begin(session, _SaveMark(activity, now))

    def save_now(self, sessions: Iterable[Session]) -> None:
        """Save sessions a last time, side by side, and wait for it a little."""
        wait([self._begin_last(one) for one in sessions if one.running is not None], timeout=LAST_SAVE_S)

    def close(self) -> None:
        """Take no more saves."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin_last(self, session: Session) -> Future[None]:
        assert session.running is not None
        seen = _SaveMark(activity_of(session.running.driver), time.monotonic())
        with self._lock:
            known = self._seen.setdefault(session.session_id, seen)
            under_way = self._busy.get(session.session_id)
            last = self._busy[session.session_id] = self._executor.submit(
                self._save_last, session, seen, known, under_way
            )
            return last

    def _save_last(
        self, session: Session, seen: _SaveMark, known: _SaveMark, under_way: Future[None] | None
    ) -> None:
        if under_way is not None:
            # It may have looked before the last command was done.
            wait([under_way], timeout=LAST_SAVE_S)
        with self._lock:
            if self._seen.get(session.session_id) is not known:
                # It was forgotten meanwhile, as in `_save`.
                return
            self._seen[session.session_id] = seen
        self._save(session, seen)

    def _begin(self, session: Session, seen: _SaveMark) -> Future[None]:
        with self._lock:
            running = self._busy.get(session.session_id)
            if running is None or running.done():
                self._seen[session.session_id] = seen
                running = self._busy[session.session_id] = self._executor.submit(self._save, session, seen)
            return running

    def _save(self, session: Session, seen: _SaveMark) -> None:
        assert session.running is not None
        before = self.state_of(session.session_id)
        pages = [(page.target_id, page.url) for page in health.pages(session.running, PAGES_S)]
        if not pages:
            # The browser is going, or gone: what it held before is worth more than nothing.
            return
        try:
            connection = self._devtools.of(session.running)
            network = self._network(session, connection, before)
            state = capture(connection, pages, before or SavedState())
        except (DevToolsFailed, KeyError):
            # A browser that does not answer is the health check's matter; what was taken before stands.
            return
        if state == before or (network is not None and network.is_gone):
            return
        with self._lock:
            if self._seen.get(session.session_id) is not seen:
                # It was forgotten meanwhile; another session may have its id by now.
                return
            self._states[session.session_id] = state
        self._persist(session.session_id, state)

    def _has_lost_its_network(self, session: Session) -> bool:
        known = self._networks.get(session.session_id)
        return known is not None and known.is_gone

    def _network(
        self, session: Session, connection: Connection, before: SavedState | None
    ) -> _Network | None:
        """Give the process that holds the cookies; one that has taken another's place gets them first."""
        assert session.running is not None
        known, guid = self._networks.get(session.session_id), session.running.browser_guid
        if known is not None and known.browser_guid == guid:
            if not known.is_gone:
                return known
            if before is not None:
                restore_cookies(connection, before)
        process = network_process(session.running.browser)
        if process is None:
            return None
        found = self._networks[session.session_id] = _Network(guid, process)
        return found
