"""The list of sessions with the only shared lock, under which nothing but state changes happen.

Methods that free a place or a session grant it to the first waiter, and complete its future after the lock is
released. `take_evicted` returns the sessions to close for those that still wait. A session is in the list
before anything is started for it, and leaves it when its processes are proven to be gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from drover.browser.running_browser import RunningBrowser
from drover.core.errors import (
    DroverError,
    ShuttingDown,
)
from drover.processes.cleanup.verdicts import ProtectedSession
from drover.sessions.pool.acquire import Available, Claim, InProgress, LookupOutcome, Reserved, Waiter
from drover.sessions.pool.entries import Entries, Entry
from drover.sessions.pool.eviction import (
    idle_sessions,
    needs_warm,
    next_to_evict,
    next_to_evict_for_memory,
    unused_keyed_sessions,
)
from drover.sessions.pool.journal import Journal
from drover.sessions.pool.leases import check_lease
from drover.sessions.pool.memory_room import UNKNOWN, MemoryRoom
from drover.sessions.pool.session import TRANSITIONS, Session, SessionState, changed, counted, taken_by
from drover.sessions.pool.wait_queue import WaitQueue

Change = Callable[[Session], Session]

_RECORDED = frozenset({SessionState.READY, SessionState.RECOVERING})
"""A session that is starting is not promised yet, and one that is closing may be deleted already."""


class SessionRegistry:
    """All sessions, the mapping from keys to them, and the wait queue.

    Args:
        max_sessions: How many sessions there may be, in any state.
        max_waiting: How many callers may wait for a place.
        journal: Hears of the changes that must outlive the process.
    """

    def __init__(self, max_sessions: int, max_waiting: int, journal: Journal) -> None:
        self.max_sessions = max_sessions
        self._journal = journal
        self._lock = threading.Lock()
        self._entries = Entries()
        self._queue = WaitQueue(max_waiting)
        self._stopping = False
        self._draining = False
        self._gate_open = True
        self._memory = UNKNOWN

    def __repr__(self) -> str:
        with self._lock:
            states = [entry.session.state.value for entry in self._entries]
            counts = ", ".join(f"{states.count(state.value)} {state.value}" for state in SessionState)
            return (
                f"<SessionRegistry {len(states)}/{self.max_sessions}: {counts}, {len(self._queue)} waiting>"
            )

    @property
    def stopping(self) -> bool:
        """Whether the service is stopping and accepts no more claims."""
        with self._lock:
            return self._stopping

    @property
    def draining(self) -> bool:
        """Whether sessions go on, but no new ones are accepted."""
        with self._lock:
            return self._draining

    @property
    def makes_room(self) -> bool:
        """Whether a session is being closed, so that a place becomes free soon."""
        with self._lock:
            entries = tuple(self._entries)
        return any(entry.is_closing for entry in entries)

    def claim(self, claim: Claim) -> LookupOutcome | Waiter:
        """Find or reserve a session; return a place in the wait queue if all places are taken.

        Raises:
            KeyConflict: `session_id` and `key` name two sessions.
            AtCapacity: The wait queue is full as well.
            ShuttingDown: The service is stopping, or it is draining and there is no such session.
        """
        with self._changing():
            if self._stopping:
                raise ShuttingDown("The service is stopping; retry after its restart")
            return self._answer(claim, may_reserve=not self._queue) or self._queue.join(claim)

    def get(self, session_id: str, *, or_warm: bool = False) -> Session:
        """Return a session as it is now, without holding it; a warm one only if `or_warm`.

        Raises:
            SessionNotFound: No session has this id.
        """
        with self._lock:
            return self._entries.get(session_id, or_warm=or_warm).session

    def has(self, session_id: str | None, key: str | None) -> bool:
        """Return whether there is a session with this id or this key."""
        with self._lock:
            by_id = session_id is not None and session_id in self._entries
            return by_id or (key is not None and self._entries.by_key(key) is not None)

    def find(self, session_id: str) -> Available | InProgress:
        """Return an existing session; a ready one is held until `release`.

        Raises:
            SessionNotFound: No session has this id.
        """
        with self._lock:
            return self._hold(self._entries.get(session_id))

    def leave(self, waiter: Waiter) -> LookupOutcome | None:
        """Leave the wait queue; return the outcome if it was granted at the same moment.

        Raises:
            DroverError: The outcome is an error.
        """
        with self._lock:
            if self._queue.leave(waiter):
                return None
            answer = waiter.answer
        if isinstance(answer, DroverError):
            raise answer
        return answer

    def release(self, session: Session) -> None:
        """Release a session that `claim` or `find` has returned."""
        self._count(session, callers=-1)

    def reserve_warm(self, make: Callable[[], Session], wanted: int) -> Reserved | None:
        """Reserve a place for another warm browser, unless there are enough or a client needs the place."""
        with self._lock:
            sessions = self._entries.sessions
            free = len(sessions) < self.max_sessions and not self._queue and self._gate_open
            free = free and self._memory_shortage() is None
            if not free or self._stopping or self._draining or not needs_warm(sessions, wanted):
                return None
            return self._reserve(make())

    def update(self, session_id: str, change: Change) -> Session:
        """Replace a session by the result of a pure function, and return that.

        Raises:
            SessionNotFound: No session has this id.
            DroverError: What `change` raises; nothing is changed then.
        """
        with self._changing():
            entry = self._entries.get(session_id)
            self._change(entry, change(entry.session))
            return entry.session

    def update_all(self, change: Change) -> None:
        """Replace every session by the result of a pure function."""
        with self._changing():
            for entry in self._entries:
                updated = change(entry.session)
                if updated is not entry.session:
                    self._change(entry, updated)

    def begin(self, session: Session, state: SessionState) -> Reserved | InProgress | None:
        """Begin to recover or close a session: `Reserved` for exactly one caller of a generation.

        `InProgress` for the others; None if the session has changed in the meantime: get it again and retry.
        """
        with self._lock:
            entry = self._entries.same(session)
            if entry is None:
                return None
            moved_on = entry.session.generation != session.generation
            if entry.is_closing or moved_on or state not in TRANSITIONS[entry.session.state]:
                return InProgress(entry.session, entry.in_progress) if entry.in_progress else None
            return self._begin(entry, state)

    def adopt(self, session: Session) -> None:
        """Add a session of an earlier run to the list, unchanged."""
        with self._lock:
            self._entries.add(Entry(session, None))

    def publish(self, session: Session, **changes: object) -> Session | None:
        """Make a session ready with the results of its work; None if it has been closed or lost."""
        with self._changing():
            entry = self._entries.current(session)
            if entry is None:
                return None
            self._change(entry, changed(entry.session.moved(SessionState.READY), changes))
            entry.work = None
            return entry.session

    def note(self, session: Session, **changes: object) -> None:
        """Record the results of a check of a session, unless the session has changed in the meantime."""
        with self._lock:
            entry = self._entries.current(session)
            if entry is not None:
                entry.put(changed(entry.session, changes))

    @contextmanager
    def command(self, session: Session) -> Iterator[None]:
        """Count a client's command or open socket as activity, until the `with` block ends."""
        self._count(session, commands=1)
        try:
            yield
        finally:
            self._count(session, commands=-1)

    @contextmanager
    def hold(self, session: Session) -> Iterator[None]:
        """Protect a session from eviction and idle closing in the `with` block; not counted as activity."""
        self._count(session, callers=1)
        try:
            yield
        finally:
            self._count(session, callers=-1)

    def forget(self, session: Session) -> bool:
        """Remove a session whose processes are gone from the list; False if it was lost in the meantime."""
        with self._changing():
            entry = self._entries.current(session)
            if entry is not None:
                self._entries.remove(session)
        return entry is not None

    def unclosed(self) -> tuple[Session, ...]:
        """Return the sessions whose last close failed."""
        with self._lock:
            entries = tuple(self._entries)
        return tuple(entry.session for entry in entries if entry.is_stuck)

    def close_failed(self, session: Session, error: Exception) -> None:
        """Leave a session in the list as closing, without work in progress, so that a close can retry."""
        with self._changing():
            entry = self._entries.current(session)
            if entry is not None:
                entry.work, entry.failure = None, error

    def is_current(self, session: Session) -> bool:
        """Return whether the work on a session of this generation is still wanted."""
        with self._lock:
            return self._entries.current(session) is not None

    def take_unused(self, session: Session, state: SessionState) -> Reserved | None:
        """Begin work on a session that nobody uses at this moment; None if it is used or has changed."""
        with self._lock:
            entry = self._entries.current(session)
            if entry is None or not entry.session.evictable:
                return None
            return self._begin(entry, state)

    def take_idle(self, now_mono: float) -> tuple[Reserved, ...]:
        """Begin to close the sessions that have exceeded their idle timeout."""
        return self._take(partial(idle_sessions, now_mono=now_mono))

    def take_unused_keyed(self, now_mono: float, seconds: float) -> tuple[Reserved, ...]:
        """Begin to close the sessions with a key that have not been used for so many seconds."""
        return self._take(partial(unused_keyed_sessions, now_mono=now_mono, seconds=seconds))

    def _take(self, choose: Callable[[Sequence[Session]], tuple[Session, ...]]) -> tuple[Reserved, ...]:
        with self._lock:
            chosen = choose(self._entries.sessions)
            return tuple(self._begin(self._entries.of(one), SessionState.CLOSING) for one in chosen)

    def take_evicted(self) -> tuple[Reserved, ...]:
        """Begin to close as many sessions as must make room for the wait queue, and return them.

        A waiter waits until this is called after the change that made a session evictable.
        """
        with self._lock:
            return tuple(self._victims())

    def sessions(self) -> tuple[Session, ...]:
        """Return all sessions as they are now, the oldest first, without warm ones."""
        return tuple(session for session in self._everything() if not session.warm)

    def works(self) -> tuple[Future[Any], ...]:
        """Return the futures of all starts, recoveries and closes in progress."""
        with self._lock:
            return self._entries.works

    def running(self) -> tuple[RunningBrowser, ...]:
        """Return the running browsers of all sessions, warm ones included."""
        return tuple(session.running for session in self._everything() if session.running is not None)

    def warm_count(self) -> int:
        """Return how many warm browsers are ready."""
        return sum(one.warm and one.state is SessionState.READY for one in self._everything())

    @property
    def free(self) -> int:
        """How many places are free for a request that comes now."""
        with self._lock:
            is_open = self._gate_open and not self._stopping and not self._queue
            return max(self.max_sessions - len(self._entries), 0) if is_open else 0

    @property
    def waiting(self) -> int:
        """How many callers wait for a place."""
        with self._lock:
            return len(self._queue)

    def protected(self) -> tuple[ProtectedSession, ...]:
        """Return what a cleanup must not touch: the folder and processes of every session, in any state."""
        return tuple(
            ProtectedSession(
                session.session_id,
                str(session.folder.path),
                session.running.pids if session.running else frozenset(),
            )
            for session in self._everything()
        )

    @property
    def memory(self) -> MemoryRoom:
        """The last measurement of the memory."""
        return self._memory

    def set_memory(self, memory: MemoryRoom) -> Reserved | None:
        """Take note of a measurement of the memory: start what may start, or return a session to evict."""
        with self._changing():
            self._memory = memory
            victim = self._victim_for_memory()
            if victim is None:
                return None
            return self._begin(self._entries.of(victim), SessionState.CLOSING)

    @property
    def refusal(self) -> str:
        """Why a request for a new session waits: memory is short, or all places are taken."""
        with self._lock:
            has_place = len(self._entries) < self.max_sessions
            shortage = self._memory_shortage() if has_place else None
        if shortage is not None:
            return f"No browser can start: {shortage}. Close a session or a program, or retry later"
        return (
            f"All {self.max_sessions} sessions are in use and none became free in time; "
            "close one, or retry later"
        )

    def close_gate(self) -> tuple[Future[Any], ...]:
        """Drop every session and let none start until `open_gate`; return the work in progress."""
        with self._lock:
            self._gate_open = False
            works = self._entries.works
            self._entries.clear()
        return works

    def open_gate(self) -> None:
        """Let sessions start again."""
        with self._changing():
            self._gate_open = True

    def drain(self) -> None:
        """Accept no new sessions, and fail the callers that wait for a place; sessions go on."""
        with self._lock:
            self._draining = True
            failed = self._queue.fail(_draining())
        for waiter in failed:
            waiter.tell()

    def stop(self) -> tuple[Session, ...]:
        """Accept no more claims, fail all waiting callers, and return all sessions, warm ones included."""
        with self._lock:
            self._stopping = True
            failed = self._queue.fail(ShuttingDown("The service is stopping; retry after its restart"))
            sessions = self._entries.sessions
        for waiter in failed:
            waiter.tell()
        return sessions

    def _everything(self) -> tuple[Session, ...]:
        with self._lock:
            return self._entries.sessions

    def _answer(self, claim: Claim, *, may_reserve: bool = True) -> LookupOutcome | None:
        entry = self._entries.named(claim)
        if entry is not None:
            check_lease(entry.session, claim.token)
            if claim.key not in {None, entry.session.key} and not entry.is_stuck:
                self._change(entry, replace(entry.session, key=claim.key))
            return self._hold(entry)
        if self._draining:
            raise _draining()
        warm = self._entries.ready_warm() if claim.takes_warm and self._gate_open else None
        if warm is not None:
            return self._hand_out(warm, claim.make())
        if not may_reserve or not self._gate_open or len(self._entries) >= self.max_sessions:
            return None
        if self._memory_shortage() is not None:
            return None
        return self._reserve(replace(claim.make(), callers=1))

    def _victim_for_memory(self) -> Session | None:
        if not self._queue or not self._gate_open or self._memory.shortage() is None:
            return None
        candidates = self._entries.evictable
        return next_to_evict_for_memory(candidates, self._memory.missing_mb)

    def _memory_shortage(self) -> str | None:
        starting = sum(1 for one in self._entries if one.session.state is SessionState.STARTING)
        return self._memory.shortage(starting)

    def _reserve(self, session: Session) -> Reserved:
        work: Future[Any] = Future()
        born = replace(session, epoch=self._journal.next_epoch())
        self._entries.add(Entry(born, work))
        return Reserved(born, work)

    def _hand_out(self, warm: Entry, wanted: Session) -> Available:
        self._entries.remove(warm.session)
        self._change(warm, replace(taken_by(warm.session, wanted), callers=1))
        self._entries.add(warm)
        return Available(warm.session, created=True)

    def _count(self, session: Session, callers: int = 0, commands: int = 0) -> None:
        with self._changing():
            entry = self._entries.same(session)
            if entry is not None:
                entry.put(counted(entry.session, callers, commands))

    def _hold(self, entry: Entry) -> Available | InProgress:
        if entry.is_stuck:
            raise entry.not_closed
        if entry.work is not None:
            return InProgress(entry.session, entry.work)
        entry.put(counted(entry.session, callers=1, commands=0))
        return Available(entry.session)

    def _begin(self, entry: Entry, state: SessionState) -> Reserved:
        displaced, work = entry.work, Future[Any]()
        entry.work = work
        entry.put(entry.session.moved(state))
        return Reserved(entry.session, work, displaced)

    def _change(self, entry: Entry, session: Session) -> None:
        """Replace a session, and have the change written to disk if the session belongs to a client."""
        entry.put(session)
        if not session.warm and session.state in _RECORDED:
            self._journal.record(entry.session)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock for a change; then, without it, tell the waiters whose turn has come."""
        with self._lock:
            yield
            answered = self._queue.serve(self._answer)
        for waiter in answered:
            waiter.tell()

    def _victims(self) -> Iterator[Reserved]:
        while self._queue and self._gate_open and len(self._entries) >= self.max_sessions:
            candidates = self._entries.evictable
            victim = next_to_evict(candidates, len(self._queue))
            if victim is None:
                return
            closing = sum(1 for one in candidates if one.state is SessionState.CLOSING)
            begun = self._begin(self._entries.of(victim), SessionState.CLOSING)
            yield replace(begun, request=self._queue.waiters[closing].request)


def _draining() -> DroverError:
    return ShuttingDown("The service is draining and accepts no new sessions; retry after its restart")
