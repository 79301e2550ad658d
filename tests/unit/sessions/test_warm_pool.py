"""Warm browsers: reserved if no client needs the place, and handed out immediately."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from drover.core.errors import CleanupIncomplete, KeyConflict, SessionInUse, SessionNotFound
from drover.sessions.pool.acquire import Available, Claim, Reserved, Waiter
from drover.sessions.pool.acquire_request import new_warm_session
from drover.sessions.pool.leases import leased
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import SESSION_ID, Lease, Session, SessionState
from drover.storage.session_folders import SessionFolders
from tests.unit.examples import NOW, RUNNING, MemoryJournal, answer_of, claim, hold, ready, reserve, session

FOLDERS = SessionFolders(Path("/data"))
MAKE = partial(new_warm_session, FOLDERS, 1800.0)
LEASE = Lease("me", "mine", NOW, 1e9)


@pytest.fixture
def registry() -> SessionRegistry:
    return SessionRegistry(max_sessions=2, max_waiting=3, journal=MemoryJournal())


def warm(registry: SessionRegistry) -> Session:
    reserved = registry.reserve_warm(MAKE, wanted=2)
    assert reserved is not None
    published = registry.publish(reserved.session, running=RUNNING)
    reserved.work.set_result(published)
    assert published is not None
    return published


def anything(session_id: str | None = None, key: str | None = None, **fields: object) -> Claim:
    return replace(claim(session_id, key, **fields), takes_warm=True)


def test_a_warm_browser_is_handed_out_under_the_requested_id(registry: SessionRegistry) -> None:
    standing = warm(registry)
    answer = registry.claim(anything("job", "account"))
    assert isinstance(answer, Available)
    assert answer.created
    taken = answer.session
    assert (taken.session_id, taken.key, taken.warm, taken.callers) == ("job", "account", False, 1)
    assert (taken.folder, taken.running, taken.state) == (standing.folder, RUNNING, SessionState.READY)
    assert registry.warm_count() == 0
    assert [one.session_id for one in registry.sessions()] == ["job"]


def test_a_warm_browser_is_handed_out_once(registry: SessionRegistry) -> None:
    warm(registry)
    assert isinstance(registry.claim(anything()), Available)
    assert isinstance(registry.claim(anything()), Reserved)


def test_a_claim_with_special_requirements_gets_a_new_browser(registry: SessionRegistry) -> None:
    warm(registry)
    assert isinstance(registry.claim(claim()), Reserved)


def test_an_existing_session_is_preferred_to_a_warm_one(registry: SessionRegistry) -> None:
    ready(registry, "job")
    warm(registry)
    answer = registry.claim(anything("job"))
    assert isinstance(answer, Available)
    assert not answer.created
    assert registry.warm_count() == 1


def test_a_requested_lease_begins_when_the_warm_browser_is_handed_out(registry: SessionRegistry) -> None:
    warm(registry)
    answer = registry.claim(anything("job", lease=LEASE))
    assert isinstance(answer, Available)
    assert answer.session.lease == LEASE
    with pytest.raises(SessionInUse):
        registry.claim(claim("job"))


def test_a_warm_browser_is_protected_and_counted_but_not_listed(registry: SessionRegistry) -> None:
    standing = warm(registry)
    assert registry.sessions() == ()
    assert [one.folder for one in registry.protected()] == [str(standing.folder.path)]
    assert registry.running() == (RUNNING,)
    reserve(registry)
    assert registry.reserve_warm(MAKE, wanted=2) is None


def test_a_warm_browser_cannot_be_named_by_a_client(registry: SessionRegistry) -> None:
    standing = warm(registry)
    assert not SESSION_ID.fullmatch(standing.session_id)
    for look in (registry.get, registry.find):
        with pytest.raises(SessionNotFound):
            look(standing.session_id)
    with pytest.raises(SessionNotFound):
        registry.update(standing.session_id, lambda known: leased(known, LEASE, None))
    assert registry.get(standing.session_id, or_warm=True) == standing


def test_none_is_started_while_a_client_waits_for_a_start_or_a_place(registry: SessionRegistry) -> None:
    first = reserve(registry, "first")
    assert registry.reserve_warm(MAKE, wanted=1) is None
    registry.publish(first.session, running=RUNNING)
    ready(registry, "second")
    registry.claim(claim("second"))
    assert isinstance(registry.claim(claim("third")), Waiter)
    registry.forget(registry.get("first"))
    assert registry.reserve_warm(MAKE, wanted=1) is None


def test_no_warm_browser_is_started_during_an_emergency_or_after_the_stop(registry: SessionRegistry) -> None:
    registry.close_gate()
    assert registry.reserve_warm(MAKE, wanted=1) is None
    registry.open_gate()
    registry.stop()
    assert registry.reserve_warm(MAKE, wanted=1) is None


def test_no_more_are_started_than_are_wanted(registry: SessionRegistry) -> None:
    warm(registry)
    assert registry.reserve_warm(MAKE, wanted=1) is None


def test_a_warm_browser_is_evicted_before_any_session(registry: SessionRegistry) -> None:
    standing = warm(registry)
    ready(registry, "old", last_used_mono=-1e9)
    waiting = registry.claim(claim("new"))
    assert isinstance(waiting, Waiter)
    victims = registry.take_evicted()
    assert [victim.session.folder for victim in victims] == [standing.folder]
    registry.forget(victims[0].session)
    assert isinstance(answer_of(waiting), Reserved)


def test_a_warm_browser_that_is_closing_is_not_handed_out(registry: SessionRegistry) -> None:
    begun = registry.begin(warm(registry), SessionState.CLOSING)
    assert isinstance(begun, Reserved)
    assert isinstance(registry.claim(anything()), Reserved)


def test_a_warm_browser_whose_close_failed_is_not_handed_out(registry: SessionRegistry) -> None:
    begun = registry.begin(warm(registry), SessionState.CLOSING)
    assert isinstance(begun, Reserved)
    registry.close_failed(begun.session, CleanupIncomplete("something is left"))
    assert isinstance(registry.claim(anything()), Reserved)
    assert registry.warm_count() == 0


def test_a_warm_browser_never_becomes_idle(registry: SessionRegistry) -> None:
    warm(registry)
    assert registry.take_idle(1e12) == ()


def test_a_waiter_gets_the_warm_browser_that_becomes_ready(registry: SessionRegistry) -> None:
    starting = registry.reserve_warm(MAKE, wanted=1)
    assert starting is not None
    ready(registry, "job")
    hold(registry, "job")
    waiting = registry.claim(anything("new"))
    assert isinstance(waiting, Waiter)
    registry.publish(starting.session, running=RUNNING)
    answer = answer_of(waiting)
    assert isinstance(answer, Available)
    assert (answer.session.session_id, answer.created) == ("new", True)


def test_a_check_of_a_warm_browser_does_not_affect_the_session_that_it_became(
    registry: SessionRegistry,
) -> None:
    standing = warm(registry)
    registry.claim(anything("job"))
    registry.note(standing, memory_mb=1.0)
    assert registry.begin(standing, SessionState.RECOVERING) is None
    assert registry.get("job").memory_mb is None


def test_a_key_is_not_bound_to_a_session_that_is_refused(registry: SessionRegistry) -> None:
    ready(registry, "job")
    registry.update("job", lambda known: leased(known, LEASE, None))
    with pytest.raises(SessionInUse):
        registry.claim(claim("job", "stolen"))
    assert registry.get("job").key is None


def test_a_key_is_not_bound_to_a_session_that_cannot_be_closed(registry: SessionRegistry) -> None:
    begun = registry.begin(ready(registry, "job"), SessionState.CLOSING)
    assert isinstance(begun, Reserved)
    registry.close_failed(begun.session, CleanupIncomplete("something is left"))
    with pytest.raises(CleanupIncomplete):
        registry.claim(claim("job", "account"))
    assert registry.get("job").key is None


def test_the_holder_of_the_lease_can_set_the_key_permanently(registry: SessionRegistry) -> None:
    ready(registry, "job")
    registry.update("job", lambda known: leased(known, LEASE, None))
    answer = registry.claim(replace(claim("job", "account"), token="mine"))
    assert isinstance(answer, Available)
    assert answer.session.key == "account"
    with pytest.raises(KeyConflict):
        registry.claim(claim("job", "other"))


def test_a_failed_change_changes_nothing(registry: SessionRegistry) -> None:
    before = ready(registry, "job", lease=LEASE)
    with pytest.raises(SessionInUse):
        registry.update("job", lambda known: leased(known, LEASE, "not mine"))
    assert registry.get("job") == before
    with pytest.raises(SessionNotFound):
        registry.update("nobody", lambda known: known)


def test_the_end_of_a_lease_serves_the_next_waiter(registry: SessionRegistry) -> None:
    ready(registry, "one", lease=LEASE)
    ready(registry, "two", lease=LEASE)
    registry.claim(claim("three"))
    assert registry.take_evicted() == ()
    registry.expire_leases(LEASE.expires_mono)
    assert [victim.session.session_id for victim in registry.take_evicted()] == ["one"]


def test_an_adopted_session_is_listed_unchanged(registry: SessionRegistry) -> None:
    adopted = session("old", state=SessionState.READY, running=RUNNING, generation=7)
    registry.adopt(adopted)
    assert registry.sessions() == (adopted,)
    assert hold(registry, "old").generation == 7
