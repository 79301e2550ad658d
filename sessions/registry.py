"""The list of sessions and its lock, the only shared one; nothing but state changes under it.

Methods that free a place or a session give it to whoever waits first, and tell them after the lock
is released. A session is in the list before anything of it is started, and leaves it when its
processes are seen gone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from errors import AtCapacity, CleanupIncomplete, DroverError, KeyConflict, SessionNotFound, ShuttingDown
from processes.verdicts import ProtectedSession
from sessions.admission import idle_sessions, next_to_evict
from sessions.claims import Answer, Claim, Ready, Reserved, Ticket, Working
from sessions.session import TRANSITIONS, Session, SessionState, changed


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
        self._max_waiting = max_waiting
        self._evict: Callable[[Reserved], object] | None = None
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._line: deque[Ticket] = deque()
        self._stopping = False
        self._gate_open = True

    def __repr__(self) -> str:
        with self._lock:
            states = [entry.session.state.value for entry in self._entries.values()]
            counts = ", ".join(f"{states.count(state.value)} {state.value}" for state in SessionState)
            return f"<SessionRegistry {len(states)}/{self.max_sessions}: {counts}, {len(self._line)} waiting>"

    def evict_with(self, evict: Callable[[Reserved], object]) -> None:
        """Name what closes a session that has to give up its place; it is never called under the lock."""
        self._evict = evict

    @property
    def stopping(self) -> bool:
        """Tell whether the service takes no more claims."""
        with self._lock:
            return self._stopping

    def claim(self, claim: Claim) -> Answer | Ticket:
        """Find or reserve a session; a ticket where every place is taken.

        Raises:
            KeyConflict: `session_id` and `key` name two sessions.
            AtCapacity: The waiting line is full as well.
            ShuttingDown: The service is stopping.
        """
        with self._lock:
            if self._stopping:
                raise ShuttingDown("The service is stopping; ask again when it is back")
            answer = self._answer(claim, may_reserve=not self._line) or self._queue(claim)
            settle = self._settlement()
        settle()
        return answer

    def get(self, session_id: str) -> Session:
        """Give a session as it is now, without holding it.

        Raises:
            SessionNotFound: There is none of this id.
        """
        with self._lock:
            return self._entry(session_id).session

    def find(self, session_id: str) -> Ready | Working:
        """Give a session that exists; a ready one is held until `release`.

        Raises:
            SessionNotFound: There is none of this id.
        """
        with self._lock:
            return self._hold(self._entry(session_id))

    def leave(self, ticket: Ticket) -> Answer | None:
        """Leave the waiting line; gives the answer where the turn had come at that very moment."""
        with self._lock:
            if ticket in self._line:
                self._line.remove(ticket)
                return None
        return ticket.turn.result()

    def release(self, session: Session) -> None:
        """Let go of a session that `claim` or `find` gave."""
        self._count(session, callers=-1)

    def use(self, session: Session, now: datetime, now_mono: float) -> None:
        """Note that somebody uses the session now."""
        with self._lock:
            entry = self._same(session)
            if entry is not None:
                entry.session = replace(entry.session, last_used=now, last_used_mono=now_mono)

    def begin(self, session: Session, state: SessionState) -> Reserved | Working | None:
        """Begin to recover or close a session: `Reserved` for exactly one caller of a generation.

        `Working` for the others; None where the session has moved on meanwhile: ask again.
        """
        with self._lock:
            entry = self._same(session)
            if entry is None:
                return None
            closing = entry.session.state is SessionState.CLOSING and entry.work is not None
            moved_on = entry.session.generation != session.generation
            if closing or moved_on or state not in TRANSITIONS[entry.session.state]:
                return Working(entry.session, entry.work) if entry.work else None
            return self._begin(entry, state)

    def adopt(self, session: Session) -> None:
        """Put a session of an earlier run on the list, as it is."""
        with self._lock:
            self._entries[session.session_id] = _Entry(session, None)

    def publish(self, session: Session, **changes: object) -> Session | None:
        """Make a session ready with what its work has brought; None where it was closed or lost meanwhile."""
        with self._lock:
            entry = self._current(session)
            if entry is None:
                return None
            entry.session = changed(entry.session.moved(SessionState.READY), changes)
            entry.work = None
            published = entry.session
            settle = self._settlement()
        settle()
        return published

    def note(self, session: Session, **changes: object) -> None:
        """Note what a look at a session has found, unless it has moved on meanwhile."""
        with self._lock:
            entry = self._current(session)
            if entry is not None:
                entry.session = changed(entry.session, changes)

    @contextmanager
    def command(self, session: Session) -> Iterator[None]:
        """Count a command that runs on the session meanwhile: it is in use."""
        self._count(session, commands=1)
        try:
            yield
        finally:
            self._count(session, commands=-1)

    def forget(self, session: Session) -> bool:
        """Take a session off the list, its processes being gone; False where it was lost meanwhile."""
        with self._lock:
            entry = self._current(session)
            if entry is not None:
                del self._entries[session.session_id]
            settle = self._settlement()
        settle()
        return entry is not None

    def unclosed(self) -> tuple[Session, ...]:
        """Give the sessions whose last close left something behind."""
        with self._lock:
            entries = tuple(self._entries.values())
        return tuple(entry.session for entry in entries if entry.is_stuck)

    def close_failed(self, session: Session) -> None:
        """Leave a session in the list as closing, with nobody at work: the next close tries again."""
        with self._lock:
            entry = self._current(session)
            if entry is not None:
                entry.work = None
            settle = self._settlement()
        settle()

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
        """Give all sessions as they are now, in the order of their creation."""
        with self._lock:
            return tuple(entry.session for entry in self._entries.values())

    def protected(self) -> tuple[ProtectedSession, ...]:
        """Give what no cleanup may touch: the folder and processes of every session, whatever its state."""
        return tuple(
            ProtectedSession(
                session.session_id,
                str(session.folder.path),
                session.running.pids if session.running else frozenset(),
            )
            for session in self.sessions()
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
        with self._lock:
            self._gate_open = True
            settle = self._settlement()
        settle()

    def stop(self) -> tuple[Session, ...]:
        """Take no more claims, fail all who wait, and give the sessions that there are."""
        with self._lock:
            self._stopping = True
            waiting = tuple(self._line)
            self._line.clear()
            sessions = tuple(entry.session for entry in self._entries.values())
        for ticket in waiting:
            ticket.turn.set_exception(ShuttingDown("The service is stopping; ask again when it is back"))
        return sessions

    def _answer(self, claim: Claim, *, may_reserve: bool) -> Answer | None:
        entry = self._named(claim)
        if entry is not None:
            return self._hold(entry)
        if not may_reserve or not self._gate_open or len(self._entries) >= self.max_sessions:
            return None
        session = claim.make()
        entry = _Entry(replace(session, callers=1), Future())
        self._entries[session.session_id] = entry
        assert entry.work is not None
        return Reserved(entry.session, entry.work)

    def _queue(self, claim: Claim) -> Ticket:
        if len(self._line) >= self._max_waiting:
            raise AtCapacity("Every session is in use and the waiting line is full; ask again later")
        ticket = Ticket(claim)
        self._line.append(ticket)
        return ticket

    def _named(self, claim: Claim) -> _Entry | None:
        by_id = self._entries.get(claim.session_id) if claim.session_id else None
        by_key = self._by_key(claim.key) if claim.key else None
        if claim.key is None:
            return by_id
        if by_key is not None and claim.session_id in {None, by_key.session.session_id}:
            return by_key
        if by_id is not None and by_key is None and by_id.session.key is None:
            by_id.session = replace(by_id.session, key=claim.key)
            return by_id
        if by_id is not None or by_key is not None:
            raise KeyConflict(
                f"session_id {claim.session_id} and key {claim.key} name two different sessions; "
                "send only one of them"
            )
        return None

    def _by_key(self, key: str) -> _Entry | None:
        return next((entry for entry in self._entries.values() if entry.session.key == key), None)

    def _entry(self, session_id: str) -> _Entry:
        entry = self._entries.get(session_id)
        if entry is None:
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
        with self._lock:
            entry = self._same(session)
            if entry is not None:
                entry.session = replace(
                    entry.session,
                    callers=entry.session.callers + callers,
                    commands=entry.session.commands + commands,
                )
            settle = self._settlement()
        settle()

    def _hold(self, entry: _Entry) -> Ready | Working:
        if entry.work is not None:
            return Working(entry.session, entry.work)
        if entry.is_stuck:
            raise CleanupIncomplete(
                f"Session {entry.session.session_id} could not be closed yet; DELETE it to try again"
            )
        entry.session = replace(entry.session, callers=entry.session.callers + 1)
        return Ready(entry.session)

    def _begin(self, entry: _Entry, state: SessionState) -> Reserved:
        displaced, entry.work = entry.work, Future()
        entry.session = entry.session.moved(state)
        return Reserved(entry.session, entry.work, displaced)

    def _settlement(self) -> Callable[[], None]:
        """Serve the line as far as there is room, under the lock; the result tells everybody, after it."""
        turns: list[tuple[Ticket, Answer | DroverError]] = []
        while self._line:
            try:
                answer = self._answer(self._line[0].claim, may_reserve=True)
            except DroverError as error:
                turns.append((self._line.popleft(), error))
                continue
            if answer is None:
                break
            turns.append((self._line.popleft(), answer))
        victims = tuple(self._victims())
        return lambda: self._tell(turns, victims)

    def _victims(self) -> Iterator[Reserved]:
        while (
            self._evict is not None
            and self._line
            and self._gate_open
            and len(self._entries) >= self.max_sessions
        ):
            # One whose close has failed gives its place to nobody for now.
            hopeful = [e.session for e in self._entries.values() if not e.is_stuck]
            victim = next_to_evict(hopeful, len(self._line))
            if victim is None:
                return
            yield self._begin(self._entries[victim.session_id], SessionState.CLOSING)

    def _tell(self, turns: list[tuple[Ticket, Answer | DroverError]], victims: tuple[Reserved, ...]) -> None:
        for ticket, answer in turns:
            if isinstance(answer, DroverError):
                ticket.turn.set_exception(answer)
            else:
                ticket.turn.set_result(answer)
        for victim in victims:
            if self._evict is not None:
                self._evict(victim)
