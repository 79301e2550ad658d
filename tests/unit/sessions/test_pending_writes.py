"""What is to be written of sessions, when a database gives the number of one session to another one."""

from __future__ import annotations

from dataclasses import replace

from drover.sessions.persistence.pending_writes import PendingWrites
from drover.storage.changes import owner_of
from tests.unit.examples import session


def test_sessions_with_the_same_number_after_a_failover_are_two_sessions() -> None:
    first, second = replace(session("a"), epoch=5), replace(session("b"), epoch=6)
    pending = PendingWrites()
    for one in (first, second):
        pending.claimed(one)
        pending.record(one)
    pending.written(pending.take(), refused=frozenset({owner_of(second)}))
    # The database has lost both rows, and gives its last numbers again.
    pending.move(first, 6)
    moved = replace(first, epoch=6)
    assert pending.has(owner_of(moved))
    assert pending.has(owner_of(second))
    assert not pending.is_refused(moved)
    pending.move(second, 7)
    assert pending.has(owner_of(moved))
    assert pending.has(owner_of(replace(second, epoch=7)))
    pending.record(replace(moved, revision=9))
    assert [entry.session.session_id for entry in pending.take().entries.values() if entry.session] == ["a"]


def test_an_old_revision_is_not_written_again_over_a_newer_one() -> None:
    known = replace(session("a"), epoch=5, revision=1)
    pending = PendingWrites()
    pending.claimed(known)
    pending.record(known)
    pending.written(pending.take())
    # The session has changed since the list was read from which it is written again.
    newer = replace(known, revision=2)
    pending.record(newer)
    pending.renew(known, None, known.created_at)
    assert [entry.session for entry in pending.take().entries.values()] == [newer]
    pending.written(pending.take())
    pending.renew(newer, None, known.created_at)
    assert pending.promised(newer) > 0
    assert [entry.session for entry in pending.take().entries.values()] == [newer]
