"""The list of sessions and its lock, the only shared one; nothing but state changes under it.

Methods that free a place or a session give it to whoever waits first, and tell them after the lock
is released. A session is in the list before anything of it is started, and leaves it when its
processes are seen gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from drover.browser.running_browser import RunningBrowser
from drover.core.errors import CleanupIncomplete, SessionNotFound, ShuttingDown
from drover.processes.cleanup.verdicts import ProtectedSession
from drover.sessions.pool.acquire import Available, Claim, InProgress, LookupOutcome, Reserved, Waiter, named
from drover.sessions.pool.eviction import idle_sessions, needs_warm, next_to_evict
from drover.sessions.pool.leases import check_lease
from drover.sessions.pool.session import TRANSITIONS, Session, SessionState, changed, counted, taken_by
from drover.sessions.pool.wait_queue import WaitQueue

Change = Callable[[Session], Session]


@dataclass(slots=True)
class _Entry:
    session: Session
    work: Future[Any] | None

    @property
    def is_stuck(self) -> bool:
        """Tell whether its last close has left something behind, and nobody is at work on it."""
        return self.session.state is SessionState.CLOSING and self.work is None


class SessionRegistry:
    """All sessions, the persistent mapping from keys to them, and the line of those who wait.

    Args:
        max_sessions: How many sessions there may be, in whatever state.
        max_waiting: How many callers may wait in line.
    """

    def __init__(self, max_sessions: int, max_waiting: int) -> None:
        self.max_sessions = max_sessions
        self._evict: Callable[[Reserved], object] = _nobody_evicts
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._queue = WaitQueue(max_waiting)
        self._stopping = False
        self._gate_open = True

    def __repr__(self) -> str:
        with self._lock:
            states = [entry.session.state.value for entry in self._entries.values()]
            counts = ", ".join(f"{states.count(state.value)} {state.value}" for state in SessionState)
            return (
                f"<SessionRegistry {len(states)}/{self.max_sessions}: {counts}, {len(self._queue)} waiting>"
            )

    def evict_with(self, evict: Callable[[Reserved], object]) -> None:
        """Name what closes a session that has to give up its place; it is never called under the lock."""
        self._evict = evict

    @property
    def stopping(self) -> bool:
        """Tell whether the service takes no more claims."""
        with self._lock:
            return self._stopping

    @property
    def makes_room(self) -> bool:
        """Tell whether a session is being closed, so that a place becomes free soon."""
        with self._lock:
            entries = tuple(self._entries.values())
        return any(one.session.state is SessionState.CLOSING and one.work is not None for one in entries)

    def claim(self, claim: Claim) -> LookupOutcome | Waiter:
        """Find or reserve a session; a ticket where every place is taken.

        Raises:
            KeyConflict: `session_id` and `key` name two sessions.
            AtCapacity: The waiting line is full as well.
            ShuttingDown: The service is stopping.
        """
        with self._changing():
            if self._stopping:
                raise ShuttingDown("The service is stopping; ask again when it is back")
            return self._answer(claim, may_reserve=not self._queue) or self._queue.join(claim)

    def get(self, session_id: str, *, or_warm: bool = False) -> Session:
        """Give a session as it is now, without holding it; a warm one only where that is asked for.

        Raises:
            SessionNotFound: There is none of this id.
        """
        with self._lock:
            return self._entry(session_id, or_warm=or_warm).session

    def find(self, session_id: str) -> Available | InProgress:
        """Give a session that exists; a ready one is held until `release`.

        Raises:
            SessionNotFound: There is none of this id.
        """
        with self._lock:
            return self._hold(self._entry(session_id))

    def leave(self, waiter: Waiter) -> LookupOutcome | None:
        """Leave the waiting line; gives the answer where the turn had come at that very moment."""
        with self._lock:
            if self._queue.leave(waiter):
                return None
        return waiter.granted.result()

    def release(self, session: Session) -> None:
        """Let go of a session that `claim` or `find` gave."""
        self._count(session, callers=-1)

    def reserve_warm(self, make: Callable[[], Session], wanted: int) -> Reserved | None:
        """Reserve a place for one warm browser more, unless there are enough, or somebody needs the place."""
        with self._lock:
            sessions = [entry.session for entry in self._entries.values()]
            free = len(sessions) < self.max_sessions and not self._queue and self._gate_open
            if not free or self._stopping or not needs_warm(sessions, wanted):
                return None
            return self._reserve(make())

    def update(self, session_id: str, change: Change) -> Session:
        """Put what a pure function makes of a session in its place, and give that.

        Raises:
            SessionNotFound: There is none of this id.
            DroverError: What `change` raises; nothing is changed then.
        """
        with self._changing():
            entry = self._entry(session_id)
            entry.session = updated = change(entry.session)
        return updated

    def update_all(self, change: Change) -> None:
        """Put what a pure function makes of each session in its place."""
        with self._changing():
            for entry in self._entries.values():
                entry.session = change(entry.session)

    def begin(self, session: Session, state: SessionState) -> Reserved | InProgress | None:
        """Begin to recover or close a session: `Reserved` for exactly one caller of a generation.

        `InProgress` for the others; None where the session has moved on meanwhile: ask again.
        """
        with self._lock:
            entry = self._same(session)
            if entry is None:
                return None
            closing = entry.session.state is SessionState.CLOSING and entry.work is not None
            moved_on = entry.session.generation != session.generation
            if closing or moved_on or state not in TRANSITIONS[entry.session.state]:
                return InProgress(entry.session, entry.work) if entry.work else None
            return self._begin(entry, state)

    def adopt(self, session: Session) -> None:
        """Put a session of an earlier run on the list, as it is."""
        with self._lock:
            self._entries[session.session_id] = _Entry(session, None)

    def publish(self, session: Session, **changes: object) -> Session | None:
        """Make a session ready with what its work has brought; None where it was closed or lost meanwhile."""
        with self._changing():
            entry = self._current(session)
            if entry is None:
                return None
            entry.session = changed(entry.session.moved(SessionState.READY), changes)
            entry.work = None
            return entry.session

    def note(self, session: Session, **changes: object) -> None:
        """Note what a look at a session has found, unless it has moved on meanwhile."""
        with self._lock:
            entry = self._current(session)
            if entry is not None:
                entry.session = changed(entry.session, changes)

    @contextmanager
    def command(self, session: Session) -> Iterator[None]:
        """Count a client's command, or open socket: the session is in use, and was used when it ends."""
        self._count(session, commands=1)
        try:
            yield
        finally:
            self._count(session, commands=-1)

    @contextmanager
    def hold(self, session: Session) -> Iterator[None]:
        """Keep a session from being evicted or idled out meanwhile; that is no use of it."""
        self._count(session, callers=1)
        try:
            yield
        finally:
            self._count(session, callers=-1)

    def forget(self, session: Session) -> bool:
        """Take a session off the list, its processes being gone; False where it was lost meanwhile."""
        with self._changing():
            entry = self._current(session)
            if entry is not None:
                del self._entries[session.session_id]
        return entry is not None

    def unclosed(self) -> tuple[Session, ...]:
        """Give the sessions whose last close left something behind."""
        with self._lock:
            entries = tuple(self._entries.values())
        return tuple(entry.session for entry in entries if entry.is_stuck)

    def close_failed(self, session: Session) -> None:
        """Leave a session in the list as closing, with nobody at work: the next close tries again."""
        with self._changing():
            entry = self._current(session)
            if entry is not None:
                entry.work = None

    def is_current(self, session: Session) -> bool:
        """Tell whether the work on a session of this generation is still wanted."""
        with self._lock:
            return self._current(session) is not None

    def take_idle(self, now_mono: float) -> tuple[Reserved, ...]:
        """Begin to close the sessions whose idle time is over."""
        with self._lock:
            idle = idle_sessions([entry.session for entry in self._entries.values()], now_mono)
            return tuple(self._begin(self._entries[one.session_id], SessionState.CLOSING) for one in idle)

    def sessions(self) -> tuple[Session, ...]:
        """Give all sessions as they are now, in the order of their creation; warm ones are none yet."""
        return tuple(session for session in self._everything() if not session.warm)

    def works(self) -> tuple[Future[Any], ...]:
        """Give the starts, recoveries and closes that are under way."""
        with self._lock:
            return tuple(entry.work for entry in self._entries.values() if entry.work is not None)

    def running(self) -> tuple[RunningBrowser, ...]:
        """Give everything that runs for us, warm browsers included."""
        return tuple(session.running for session in self._everything() if session.running is not None)

    def warm_count(self) -> int:
        """Give how many warm browsers stand ready."""
        return sum(one.warm and one.state is SessionState.READY for one in self._everything())

    @property
    def waiting(self) -> int:
        """Tell how many callers wait for a place."""
        with self._lock:
            return len(self._queue)

    def protected(self) -> tuple[ProtectedSession, ...]:
        """Give what no cleanup may touch: the folder and processes of every session, whatever its state."""
        return tuple(
            ProtectedSession(
                session.session_id,
                str(session.folder.path),
                session.running.pids if session.running else frozenset(),
            )
            for session in self._everything()
        )

    def close_gate(self) -> tuple[Future[Any], ...]:
        """Lose every session and let none start until `open_gate`; gives the work that is under way."""
        with self._lock:
            self._gate_open = False
            works = tuple(entry.work for entry in self._entries.values() if entry.work is not None)
            self._entries.clear()
        return works

    def open_gate(self) -> None:
        """Let sessions start again."""
        with self._changing():
            self._gate_open = True

    def stop(self) -> tuple[Session, ...]:
        """Take no more claims, fail all who wait, and give the sessions that there are."""
        with self._lock:
            self._stopping = True
            grants = self._queue.fail(ShuttingDown("The service is stopping; ask again when it is back"))
            sessions = tuple(entry.session for entry in self._entries.values())
        for granted in grants:
            granted.tell()
        return sessions

    def _everything(self) -> tuple[Session, ...]:
        with self._lock:
            return tuple(entry.session for entry in self._entries.values())

    def _answer(self, claim: Claim, *, may_reserve: bool = True) -> LookupOutcome | None:
        entry = self._named(claim)
        if entry is not None:
            check_lease(entry.session, claim.token)
            if claim.key is not None and not entry.is_stuck:
                entry.session = replace(entry.session, key=claim.key)
            return self._hold(entry)
        warm = self._ready_warm() if claim.takes_warm and self._gate_open else None
        if warm is not None:
            return self._hand_out(warm, claim.make())
        if not may_reserve or not self._gate_open or len(self._entries) >= self.max_sessions:
            return None
        return self._reserve(replace(claim.make(), callers=1))

    def _reserve(self, session: Session) -> Reserved:
        work: Future[Any] = Future()
        self._entries[session.session_id] = _Entry(session, work)
        return Reserved(session, work)

    def _ready_warm(self) -> _Entry | None:
        entries = self._entries.values()
        return next((one for one in entries if one.session.warm and one.session.evictable), None)

    def _hand_out(self, warm: _Entry, wanted: Session) -> Available:
        del self._entries[warm.session.session_id]
        warm.session = taken_by(warm.session, wanted)
        self._entries[wanted.session_id] = warm
        warm.session = replace(warm.session, callers=1)
        return Available(warm.session, created=True)

    def _named(self, claim: Claim) -> _Entry | None:
        by_id = self._entries.get(claim.session_id) if claim.session_id else None
        by_key = self._by_key(claim.key) if claim.key else None
        meant = named(claim, by_id.session if by_id else None, by_key.session if by_key else None)
        return None if meant is None else self._entries[meant.session_id]

    def _by_key(self, key: str) -> _Entry | None:
        return next((entry for entry in self._entries.values() if entry.session.key == key), None)

    def _entry(self, session_id: str, *, or_warm: bool = False) -> _Entry:
        entry = self._entries.get(session_id)
        if entry is None or (entry.session.warm and not or_warm):
            raise SessionNotFound(f"There is no session {session_id}; GET /sessions lists them all")
        return entry

    def _current(self, session: Session) -> _Entry | None:
        entry = self._same(session)
        return entry if entry is not None and entry.session.generation == session.generation else None

    def _same(self, session: Session) -> _Entry | None:
        """Find the session in whatever generation, but not another one that has taken its id."""
        entry = self._entries.get(session.session_id)
        return entry if entry is not None and entry.session.folder == session.folder else None

    def _count(self, session: Session, callers: int = 0, commands: int = 0) -> None:
        with self._changing():
            entry = self._same(session)
            if entry is not None:
                entry.session = counted(entry.session, callers, commands)

    def _hold(self, entry: _Entry) -> Available | InProgress:
        if entry.work is not None:
            return InProgress(entry.session, entry.work)
        if entry.is_stuck:
            raise CleanupIncomplete(
                f"Session {entry.session.session_id} could not be closed yet; DELETE it to try again"
            )
        entry.session = replace(entry.session, callers=entry.session.callers + 1)
        return Available(entry.session)

    def _begin(self, entry: _Entry, state: SessionState) -> Reserved:
        displaced, entry.work = entry.work, Future()
        entry.session = entry.session.moved(state)
        return Reserved(entry.session, entry.work, displaced)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock for a change; then, without it, tell everybody whose turn has come through it."""
        with self._lock:
            yield
            grants = self._queue.serve(self._answer)
            victims = tuple(self._victims())
        for granted in grants:
            granted.tell()
        for victim in victims:
            self._evict(victim)

    def _victims(self) -> Iterator[Reserved]:
        while self._queue and self._gate_open and len(self._entries) >= self.max_sessions:
            # One whose close has failed gives its place to nobody for now.
            hopeful = [e.session for e in self._entries.values() if not e.is_stuck]
            victim = next_to_evict(hopeful, len(self._queue))
            if victim is None:
                return
            yield self._begin(self._entries[victim.session_id], SessionState.CLOSING)


def _nobody_evicts(_: Reserved) -> None:
    raise AssertionError("evict_with() names what closes sessions, before any session is claimed")
