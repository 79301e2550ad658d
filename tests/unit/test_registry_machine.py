"""The registry under every order of births, failures, closes, recoveries, evictions and emergencies."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from errors import AtCapacity, CleanupIncomplete, KeyConflict, SessionLost
from sessions.claims import Ready, Reserved, Ticket, Working
from sessions.registry import SessionRegistry
from sessions.session import Session, SessionState
from tests.unit.examples import RUNNING, claim

MAX_SESSIONS = 2
MAX_WAITING = 3
PATIENCE = 200
IDS = st.sampled_from(["a", "a", "b", "c", None])
KEYS = st.sampled_from([None, None, None, "k", "l"])
STARTING, READY, RECOVERING, CLOSING = SessionState


class RegistryMachine(RuleBasedStateMachine):
    """Plays all callers and all background threads, one step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = SessionRegistry(MAX_SESSIONS, MAX_WAITING)
        self.registry.evict_with(self._evict)
        self.jobs: list[Reserved] = []
        self.holds: list[Session] = []
        self.line: list[Ticket] = []
        self.gate_open = True
        self.seen: list[Session] = []

    def _evict(self, victim: Reserved) -> None:
        assert victim.session.callers == 0
        assert not victim.session.in_use
        self.jobs.append(victim)

    def _take(self, answer: Ready | Working | Reserved) -> None:
        if isinstance(answer, Working):
            assert not answer.work.done()
        else:
            self.holds.append(answer.session)
        if isinstance(answer, Reserved):
            assert self.gate_open
            self.jobs.append(answer)

    def _hear(self) -> None:
        """Let those in line hear their answers: they come to the first, then to the next, and so on."""
        came = [ticket.turn.done() for ticket in self.line]
        assert came == sorted(came, reverse=True), "somebody overtook another"
        served, self.line = self.line[: sum(came)], self.line[sum(came) :]
        for ticket in served:
            if ticket.turn.exception() is None:
                self._take(ticket.turn.result())

    def _finish(self, job: Reserved, *, well: bool) -> None:
        self.jobs.remove(job)
        if job.session.state is CLOSING:
            self._finish_close(job, well=well)
        elif job.session.state is STARTING and not well:
            self.registry.forget(job.session)
            job.work.set_exception(SessionLost("it failed"))
        else:
            published = self.registry.publish(job.session, running=RUNNING)
            if published is None:
                job.work.set_exception(SessionLost("it was overtaken"))
            else:
                job.work.set_result(published)
        self._hear()

    def _finish_close(self, job: Reserved, *, well: bool) -> None:
        if well:
            self.registry.forget(job.session)
            job.work.set_result(None)
        else:
            self.registry.close_failed(job.session)
            job.work.set_exception(CleanupIncomplete("something is left"))

    def _endable(self) -> list[Reserved]:
        return [job for job in self.jobs if job.displaced is None or job.displaced.done()]

    def _close(self, session: Session) -> None:
        begun = self.registry.begin(session, CLOSING)
        if isinstance(begun, Reserved):
            self.jobs.append(begun)
        self._hear()

    @rule(session_id=IDS, key=KEYS)
    def somebody_asks(self, session_id: str | None, key: str | None) -> None:
        waiting = len(self.line)
        try:
            answer = self.registry.claim(claim(session_id, key))
        except (KeyConflict, CleanupIncomplete):
            return
        except AtCapacity:
            assert waiting == MAX_WAITING
            return
        if isinstance(answer, Ticket):
            self.line.append(answer)
        else:
            assert not (isinstance(answer, Reserved) and waiting), "he overtook those who wait"
            self._take(answer)
        self._hear()

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def somebody_leaves_the_line(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.line))
        assert self.registry.leave(ticket) is None
        self.line.remove(ticket)

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def somebody_lets_go(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.holds) - 1))
        self.registry.release(self.holds.pop(number))
        self._hear()

    @precondition(lambda self: self._endable())
    @rule(data=st.data(), well=st.booleans())
    def work_ends(self, data: st.DataObject, well: bool) -> None:
        self._finish(data.draw(st.sampled_from(self._endable())), well=well)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def a_session_is_found_dead_by_a_look_of_long_ago(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.seen))
        begun = self.registry.begin(session, RECOVERING)
        if isinstance(begun, Reserved):
            assert session.generation + 1 == begun.session.generation
            assert session.folder == begun.session.folder
            self.jobs.append(begun)

    @precondition(lambda self: self.registry.sessions())
    @rule(data=st.data())
    def a_session_is_deleted(self, data: st.DataObject) -> None:
        self._close(data.draw(st.sampled_from(self.registry.sessions())))

    @rule()
    def time_passes(self) -> None:
        self.jobs += self.registry.take_idle(1e9)

    @rule()
    def closes_are_tried_again(self) -> None:
        for session in self.registry.unclosed():
            self._close(session)

    @precondition(lambda self: self.gate_open)
    @rule()
    def an_emergency_begins(self) -> None:
        self.gate_open = False
        wanted = {id(job.work) for job in self.jobs if self.registry.is_current(job.session)}
        assert {id(work) for work in self.registry.close_gate()} == wanted

    @precondition(lambda self: not self.gate_open)
    @rule()
    def the_emergency_ends(self) -> None:
        self.gate_open = True
        self.registry.open_gate()
        self._hear()

    @invariant()
    def everybody_looks(self) -> None:
        self.seen += [session for session in self.registry.sessions() if session not in self.seen]

    @invariant()
    def there_are_never_too_many(self) -> None:
        assert len(self.registry.sessions()) <= MAX_SESSIONS
        assert len(self.line) <= MAX_WAITING

    @invariant()
    def an_id_and_a_key_name_one_session_each(self) -> None:
        sessions = self.registry.sessions()
        assert not _repeated(session.session_id for session in sessions)
        assert not _repeated(session.key for session in sessions if session.key)
        assert not _repeated(str(session.folder.path) for session in sessions)

    @invariant()
    def exactly_one_is_at_work_on_what_is_not_ready(self) -> None:
        current = [job for job in self.jobs if self.registry.is_current(job.session)]
        at_work = {session.session_id for session in self.registry.sessions() if session.state is not READY}
        stuck = {session.session_id for session in self.registry.unclosed()}
        assert not _repeated(job.session.session_id for job in current)
        assert {job.session.session_id for job in current} == at_work - stuck

    @invariant()
    def holds_are_counted(self) -> None:
        held = [session.folder for session in self.holds]
        for session in self.registry.sessions():
            assert session.callers == held.count(session.folder)

    @invariant()
    def nobody_waits_for_a_place_that_is_free(self) -> None:
        if self.line and self.gate_open:
            assert len(self.registry.sessions()) == MAX_SESSIONS

    @invariant()
    def nobody_waits_while_a_session_could_be_evicted(self) -> None:
        if not self.line or not self.gate_open:
            return
        stuck = {session.session_id for session in self.registry.unclosed()}
        sessions = [session for session in self.registry.sessions() if session.session_id not in stuck]
        closing = sum(1 for session in sessions if session.state is CLOSING)
        assert closing >= len(self.line) or not any(session.evictable for session in sessions)

    def teardown(self) -> None:
        """End everything well: then each who waits gets an answer."""
        if not self.gate_open:
            self.the_emergency_ends()
        for _ in range(PATIENCE):
            while self.holds:
                self.registry.release(self.holds.pop())
                self._hear()
            self.closes_are_tried_again()
            for job in self._endable():
                self._finish(job, well=True)
        assert self.line == []
        assert self.jobs == []


def _repeated(values: Iterable[str]) -> bool:
    listed = list(values)
    return len(set(listed)) != len(listed)


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(
    stateful_step_count=40,
)
