"""Saves the state of each session's browser, so that it can be restored into a new one.

A save takes a browser about two milliseconds, and an idle session is not saved: ChromeDriver's count of
context switches, which does not change while it is idle, shows whether it has done anything since the
last save. Changes that pages make by themselves are saved at a longer interval.

Chrome continues when its network process dies, but the cookies in that process's memory are lost: those
of the last save are restored into the new one before the next capture.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from drover.browser import health
from drover.browser.devtools import DevTools
from drover.browser.devtools_connection import Connection, DevToolsFailed
from drover.browser.saved_state import SavedState, capture, restore_cookies
from drover.processes.activity import activity_of
from drover.processes.helpers import network_process
from drover.processes.table import Liveness, ProcessIdentity, liveness
from drover.sessions.pool.session import Session, SessionState

SAVERS = 4
SLOW_INTERVAL_S = 15.0
PAGES_S = 2.0
LAST_SAVE_S = 2.0

Persist = Callable[[Session, SavedState], None]


@dataclass(frozen=True, slots=True)
class _SaveMark:
    """ChromeDriver's activity count at the last save of a session, and the time of that save."""

    activity: int
    at: float


@dataclass(frozen=True, slots=True)
class _Network:
    """The process that held a browser's cookies at its last save."""

    browser_guid: str
    process: ProcessIdentity

    @property
    def is_gone(self) -> bool:
        return liveness(self.process) is Liveness.GONE


class StateSaver:
    """Saves the states of sessions in parallel, at most `SAVERS` at a time.

    Args:
        devtools: The DevTools connections.
        persist: Called with a session and its new state whenever the state has changed.
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
            for known in (self._states, self._seen, self._busy, self._networks):
                known.pop(session.birth, None)

    def forget_all(self) -> None:
        """Forget every state."""
        with self._lock:
            for known in (self._states, self._seen, self._busy, self._networks):
                known.clear()

    def tick(self, sessions: Iterable[Session]) -> None:
        """Begin to save the sessions whose state may have changed since their last save."""
        now = time.monotonic()
        for session in sessions:
            if session.state is SessionState.READY and session.running is not None:
                activity = activity_of(session.running.driver)
                seen = self._seen.get(session.birth)
                quiet = seen is not None and seen.activity == activity and now - seen.at < SLOW_INTERVAL_S
                if not quiet or self._has_lost_its_network(session):
                    self._begin(session, _SaveMark(activity, now))

    def save_now(self, sessions: Iterable[Session]) -> None:
        """Save sessions a last time, in parallel, and wait at most `LAST_SAVE_S` seconds."""
        wait([self._begin_last(one) for one in sessions if one.running is not None], timeout=LAST_SAVE_S)

    def close(self) -> None:
        """Accept no more saves."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin_last(self, session: Session) -> Future[None]:
        assert session.running is not None
        seen = _SaveMark(activity_of(session.running.driver), time.monotonic())
        with self._lock:
            known = self._seen.setdefault(session.birth, seen)
            previous = self._busy.get(session.birth)
            last = self._busy[session.birth] = self._executor.submit(
                self._save_last, session, seen, known, previous
            )
            return last

    def _save_last(
        self, session: Session, seen: _SaveMark, known: _SaveMark, previous: Future[None] | None
    ) -> None:
        if previous is not None:
            # It may have captured the state before the last command was done.
            wait([previous], timeout=LAST_SAVE_S)
        with self._lock:
            if self._seen.get(session.birth) is not known:
                # The session was forgotten in the meantime, as in `_save`.
                return
            self._seen[session.birth] = seen
        self._save(session, seen)

    def _begin(self, session: Session, seen: _SaveMark) -> Future[None]:
        with self._lock:
            running = self._busy.get(session.birth)
            if running is None or running.done():
                self._seen[session.birth] = seen
                running = self._busy[session.birth] = self._executor.submit(self._save, session, seen)
            return running

    def _save(self, session: Session, seen: _SaveMark) -> None:
        assert session.running is not None
        before = self.state_of(session)
        pages = [(page.target_id, page.url) for page in health.pages(session.running, PAGES_S)]
        if not pages:
            # The browser is closing or gone: keep the state saved before.
            return
        try:
            connection = self._devtools.of(session.running)
            network = self._network(session, connection, before)
            state = capture(connection, pages, before or SavedState())
        except (DevToolsFailed, KeyError):
            # The health check handles a browser that does not answer; keep the state saved before.
            return
        if state == before or (network is not None and network.is_gone):
            return
        with self._lock:
            if self._seen.get(session.birth) is not seen:
                # The session was forgotten in the meantime; another one may have its id now.
                return
            self._states[session.birth] = state
        self._persist(session, state)

    def _has_lost_its_network(self, session: Session) -> bool:
        known = self._networks.get(session.birth)
        return known is not None and known.is_gone

    def _network(
        self, session: Session, connection: Connection, before: SavedState | None
    ) -> _Network | None:
        """Return the process that holds the cookies; if it has replaced a dead one, restore them first."""
        assert session.running is not None
        known, guid = self._networks.get(session.birth), session.running.browser_guid
        if known is not None and known.browser_guid == guid:
            if not known.is_gone:
                return known
            if before is not None:
                restore_cookies(connection, before)
        process = network_process(session.running.browser)
        if process is None:
            return None
        found = self._networks[session.birth] = _Network(guid, process)
        return found
