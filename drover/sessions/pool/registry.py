"""The registry: changes of the list of sessions, under its lock, under which nothing else happens.

Methods that free a place or a session grant it to the first waiter, and complete its future after the lock is
released. `take_evicted` returns the sessions to close for those that still wait. A session is in the list
before anything is started for it, and leaves it when its processes are proven to be gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

from drover.core.errors import DroverError, NotOwner, ShuttingDown
from drover.sessions.pool import admission
from drover.sessions.pool.acquire import Available, Claim, InProgress, LookupOutcome, Reserved, Waiter
from drover.sessions.pool.admission import MemoryRoom
from drover.sessions.pool.entries import Entry
from drover.sessions.pool.eviction import (
    needs_warm,
    next_to_evict,
    next_to_evict_for_memory,
    unused_keyed_sessions,
)
from drover.sessions.pool.leases import check_lease, expired
from drover.sessions.pool.registry_reader import RegistryReader
from drover.sessions.pool.session import TRANSITIONS, Session, SessionState, changed, counted, taken_by
from drover.sessions.pool.wait_queue import WaitQueue

Change = Callable[[Session], Session]

RECORDED = frozenset({SessionState.READY, SessionState.RECOVERING})
"""A session that is starting is not promised yet, and one that is closing may be deleted already."""


class Journal(Protocol):
    """Hears of changes that must outlive the process, in their order; under the lock, so it does no I/O."""

    def next_epoch(self) -> int:
        """Return the number of another birth of a session, higher than all before."""

    def record(self, session: Session) -> None:
        """Note a session as it is now, to be written to disk."""


class SessionRegistry(RegistryReader):
    """All sessions and those who wait for one, to be read and changed.

    Args:
        max_sessions: How many sessions there may be, in any state.
        max_waiting: How many callers may wait for a place.
        journal: Hears of the changes that must outlive the process.
    """

    def __init__(self, max_sessions: int, max_waiting: int, journal: Journal) -> None:
        super().__init__(max_sessions, max_waiting)
        self._journal = journal
        self._changing = _Changing(self._lock, self._queue, self._answer)

    def claim(self, claim: Claim) -> LookupOutcome | Waiter:
        """Find or reserve a session; return a place in the wait queue if all places are taken.

        Raises:
            KeyConflict: `session_id` and `key` name two sessions.
            AtCapacity: The wait queue is full as well.
            NotOwner: There is no such session, and another node should make it: it has a free place and this
                one has none, so no session is evicted; or this one is draining.
            ShuttingDown: The service is stopping, or it is draining and there is no such session.
        """
        with self._changing:
            if self._admission.stopping:
                raise ShuttingDown
            answer = self._answer(claim, may_reserve=not self._queue)
            if answer is not None:
                return answer
            if claim.elsewhere is not None and not self._room.free and claim.elsewhere.has_place():
                raise NotOwner("This node has no free place, and another one has")
            return self._queue.join(claim)

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
        """Release a session that `claim` or `find` has returned, or that `hold` protects."""
        self._count(session, callers=-1)

    def reserve_warm(self, make: Callable[[], Session], wanted: int) -> Reserved | None:
        """Reserve a place for another warm browser, unless there are enough or a client needs the place."""
        with self._lock:
            refused = self._admission.stopping or self._admission.draining or bool(self._queue)
            if refused or not self._admission.allows_another:
                return None
            return self._reserve(make()) if needs_warm(self._entries.sessions, wanted) else None

    def update(self, session_id: str, change: Change) -> Session:
        """Replace a session by the result of a pure function, and return that.

        Raises:
            SessionNotFound: No session has this id.
            DroverError: What `change` raises; nothing is changed then.
        """
        with self._changing:
            entry = self._entries.get(session_id)
            self._change(entry, change(entry.session))
            return entry.session

    def expire_leases(self, now_mono: float) -> None:
        """End the leases that have expired."""
        with self._changing:
            for entry in self._entries.take_expired_leases(now_mono):
                self._change(entry, expired(entry.session, now_mono))

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
            self._entries.add(Entry(session, None, recorded_use=session.last_used_mono))

    def publish(self, session: Session, **changes: object) -> Session | None:
        """Make a session ready with the results of its work; None if it has been closed or lost."""
        with self._changing:
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
                self._entries.put(entry, changed(entry.session, changes))

    def command_begins(self, session: Session) -> None:
        """Count a client's command or open socket as activity, until `command_ends`."""
        self._count(session, commands=1)

    def command_ends(self, session: Session) -> None:
        """End what `command_begins` has begun."""
        self._count(session, commands=-1)

    def record_uses(self) -> None:
        """Record the sessions that are driven, or were used since they were last recorded."""
        with self._lock:
            for entry in self._entries:
                if entry.session.commands > 0 or entry.session.last_used_mono > entry.recorded_use:
                    self._change(entry, entry.session)

    def hold(self, session: Session) -> None:
        """Protect a session from eviction and idle closing until `release`; not counted as activity."""
        self._count(session, callers=1)

    def forget(self, session: Session) -> bool:
        """Remove a session whose processes are gone from the list; False if it was lost in the meantime."""
        with self._changing:
            entry = self._entries.current(session)
            if entry is not None:
                self._entries.remove(session)
        return entry is not None

    def close_failed(self, session: Session, error: Exception) -> None:
        """Leave a session in the list as closing, without work in progress, so that a close can retry."""
        with self._changing:
            entry = self._entries.current(session)
            if entry is not None:
                entry.work, entry.failure = None, error

    def take_unused(self, session: Session) -> Reserved | None:
        """Begin to recover a session that is not in use at this moment; None if it is, or has changed."""
        with self._lock:
            entry = self._entries.current(session)
            if entry is None or not entry.session.evictable:
                return None
            return self._begin(entry, SessionState.RECOVERING)

    def take_idle(self, now_mono: float) -> tuple[Reserved, ...]:
        """Begin to close the sessions that have exceeded their idle timeout."""
        with self._lock:
            idle = self._entries.take_idle(now_mono)
            return tuple(self._begin(entry, SessionState.CLOSING) for entry in idle)

    def take_unused_keyed(self, now_mono: float, seconds: float) -> tuple[Reserved, ...]:
        """Begin to close the sessions with a key that have not been used for so many seconds."""
        with self._lock:
            chosen = unused_keyed_sessions(self._entries.sessions, now_mono, seconds)
            return tuple(self._begin(self._entries.of(one), SessionState.CLOSING) for one in chosen)

    def take_evicted(self) -> tuple[Reserved, ...]:
        """Begin to close as many sessions as must make room for the wait queue, and return them.

        A waiter waits until this is called after the change that made a session evictable.
        """
        with self._lock:
            return tuple(self._victims())

    def set_memory(self, memory: MemoryRoom) -> Reserved | None:
        """Take note of a measurement of the memory: start what may start, or return a session to evict."""
        with self._changing:
            self._admission.memory = memory
            victim = self._victim_for_memory()
            if victim is None:
                return None
            return self._begin(self._entries.of(victim), SessionState.CLOSING)

    def close_gate(self) -> tuple[Future[Any], ...]:
        """Drop every session and let none start until `open_gate`; return the work in progress."""
        with self._lock:
            self._admission.gate_open = False
            works = self._entries.works
            self._entries.clear()
        return works

    def open_gate(self) -> None:
        """Let sessions start again."""
        with self._changing:
            self._admission.gate_open = True

    def send_away(self, error: DroverError, is_elsewhere: Callable[[Claim], bool], room: int) -> None:
        """Fail callers that wait for a place, so that they go to other nodes; see `WaitQueue.send_away`."""
        with self._lock:
            away = self._queue.send_away(error, is_elsewhere, room)
        for waiter in away:
            waiter.tell()

    def drain(self) -> None:
        """Accept no new sessions, and fail the callers that wait for a place; sessions go on."""
        with self._lock:
            self._admission.draining = True
            failed = self._queue.fail(admission.draining)
        for waiter in failed:
            waiter.tell()

    def stop(self) -> tuple[Session, ...]:
        """Accept no more claims, fail all waiting callers, and return all sessions, warm ones included."""
        with self._lock:
            self._admission.stopping = True
            failed = self._queue.fail(lambda _: ShuttingDown())
            sessions = self._entries.sessions
        for waiter in failed:
            waiter.tell()
        return sessions

    def _answer(self, claim: Claim, *, may_reserve: bool = True) -> LookupOutcome | None:
        entry = self._entries.named(claim)
        if entry is not None:
            check_lease(entry.session, claim.token)
            if claim.key not in {None, entry.session.key} and not entry.is_stuck:
                self._change(entry, replace(entry.session, key=claim.key))
            return self._hold(entry)
        if self._admission.draining:
            raise admission.draining(claim)
        warm = self._entries.ready_warm() if claim.takes_warm and self._admission.gate_open else None
        if warm is not None:
            return self._hand_out(warm, claim.make())
        if not may_reserve or not self._admission.allows_another:
            return None
        return self._reserve(replace(claim.make(), callers=1))

    def _victim_for_memory(self) -> Session | None:
        if not self._queue or not self._admission.gate_open or self._admission.memory.shortage() is None:
            return None
        candidates = self._entries.eviction_candidates
        return next_to_evict_for_memory(candidates, self._admission.memory.missing_mb)

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
        with self._changing:
            entry = self._entries.same(session)
            if entry is not None:
                self._entries.put(entry, counted(entry.session, callers, commands))

    def _hold(self, entry: Entry) -> Available | InProgress:
        if entry.is_stuck:
            raise entry.not_closed
        if entry.work is not None:
            return InProgress(entry.session, entry.work)
        self._entries.put(entry, counted(entry.session, callers=1, commands=0))
        return Available(entry.session)

    def _begin(self, entry: Entry, state: SessionState) -> Reserved:
        displaced, work = entry.work, Future[Any]()
        entry.work = work
        self._entries.put(entry, entry.session.moved(state))
        return Reserved(entry.session, work, displaced)

    def _change(self, entry: Entry, session: Session) -> None:
        """Replace a session, and have the change written to disk if the session belongs to a client."""
        self._entries.put(entry, session)
        if not session.warm and session.state in RECORDED:
            self._journal.record(entry.session)
            entry.recorded_use = session.last_used_mono

    def _victims(self) -> Iterator[Reserved]:
        while self._queue and self._admission.is_full:
            candidates = self._entries.eviction_candidates
            victim = next_to_evict(candidates, len(self._queue))
            if victim is None:
                return
            closing = sum(1 for one in candidates if one.state is SessionState.CLOSING)
            begun = self._begin(self._entries.of(victim), SessionState.CLOSING)
            yield replace(begun, request=self._queue.waiters[closing].request)


@dataclass(eq=False, repr=False)
class _Changing:
    """Holds the registry's lock for a change; then, without it, tells the waiters whose turn has come.

    One object serves all changes, as every command makes two.
    """

    _lock: threading.Lock
    _queue: WaitQueue
    _answer: Callable[[Claim], LookupOutcome | None]

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            answered = self._queue.serve(self._answer) if kind is None else []
        finally:
            self._lock.release()
        for waiter in answered:
            waiter.tell()
