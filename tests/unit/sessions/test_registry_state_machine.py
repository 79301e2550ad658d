"""The registry under every order of starts, crashes, leases, closes, evictions, restarts and emergencies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from drover.core.errors import (
    AtCapacity,
    CleanupIncomplete,
    KeyConflict,
    SessionInUse,
    SessionLost,
    SessionNotFound,
)
from drover.sessions.pool.acquire import Available, InProgress, Reserved, Waiter
from drover.sessions.pool.leases import given_back, leased
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Lease, Session, SessionState
from tests.unit import examples
from tests.unit.examples import NOW, RUNNING, MemoryJournal, claim

MAX_SESSIONS = 2
MAX_WAITING = 3
PATIENCE = 200
IDS = st.sampled_from(["a", "a", "b", "c", None])
KEYS = st.sampled_from([None, None, None, "k", "l"])
TOKENS = st.sampled_from([None, "mine", "yours"])
WARM = 1
LONG_AGO, LATER, NEVER = 0.0, 1e9, 1e12
STARTING, READY, RECOVERING, CLOSING = SessionState


class RegistryMachine(RuleBasedStateMachine):
    """A model of all callers and all background threads, one step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = SessionRegistry(MAX_SESSIONS, MAX_WAITING, MemoryJournal())
        self.jobs: list[Reserved] = []
        self.holds: list[Session] = []
        self.waiters: list[Waiter] = []
        self.gate_open = True
        self.seen: list[Session] = []
        self.born: set[str] = set()
        self.warm_starts = 0

    @property
    def everything(self) -> tuple[Session, ...]:
        return self.registry._everything()

    @initialize(number=st.integers(0, MAX_SESSIONS), lease=st.booleans())
    def an_earlier_run_left_sessions(self, number: int, lease: bool) -> None:
        for session_id in ("a", "b")[:number]:
            adopted = examples.session(session_id, state=READY, running=RUNNING, generation=5)
            self.registry.adopt(leased(adopted, _lease("mine", LONG_AGO), None) if lease else adopted)
            self.born.add(str(adopted.folder.path))

    def _evict(self) -> None:
        """Begin the closes that must make room, as every caller does after a change."""
        for victim in self.registry.take_evicted():
            assert victim.session.callers == 0
            assert not victim.session.in_use
            self.jobs.append(victim)

    def _accept(self, answer: Available | InProgress | Reserved) -> None:
        if isinstance(answer, InProgress):
            assert not answer.work.done()
        else:
            self.holds.append(answer.session)
        if isinstance(answer, Available):
            assert answer.session.state is READY
            assert not answer.session.warm
            assert answer.session.running is not None
        if isinstance(answer, Reserved):
            self._begin_start(answer)

    def _begin_start(self, start: Reserved) -> None:
        assert self.gate_open
        assert str(start.session.folder.path) not in self.born, "two browsers in one folder"
        self.born.add(str(start.session.folder.path))
        self.jobs.append(start)

    def _process_granted(self) -> None:
        """Process granted outcomes; they must be granted in the order of the queue."""
        self._evict()
        are_granted = [waiter.granted.done() for waiter in self.waiters]
        assert are_granted == sorted(are_granted, reverse=True), "a waiter overtook another"
        served, self.waiters = self.waiters[: sum(are_granted)], self.waiters[sum(are_granted) :]
        for waiter in served:
            if waiter.granted.exception() is None:
                self._accept(waiter.granted.result())

    def _finish(self, job: Reserved, *, well: bool) -> None:
        self.jobs.remove(job)
        if job.session.state is CLOSING:
            self._finish_close(job, well=well)
        elif job.session.state is STARTING and not well:
            self._die(job.session)
            self.registry.forget(job.session)
            job.work.set_exception(SessionLost("it failed"))
        else:
            published = self.registry.publish(job.session, running=RUNNING)
            if published is None:
                self._die(job.session)
                job.work.set_exception(SessionLost("it was overtaken"))
            else:
                job.work.set_result(published)
        self._process_granted()

    def _finish_close(self, job: Reserved, *, well: bool) -> None:
        if well:
            self._die(job.session)
            self.registry.forget(job.session)
            job.work.set_result(None)
        else:
            self.registry.close_failed(job.session, CleanupIncomplete("something is left"))
            job.work.set_exception(CleanupIncomplete("something is left"))

    def _die(self, dead: Session) -> None:
        """End the processes of a session, as its work does before it completes."""
        self.born.discard(str(dead.folder.path))

    def _endable(self) -> list[Reserved]:
        return [job for job in self.jobs if job.displaced is None or job.displaced.done()]

    def _close(self, session: Session) -> None:
        begun = self.registry.begin(session, CLOSING)
        if isinstance(begun, Reserved):
            self.jobs.append(begun)
        self._process_granted()

    @rule(session_id=IDS, key=KEYS, token=TOKENS, takes_warm=st.booleans(), lease=st.booleans())
    def a_caller_claims(
        self, session_id: str | None, key: str | None, token: str | None, takes_warm: bool, lease: bool
    ) -> None:
        waiting = len(self.waiters)
        from_birth = _lease("mine", LATER) if lease else None
        asked = replace(claim(session_id, key, lease=from_birth), token=token, takes_warm=takes_warm)
        try:
            answer = self.registry.claim(asked)
        except (KeyConflict, CleanupIncomplete):
            return
        except SessionInUse:
            leases = [one.lease for one in self.everything if one.lease is not None]
            assert any(lease.token != token for lease in leases)
            return
        except AtCapacity:
            assert waiting == MAX_WAITING
            return
        if isinstance(answer, Waiter):
            self.waiters.append(answer)
        else:
            assert not (isinstance(answer, Reserved) and waiting), "a new caller overtook the waiters"
            self._accept(answer)
        self._process_granted()

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def a_waiter_leaves(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiters))
        assert self.registry.leave(waiter) is None
        self.waiters.remove(waiter)

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def a_caller_releases(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.holds) - 1))
        self.registry.release(self.holds.pop(number))
        self._process_granted()

    @precondition(lambda self: self._endable())
    @rule(data=st.data(), well=st.booleans())
    def work_ends(self, data: st.DataObject, well: bool) -> None:
        self._finish(data.draw(st.sampled_from(self._endable())), well=well)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def an_old_check_finds_a_session_dead(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.seen))
        begun = self.registry.begin(session, RECOVERING)
        if isinstance(begun, Reserved):
            assert session.generation + 1 == begun.session.generation
            assert session.folder == begun.session.folder
            self.jobs.append(begun)

    @precondition(lambda self: self.everything)
    @rule(data=st.data())
    def a_session_is_deleted(self, data: st.DataObject) -> None:
        self._close(data.draw(st.sampled_from(self.everything)))

    @rule()
    def a_warm_browser_is_wanted(self) -> None:
        self.warm_starts += 1
        make = partial(examples.session, f"warm:{self.warm_starts}", warm=True)
        reserved = self.registry.reserve_warm(make, WARM)
        if reserved is not None:
            assert self.waiters == [], "a client waits for that place"
            self._begin_start(reserved)

    @rule(session_id=st.sampled_from(["a", "b"]), token=TOKENS, expires=st.sampled_from([LATER, NEVER]))
    def a_session_is_leased(self, session_id: str, token: str | None, expires: float) -> None:
        wanted = _lease(token or "mine", expires)
        try:
            held = self.registry.update(session_id, lambda known: leased(known, wanted, token))
        except (SessionNotFound, SessionInUse, SessionLost):
            return
        assert held.in_use
        self._process_granted()

    @rule(session_id=st.sampled_from(["a", "b"]), token=TOKENS)
    def a_lease_is_ended(self, session_id: str, token: str | None) -> None:
        try:
            self.registry.update(session_id, lambda known: given_back(known, token))
        except (SessionNotFound, SessionInUse):
            return
        self._process_granted()

    @rule(now=st.sampled_from([LONG_AGO, LATER, NEVER]))
    def leases_expire(self, now: float) -> None:
        self.registry.expire_leases(now)
        assert all(one.lease is None or one.lease.expires_mono > now for one in self.registry.sessions())
        self._process_granted()

    @rule()
    def time_passes(self) -> None:
        taken = self.registry.take_idle(LATER)
        assert not any(one.session.in_use or one.session.callers or one.session.warm for one in taken)
        assert not any(one.idle_at(LATER) for one in self.registry.sessions())
        self.jobs += taken

    @rule()
    def closes_are_retried(self) -> None:
        for session in self.registry.unclosed():
            self._close(session)

    @precondition(lambda self: self.gate_open)
    @rule()
    def an_emergency_begins(self) -> None:
        self.gate_open = False
        wanted = {id(job.work) for job in self.jobs if self.registry.is_current(job.session)}
        assert {id(work) for work in self.registry.close_gate()} == wanted
        self.born.clear()

    @precondition(lambda self: not self.gate_open)
    @rule()
    def the_emergency_ends(self) -> None:
        self.gate_open = True
        self.registry.open_gate()
        self._process_granted()

    @invariant()
    def every_session_is_recorded(self) -> None:
        self.seen += [session for session in self.everything if session not in self.seen]

    @invariant()
    def there_are_never_too_many(self) -> None:
        assert len(self.everything) <= MAX_SESSIONS
        assert len(self.waiters) <= MAX_WAITING

    @invariant()
    def an_id_and_a_key_name_one_session_each(self) -> None:
        sessions = self.everything
        assert not _repeated(session.session_id for session in sessions)
        assert not _repeated(session.key for session in sessions if session.key)
        assert not _repeated(str(session.folder.path) for session in sessions)

    @invariant()
    def exactly_one_job_works_on_each_session_that_is_not_ready(self) -> None:
        current = [job for job in self.jobs if self.registry.is_current(job.session)]
        at_work = {session.session_id for session in self.everything if session.state is not READY}
        stuck = {session.session_id for session in self.registry.unclosed()}
        assert not _repeated(job.session.session_id for job in current)
        assert {job.session.session_id for job in current} == at_work - stuck

    @invariant()
    def holds_are_counted(self) -> None:
        held = [session.folder for session in self.holds]
        for session in self.everything:
            assert session.callers == held.count(session.folder)

    @invariant()
    def no_waiter_waits_for_a_free_place(self) -> None:
        if self.waiters and self.gate_open:
            assert len(self.everything) == MAX_SESSIONS

    @invariant()
    def no_waiter_waits_while_a_session_could_be_evicted(self) -> None:
        if not self.waiters or not self.gate_open:
            return
        stuck = {session.session_id for session in self.registry.unclosed()}
        sessions = [session for session in self.everything if session.session_id not in stuck]
        closing = sum(1 for session in sessions if session.state is CLOSING)
        assert closing >= len(self.waiters) or not any(session.evictable for session in sessions)

    @invariant()
    def living_sessions_are_protected(self) -> None:
        assert self.born <= {one.folder for one in self.registry.protected()}

    @invariant()
    def warm_sessions_are_not_listed_and_not_too_many(self) -> None:
        warm = [one for one in self.everything if one.warm]
        assert self.registry.warm_count() <= len(warm) <= WARM
        assert not {one.session_id for one in warm} & {one.session_id for one in self.registry.sessions()}
        assert not any(one.key or one.lease or one.callers for one in warm)

    def teardown(self) -> None:
        """Complete all work successfully: then every waiter must get an outcome."""
        if not self.gate_open:
            self.the_emergency_ends()
        for _ in range(PATIENCE):
            while self.holds:
                self.registry.release(self.holds.pop())
                self._process_granted()
            self.leases_expire(NEVER)
            self.closes_are_retried()
            for job in self._endable():
                self._finish(job, well=True)
        assert self.waiters == []
        assert self.jobs == []


def _lease(token: str, expires_mono: float) -> Lease:
    return Lease("someone", token, NOW, expires_mono)


def _repeated(values: Iterable[str]) -> bool:
    listed = list(values)
    return len(set(listed)) != len(listed)


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(
    stateful_step_count=40,
)
