"""Registry and repository over a real database, with failing writes, and crashes between memory and disk.

Whatever was answered to a client must be true after the next start.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from drover.browser.saved_state import SavedState
from drover.core.errors import CleanupIncomplete, KeyConflict, NotOwner, SessionInUse, StorageUnavailable
from drover.sessions.persistence.records import SessionRecord
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.writer import Writer
from drover.sessions.pool.acquire import Available, Reserved
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Lease, Session, SessionState, used
from drover.storage.changes import Change, Owner
from drover.storage.database import SessionDatabase
from tests.unit.examples import NOW, RUNNING, claim

BOOT = "boot-1"
IDS = st.sampled_from(["a", "b", "c"])
KEYS = st.sampled_from([None, None, "k", "l"])
Fault = Literal["none", "before", "after"]


class Faulty(Protocol):
    """A database whose next write can fail, and what happens while it writes."""

    fault: Fault
    during_write: Callable[[], None] | None

    def close(self) -> None:
        """Close it."""


class FailingDatabase(SessionDatabase):
    """A real database whose writes can fail; if they fail after they are done, the data is on disk.

    Attributes:
        during_write: What happens while it writes.
    """

    fault: Fault = "none"
    during_write: Callable[[], None] | None = None

    def write(self, changes: Sequence[Change]) -> frozenset[Owner]:
        """Write without waiting for the disk, which no test can unplug."""
        self._connections().writer.execute("PRAGMA synchronous = OFF").fetchall()
        if self.during_write is not None:
            self.during_write()
        if self.fault == "before":
            raise StorageUnavailable("the disk is full")
        refused = super().write(changes)
        if self.fault == "after":
            raise StorageUnavailable("the disk does not answer")
        return refused


@dataclass
class Birth:
    """One birth of a session, and what its clients were told.

    Attributes:
        history: Every revision that was recorded.
        told: The earliest revision with all that a client was told of; None if nobody was told anything.
        ending: A client waits for its deletion, so it may be on disk or not.
        ended: A client was told that it is deleted.
    """

    history: dict[int, SessionRecord] = field(default_factory=dict)
    told: int | None = None
    ending: bool = False
    ended: bool = False

    def same_terms_since(self, revision: int) -> int:
        """Return the earliest revision that promised the same as this one."""
        since = revision
        for earlier in sorted((one for one in self.history if one < revision), reverse=True):
            if _terms(self.history[earlier]) != _terms(self.history[revision]):
                break
            since = earlier
        return since


@dataclass(frozen=True)
class Waiting:
    """A client that waits for the disk: until a ticket is written, for what it was promised."""

    ticket: int
    birth: Birth
    session: Session
    deletes: bool = False


class PersistenceMachine(RuleBasedStateMachine):
    """One service, its clients, and its ends and starts.

    Attributes:
        clears_kept: Whether an emergency deletes what is kept for keys.
    """

    clears_kept = True

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="drv-"))
        self.births: dict[str, Birth] = {}
        self.kept: dict[str, set[str | None]] = {"k": {None}, "l": {None}}
        self.saves = 0
        self._start()

    def _start(self) -> None:
        self.waiting: list[Waiting] = []
        self.keeping: dict[str, tuple[int, str | None]] = {}
        self.clearing = 0
        self.cleared: list[Birth] = []
        self.database, self.repository = self._store()
        self.registry = SessionRegistry(10, 0, self.repository)
        # Every write is a step of the machine.
        with mock.patch.object(Writer, "start"):
            opened = self.repository.open()
        self.records = tuple(record for record in opened if record.running is not None)
        for claimed in [one for one in opened if one.running is None]:
            # The start of the service forgets sessions that were never ready.
            self.repository.forget(claimed)
        for record in self.records:
            self.registry.adopt(record.to_session(0.0, NOW))

    def _store(self) -> tuple[Faulty, SessionRepository]:
        database = FailingDatabase(self.folder / "drover.db")
        return database, SessionRepository(database, BOOT, lambda _: None)

    @property
    def writer(self) -> Writer:
        return self.repository._writer

    def _ready(self, session_id: str) -> Session | None:
        for session in self.registry.sessions():
            if session.session_id == session_id and session.state is SessionState.READY:
                return session
        return None

    def _note(self, session: Session) -> None:
        """Note a revision that the registry has recorded, and a client that waits for its answer."""
        birth = self.births.setdefault(session.birth, Birth())
        birth.history[session.revision] = _recorded(session)
        ticket = self.writer.look(lambda pending: pending.promised(session, lease_ended=True))
        self.waiting.append(Waiting(ticket, birth, session))
        self._answer()

    def _answer(self) -> None:
        """Answer the clients whose promise is on disk."""
        written = self.writer.look(lambda pending: pending.written_ticket)
        for one in [one for one in self.waiting if one.ticket <= written]:
            self.waiting.remove(one)
            if one.deletes:
                one.birth.ended = True
                self.registry.forget(one.session)
            else:
                since = one.birth.same_terms_since(one.session.revision)
                one.birth.told = max(since, one.birth.told or 0)
        if self.clearing and self.clearing <= written:
            self.clearing = 0
            # A session that was made after the emergency and is ending too ends by a later ticket.
            for birth in self.cleared:
                birth.ended |= birth.ending
            self.cleared.clear()
        for key, (ticket, state) in list(self.keeping.items()):
            if ticket <= written:
                self.kept[key] = {state}
                del self.keeping[key]

    @rule(session_id=IDS, key=KEYS)
    def a_client_posts(self, session_id: str, key: str | None) -> None:
        try:
            found = self.registry.claim(claim(session_id, key))
        except (KeyConflict, SessionInUse, StorageUnavailable, CleanupIncomplete):
            return
        if isinstance(found, Reserved):
            try:
                born = self.repository.claim(found.session)
            except NotOwner:
                # Its deletion is not in the database yet.
                self.registry.forget(found.session)
                return
            self.registry.update(born.session_id, lambda known: replace(known, epoch=born.epoch))
            published = self.registry.publish(found.session, running=RUNNING)
            assert published is not None
            self._note(published)
            self.registry.release(found.session)
        elif isinstance(found, Available):
            self._note(self.registry.update(found.session.session_id, used))
            self.registry.release(found.session)

    @rule(session_id=IDS, number=st.integers(1, 3))
    def a_client_leases(self, session_id: str, number: int) -> None:
        session = self._ready(session_id)
        if session is not None:
            lease = Lease(None, f"token-{number}", NOW, 0.0)
            self._note(self.registry.update(session_id, lambda known: replace(known, lease=lease)))

    @rule(session_id=IDS)
    def a_lease_ends(self, session_id: str) -> None:
        if self._ready(session_id) is not None:
            self._note(self.registry.update(session_id, lambda known: replace(known, lease=None)))

    @rule(session_id=IDS, window=st.sampled_from(["w1", "w2"]))
    def a_driver_changes_its_window(self, session_id: str, window: str) -> None:
        if self._ready(session_id) is not None:
            changed = self.registry.update(session_id, lambda known: replace(known, window=window))
            self.births.setdefault(changed.birth, Birth()).history[changed.revision] = _recorded(changed)

    @rule(session_id=IDS)
    def a_state_is_saved(self, session_id: str) -> None:
        session = self._ready(session_id)
        if session is not None:
            self.saves += 1
            self.repository.save_state(session, SavedState(f"https://{session.birth}.example/{self.saves}"))

    @rule(session_id=IDS, forgets=st.booleans())
    def a_session_is_closed(self, session_id: str, forgets: bool) -> None:
        session = self._ready(session_id)
        begun = session and self.registry.begin(session, SessionState.CLOSING)
        if not isinstance(begun, Reserved):
            return
        closing = begun.session
        birth = self.births.setdefault(closing.birth, Birth())
        if closing.key is not None:
            self._keep(closing, closing.key, birth, forgets=forgets)
        birth.ending = True
        ticket = self.repository.forget(closing)
        self.waiting.append(Waiting(ticket, birth, closing, deletes=True))
        self._answer()

    def _keep(self, closing: Session, key: str, birth: Birth, *, forgets: bool) -> None:
        self.saves += 1
        url = None if forgets else f"https://{key}.example/{self.saves}"
        if url is None:
            self.repository.forget_key(closing, key)
        else:
            self.repository.keep_for_key(closing, key, SavedState(url))
        self.kept[key].add(url)
        self.keeping.pop(key, None)
        if url is None or birth.told is not None:
            # What a session leaves that nobody was told of may be kept or not.
            self.keeping[key] = (self.writer.look(lambda pending: pending._ticket), url)

    @rule()
    def an_emergency_clears_everything(self) -> None:
        self.registry.close_gate()
        self.waiting.clear()
        for birth in self.births.values():
            birth.ending = True
        self.cleared += self.births.values()
        self.clearing = self.writer.change(lambda pending: pending.clear())
        for key, allowed in self.kept.items():
            if self.clears_kept:
                allowed.add(None)
                self.keeping[key] = (self.clearing, None)
            else:
                # What was about to be kept has been written, or is dropped.
                self.keeping.pop(key, None)
        self.registry.open_gate()

    @rule(fault=st.sampled_from(["none", "none", "before", "after"]))
    def the_disk_is_written(self, fault: Fault) -> None:
        self.database.fault = fault
        assert self.writer.flush() == (fault == "none")
        self._answer()

    @rule(
        fault=st.sampled_from(["none", "none", "before", "after"]),
        event=st.sampled_from(["post", "lease", "end of lease", "window", "state", "close", "emergency"]),
        session_id=IDS,
        key=KEYS,
        forgets=st.booleans(),
    )
    def something_happens_while_the_disk_is_written(
        self, fault: Fault, event: str, session_id: str, key: str | None, forgets: bool
    ) -> None:
        happen = {
            "post": lambda: self.a_client_posts(session_id, key),
            "lease": lambda: self.a_client_leases(session_id, 4),
            "end of lease": lambda: self.a_lease_ends(session_id),
            "window": lambda: self.a_driver_changes_its_window(session_id, "w3"),
            "state": lambda: self.a_state_is_saved(session_id),
            "close": lambda: self.a_session_is_closed(session_id, forgets),
            "emergency": self.an_emergency_clears_everything,
        }
        self.database.during_write = happen[event]
        self.the_disk_is_written(fault)
        self.database.during_write = None

    @precondition(lambda self: not self.writer.look(bool))
    @rule(key=st.sampled_from(["k", "l"]))
    def what_is_kept_is_read(self, key: str) -> None:
        assert self._kept_for(key) in self.kept[key]

    def _kept_for(self, key: str) -> str | None:
        state = self.repository.kept_for_key(key)
        return state.url if state is not None else None

    @rule()
    def the_service_is_killed_and_starts_again(self) -> None:
        self.database.close()
        self._start()
        for name, birth in list(self.births.items()):
            record = next((one for one in self.records if _birth_of(one) == name), None)
            if record is None:
                assert birth.told is None or birth.ending, "a session was lost"
                del self.births[name]
            else:
                assert not birth.ended, "a deleted session came back"
                self._hold_to_its_history(birth, record)
        assert {_birth_of(record) for record in self.records} <= self.births.keys()
        for key, allowed in self.kept.items():
            found = self._kept_for(key)
            assert found in allowed, "what is kept is not what was left last"
            self.kept[key] = {found}

    def _hold_to_its_history(self, birth: Birth, record: SessionRecord) -> None:
        assert replace(record, epoch=0) == birth.history[record.revision]
        assert record.revision >= (birth.told or 0), "a later promise was lost"
        birth.told, birth.ending = record.revision, False
        birth.history = {record.revision: replace(record, epoch=0)}
        state = self.repository.state_of(record)
        if state is not None and state.url is not None:
            # Before its first save, a session has the state that its browser was started with.
            is_kept = record.key is not None and state.url in self.kept[record.key]
            assert is_kept or state.url.startswith(f"https://{_birth_of(record)}.")

    def teardown(self) -> None:
        """Once the disk works, everything is answered and true."""
        self.the_disk_is_written("none")
        assert self.waiting == []
        self.the_service_is_killed_and_starts_again()
        self.database.close()
        shutil.rmtree(self.folder)


def _recorded(session: Session) -> SessionRecord:
    """Return the record of a session without its epoch, which a new incarnation of its node changes."""
    return replace(SessionRecord.of(session, BOOT), epoch=0)


def _birth_of(record: SessionRecord) -> str:
    return Path(record.folder).name


def _terms(record: SessionRecord) -> tuple[object, ...]:
    return record.key, record.lease


TestPersistence = PersistenceMachine.TestCase
TestPersistence.settings = settings(stateful_step_count=30)
