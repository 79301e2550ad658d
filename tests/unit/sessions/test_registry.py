"""The registry: places, wait queue, holds and generations, without a browser."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest

from drover.core.errors import (
    AtCapacity,
    CleanupIncomplete,
    KeyConflict,
    NotOwner,
    SessionLost,
    SessionNotFound,
    ShuttingDown,
)
from drover.sessions.pool.acquire import (
    Available,
    Claim,
    Elsewhere,
    InProgress,
    Reserved,
    Waiter,
    may_go,
)
from drover.sessions.pool.admission import MemoryRoom, Room
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import Lease, Session, SessionState
from tests.machine import run_concurrently
from tests.unit.examples import (
    NOW,
    RUNNING,
    MemoryJournal,
    answer_of,
    claim,
    hold,
    in_command,
    queue,
    ready,
    reserve,
    session,
)

READY, RECOVERING, CLOSING = SessionState.READY, SessionState.RECOVERING, SessionState.CLOSING


@pytest.fixture
def registry() -> SessionRegistry:
    return SessionRegistry(max_sessions=2, max_waiting=3, journal=MemoryJournal())


class Evictor:
    """Keeps the sessions that the registry has returned to be evicted; the test closes them."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._victims: list[Reserved] = []
        self._registry = registry

    @property
    def victims(self) -> list[Reserved]:
        self._victims += self._registry.take_evicted()
        return self._victims

    @property
    def ids(self) -> list[str]:
        return [victim.session.session_id for victim in self.victims]


def test_the_first_caller_of_an_id_starts_the_session_and_the_second_waits(registry: SessionRegistry) -> None:
    first = reserve(registry, "a")
    second = registry.claim(claim("a"))
    assert first.session.state is SessionState.STARTING
    assert isinstance(second, InProgress)
    assert second.work is first.work


def test_of_twenty_callers_with_one_id_exactly_one_starts_the_session() -> None:
    registry = SessionRegistry(max_sessions=5, max_waiting=32, journal=MemoryJournal())
    answers = run_concurrently([lambda: registry.claim(claim("a"))] * 20)
    assert sorted(type(answer).__name__ for answer in answers) == 19 * ["InProgress"] + ["Reserved"]
    assert len(registry.sessions()) == 1


def test_callers_without_an_id_get_sessions_of_their_own(registry: SessionRegistry) -> None:
    first, second = reserve(registry), reserve(registry)
    assert first.session.session_id != second.session.session_id


def test_a_ready_session_is_held_by_each_caller_until_released(registry: SessionRegistry) -> None:
    ready(registry, "a")
    held = [hold(registry, "a"), hold(registry, "a")]
    assert registry.get("a").callers == 2
    for each in held:
        registry.release(each)
    assert registry.get("a").callers == 0


def test_the_caller_that_starts_a_session_holds_it(registry: SessionRegistry) -> None:
    reserved = reserve(registry, "a")
    registry.publish(reserved.session, running=RUNNING)
    assert registry.get("a").callers == 1


def test_a_command_counts_as_use_even_if_it_fails(registry: SessionRegistry) -> None:
    held = ready(registry, "a")

    def command() -> None:
        with in_command(registry, held):
            assert registry.get("a").in_use
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command()
    assert not registry.get("a").in_use


def test_a_use_that_is_not_recorded_yet_is_recorded_once() -> None:
    journal = MemoryJournal()
    registry = SessionRegistry(max_sessions=2, max_waiting=3, journal=journal)
    driven = ready(registry, "a")
    ready(registry, "unused")
    registry.record_uses()
    journal.recorded.clear()
    with in_command(registry, driven):
        pass
    registry.record_uses()
    registry.record_uses()
    assert journal.recorded == [registry.get("a")]


def test_a_session_is_recorded_again_as_long_as_it_is_driven() -> None:
    journal = MemoryJournal()
    registry = SessionRegistry(max_sessions=2, max_waiting=3, journal=journal)
    with in_command(registry, ready(registry, "a")):
        registry.record_uses()
        before = journal.recorded[-1]
        registry.record_uses()
        assert journal.recorded[-1].revision > before.revision


def test_a_hold_prevents_eviction_and_does_not_count_as_activity(registry: SessionRegistry) -> None:
    looked_at = ready(registry, "a")
    registry.hold(looked_at)
    assert not registry.get("a").evictable
    assert not registry.get("a").in_use
    registry.release(looked_at)
    assert registry.get("a").evictable
    assert registry.get("a").last_used == looked_at.last_used


def test_a_hold_on_a_removed_session_does_not_count_for_a_new_one_with_its_id(
    registry: SessionRegistry,
) -> None:
    ready(registry, "a")
    old = hold(registry, "a")
    registry.forget(registry.get("a"))
    ready(registry, "a")
    registry.release(old)
    assert registry.get("a").callers == 0


def test_a_missing_session_is_not_found(registry: SessionRegistry) -> None:
    for ask in (registry.get, registry.find):
        with pytest.raises(SessionNotFound, match="There is no session missing"):
            ask("missing")


def test_find_holds_a_ready_session_and_returns_the_work_of_another(registry: SessionRegistry) -> None:
    starting = reserve(registry, "a")
    ready(registry, "b")
    assert registry.find("a") == InProgress(starting.session, starting.work)
    assert isinstance(registry.find("b"), Available)
    assert registry.get("b").callers == 1


def test_a_note_does_not_count_as_activity(registry: SessionRegistry) -> None:
    before = ready(registry, "a")
    registry.note(before, current_url="http://example.com/")
    after = registry.get("a")
    assert after.current_url == "http://example.com/"
    assert (after.last_used, after.last_used_mono) == (before.last_used, before.last_used_mono)


def test_the_same_key_returns_the_same_session(registry: SessionRegistry) -> None:
    answer = registry.claim(claim(key="k"))
    again = registry.claim(claim(key="k"))
    assert isinstance(answer, Reserved)
    assert isinstance(again, InProgress)
    assert again.session.session_id == answer.session.session_id


def test_a_key_is_bound_to_a_session_that_has_none(registry: SessionRegistry) -> None:
    ready(registry, "a")
    registry.claim(claim("a", key="k"))
    assert registry.get("a").key == "k"
    found = registry.claim(claim(key="k"))
    assert isinstance(found, Available)
    assert found.session.session_id == "a"


def test_id_and_key_of_one_session_can_be_sent_together(registry: SessionRegistry) -> None:
    ready(registry, "a", key="k")
    assert isinstance(registry.claim(claim("a", key="k")), Available)


@pytest.mark.parametrize(
    ("session_id", "key"),
    [("a", "of-b"), ("a", "new"), ("new", "of-b")],
    ids=["two sessions", "a second key", "a second id"],
)
def test_an_id_and_a_key_that_name_two_sessions_conflict(
    registry: SessionRegistry, session_id: str, key: str
) -> None:
    ready(registry, "a", key="of-a")
    ready(registry, "b", key="of-b")
    with pytest.raises(KeyConflict, match=f"session_id {session_id} and key {key}"):
        registry.claim(claim(session_id, key=key))
    assert [found.callers for found in registry.sessions()] == [0, 0]


def test_a_conflict_that_arises_in_the_queue_fails_the_waiter(registry: SessionRegistry) -> None:
    first = reserve(registry, "a")
    ready(registry, "b")
    hold(registry, "b")
    waiter = queue(registry, "new", key="k")
    registry.claim(claim("b", key="k"))
    registry.forget(first.session)
    assert isinstance(waiter.granted.exception(), KeyConflict)


def test_a_caller_waits_if_every_place_is_taken_and_gets_the_freed_one(
    registry: SessionRegistry,
) -> None:
    first = reserve(registry, "a")
    reserve(registry, "b")
    waiter = queue(registry, "c")
    assert not waiter.granted.done()
    registry.forget(first.session)
    answer = answer_of(waiter)
    assert isinstance(answer, Reserved)
    assert answer.session.session_id == "c"
    assert len(registry.sessions()) == 2


def test_places_are_granted_in_the_order_of_the_claims(registry: SessionRegistry) -> None:
    taken = [reserve(registry), reserve(registry)]
    waiters = [queue(registry, name) for name in ("c", "d", "e")]
    registry.forget(taken[0].session)
    assert [waiter.granted.done() for waiter in waiters] == [True, False, False]
    registry.forget(taken[1].session)
    assert [waiter.granted.done() for waiter in waiters] == [True, True, False]


def test_a_new_caller_does_not_overtake_waiters(registry: SessionRegistry) -> None:
    taken = [reserve(registry), reserve(registry)]
    waiter = queue(registry, "c")
    registry.close_gate()
    late = queue(registry, "d")
    registry.open_gate()
    assert isinstance(answer_of(waiter), Reserved)
    assert isinstance(answer_of(late), Reserved)
    assert not registry.is_current(taken[0].session)


def test_two_waiters_for_one_id_get_one_place(registry: SessionRegistry) -> None:
    taken = [reserve(registry), reserve(registry)]
    first, second, third = queue(registry, "c"), queue(registry, "c"), queue(registry, "d")
    registry.forget(taken[0].session)
    one, two = answer_of(first), answer_of(second)
    assert isinstance(one, Reserved)
    assert isinstance(two, InProgress)
    assert one.work is two.work
    assert not third.granted.done()


def test_an_existing_session_is_returned_without_waiting(registry: SessionRegistry) -> None:
    ready(registry, "a")
    reserve(registry, "b")
    hold(registry, "a")
    queue(registry, "c")
    assert isinstance(registry.claim(claim("a")), Available)


def test_a_claim_is_refused_immediately_if_the_queue_is_full(registry: SessionRegistry) -> None:
    for name in ("a", "b"):
        reserve(registry, name)
    for name in ("c", "d", "e"):
        queue(registry, name)
    with pytest.raises(AtCapacity, match="wait queue is full"):
        registry.claim(claim("f"))


def test_a_waiter_that_leaves_gets_nothing_and_the_next_moves_up(registry: SessionRegistry) -> None:
    taken = [reserve(registry), reserve(registry)]
    leaver, next_one = queue(registry, "c"), queue(registry, "d")
    assert registry.leave(leaver) is None
    registry.forget(taken[0].session)
    assert not leaver.granted.done()
    assert isinstance(answer_of(next_one), Reserved)


def test_a_waiter_that_leaves_when_granted_gets_the_outcome(registry: SessionRegistry) -> None:
    taken = [reserve(registry), reserve(registry)]
    waiter = queue(registry, "c")
    registry.forget(taken[0].session)
    left = registry.leave(waiter)
    assert isinstance(left, Reserved)
    assert left is waiter.granted.result()


def test_a_waiter_that_leaves_does_not_wait_for_the_thread_that_is_about_to_tell_it(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = [reserve(registry), reserve(registry)]
    waiter = queue(registry, "c")
    monkeypatch.setattr(Waiter, "tell", lambda _: None)  # as if that thread was preempted before
    registry.forget(taken[0].session)
    assert not waiter.granted.done()
    assert isinstance(registry.leave(waiter), Reserved)


def test_a_waiter_that_leaves_when_failed_gets_the_error(registry: SessionRegistry) -> None:
    reserve(registry, "a")
    reserve(registry, "b")
    waiter = queue(registry, "c")
    registry.stop()
    with pytest.raises(ShuttingDown):
        registry.leave(waiter)


def test_the_least_recently_used_session_is_evicted(registry: SessionRegistry) -> None:
    evictor = Evictor(registry)
    ready(registry, "new", last_used_mono=2.0)
    ready(registry, "old", last_used_mono=1.0)
    waiter = queue(registry, "c")
    assert evictor.ids == ["old"]
    assert registry.get("old").state is CLOSING
    assert not waiter.granted.done()
    assert registry.forget(evictor.victims[0].session)
    assert isinstance(answer_of(waiter), Reserved)


def test_one_waiter_evicts_only_one_session(registry: SessionRegistry) -> None:
    evictor = Evictor(registry)
    ready(registry, "a")
    ready(registry, "b")
    queue(registry, "c")
    registry.release(hold(registry, "b"))
    assert evictor.ids == ["a"]


def test_two_waiters_evict_two_sessions(registry: SessionRegistry) -> None:
    evictor = Evictor(registry)
    ready(registry, "a")
    ready(registry, "b")
    queue(registry, "c")
    queue(registry, "d")
    assert evictor.ids == ["a", "b"]


@pytest.mark.parametrize("how", ["held", "commanded", "starting"])
def test_a_session_in_use_is_not_evicted_until_it_is_released(registry: SessionRegistry, how: str) -> None:
    evictor = Evictor(registry)
    reserved = reserve(registry, "a")
    if how != "starting":
        registry.publish(reserved.session)
        if how == "commanded":
            registry.release(reserved.session)
            registry._count(reserved.session, commands=1)
    reserve(registry, "b")
    queue(registry, "c")
    assert evictor.ids == []
    if how == "starting":
        registry.publish(reserved.session)
    if how == "commanded":
        registry._count(reserved.session, commands=-1)
    else:
        registry.release(reserved.session)
    assert evictor.ids == ["a"]


def test_a_session_that_cannot_be_closed_does_not_prevent_another_eviction(
    registry: SessionRegistry,
) -> None:
    evictor = Evictor(registry)
    ready(registry, "a", last_used_mono=1.0)
    ready(registry, "b", last_used_mono=2.0)
    waiter = queue(registry, "c")
    registry.close_failed(evictor.victims[0].session, CleanupIncomplete("something is left"))
    assert evictor.ids == ["a", "b"]
    registry.forget(evictor.victims[1].session)
    assert isinstance(answer_of(waiter), Reserved)


def test_a_session_that_could_not_be_closed_earlier_does_not_count_as_closing(
    registry: SessionRegistry,
) -> None:
    evictor = Evictor(registry)
    closing = registry.begin(ready(registry, "a"), CLOSING)
    assert isinstance(closing, Reserved)
    registry.close_failed(closing.session, CleanupIncomplete("something is left"))
    ready(registry, "b")
    queue(registry, "c")
    assert evictor.ids == ["b"]


def test_outcomes_are_delivered_without_the_lock(registry: SessionRegistry) -> None:
    locked_at_delivery: list[bool] = []
    taken = [reserve(registry), reserve(registry)]
    waiter = queue(registry, "c")
    waiter.granted.add_done_callback(lambda _: locked_at_delivery.append(registry._lock.locked()))
    registry.forget(taken[0].session)
    late = queue(registry, "d")
    late.granted.add_done_callback(lambda _: locked_at_delivery.append(registry._lock.locked()))
    registry.stop()
    assert locked_at_delivery == [False, False]


def test_a_session_is_evicted_once(registry: SessionRegistry) -> None:
    ready(registry, "a")
    ready(registry, "b")
    waiter = queue(registry, "c")
    (victim,) = registry.take_evicted()
    assert registry.take_evicted() == ()
    registry.forget(victim.session)
    assert isinstance(answer_of(waiter), Reserved)


def test_nothing_is_evicted_if_no_caller_waits(registry: SessionRegistry) -> None:
    ready(registry, "a")
    ready(registry, "b")
    assert registry.take_evicted() == ()


def test_exactly_one_caller_recovers_a_dead_session_and_the_others_wait(registry: SessionRegistry) -> None:
    dead = ready(registry, "a")
    answers = run_concurrently([lambda: registry.begin(dead, RECOVERING)] * 10)
    assert sorted(type(answer).__name__ for answer in answers) == 9 * ["InProgress"] + ["Reserved"]


def test_a_recovery_of_an_already_recovered_session_must_be_retried(registry: SessionRegistry) -> None:
    dead = ready(registry, "a")
    begun = registry.begin(dead, RECOVERING)
    assert isinstance(begun, Reserved)
    registry.publish(begun.session, recoveries=1)
    assert registry.begin(dead, RECOVERING) is None
    assert registry.get("a").recoveries == 1


def test_work_cannot_begin_on_a_removed_session(registry: SessionRegistry) -> None:
    gone = ready(registry, "a")
    registry.forget(gone)
    assert registry.begin(gone, RECOVERING) is None
    assert registry.begin(gone, CLOSING) is None


def test_a_close_overtakes_a_start_which_then_publishes_nothing(registry: SessionRegistry) -> None:
    start = reserve(registry, "a")
    close = registry.begin(registry.get("a"), CLOSING)
    assert isinstance(close, Reserved)
    assert close.displaced is start.work
    assert not registry.is_current(start.session)
    assert registry.publish(start.session, running=RUNNING) is None
    assert not registry.forget(start.session)
    registry.note(start.session, current_url="http://late.example/")
    assert registry.get("a").running is None
    assert registry.get("a").current_url is None
    assert registry.forget(close.session)


def test_two_closes_share_one_work(registry: SessionRegistry) -> None:
    found = ready(registry, "a")
    first = registry.begin(found, CLOSING)
    second = registry.begin(registry.get("a"), CLOSING)
    assert isinstance(first, Reserved)
    assert isinstance(second, InProgress)
    assert second.work is first.work


def test_a_failed_close_can_be_retried_and_the_session_is_unavailable_until_then(
    registry: SessionRegistry,
) -> None:
    first = registry.begin(ready(registry, "a"), CLOSING)
    assert isinstance(first, Reserved)
    assert registry.unclosed() == ()
    registry.close_failed(first.session, CleanupIncomplete("something is left"))
    assert [found.session_id for found in registry.unclosed()] == ["a"]
    with pytest.raises(CleanupIncomplete, match="delete it again to retry"):
        registry.claim(claim("a"))
    second = registry.begin(registry.get("a"), CLOSING)
    assert isinstance(second, Reserved)
    assert registry.unclosed() == ()
    assert registry.forget(second.session)


def test_a_close_whose_work_has_failed_can_be_retried(registry: SessionRegistry) -> None:
    first = registry.begin(ready(registry, "a"), CLOSING)
    assert isinstance(first, Reserved)
    first.work.set_exception(ShuttingDown("no thread began it"))
    assert [found.session_id for found in registry.unclosed()] == ["a"]
    assert not registry.makes_room
    with pytest.raises(CleanupIncomplete, match="delete it again to retry"):
        registry.claim(claim("a"))
    assert isinstance(registry.begin(registry.get("a"), CLOSING), Reserved)


@pytest.mark.parametrize("state", [READY, CLOSING])
def test_a_late_thread_does_not_affect_a_new_session_with_the_same_id(
    registry: SessionRegistry, state: SessionState
) -> None:
    late = reserve(registry, "a")
    registry.close_gate()
    registry.open_gate()
    new = reserve(registry, "a")
    assert late.session.generation == new.session.generation
    assert not registry.is_current(late.session)
    if state is READY:
        assert registry.publish(late.session, running=RUNNING) is None
        assert not registry.forget(late.session)
        registry.note(late.session, current_url="http://late.example/")
    else:
        begun = registry.begin(late.session, CLOSING)
        assert begun is None or not isinstance(begun, Reserved)
        registry.close_failed(late.session, CleanupIncomplete("something is left"))
    assert registry.get("a") == new.session
    assert registry.is_current(new.session)


def test_after_a_failed_recovery_the_session_can_be_recovered_again(registry: SessionRegistry) -> None:
    begun = registry.begin(ready(registry, "a"), RECOVERING)
    assert isinstance(begun, Reserved)
    registry.publish(begun.session)
    again = registry.begin(registry.get("a"), RECOVERING)
    assert isinstance(again, Reserved)
    assert again.session.generation > begun.session.generation


def test_a_key_that_was_added_during_the_start_is_kept(registry: SessionRegistry) -> None:
    start = reserve(registry, "a")
    registry.claim(claim("a", key="k"))
    published = registry.publish(start.session, running=RUNNING)
    assert published is not None
    assert published.key == "k"


def test_only_idle_sessions_begin_to_close(registry: SessionRegistry) -> None:
    ready(registry, "idle", last_used_mono=0.0, idle_timeout=10)
    ready(registry, "busy", last_used_mono=95.0, idle_timeout=10)
    taken = registry.take_idle(100.0)
    assert [reserved.session.session_id for reserved in taken] == ["idle"]
    assert registry.get("idle").state is CLOSING
    assert registry.take_idle(100.0) == ()


def test_a_session_without_an_idle_timeout_is_never_idle(registry: SessionRegistry) -> None:
    ready(registry, "a", last_used_mono=0.0, idle_timeout=0)
    assert registry.take_idle(1e12) == ()


@pytest.mark.parametrize("timeout", [5, 60])
def test_a_new_idle_timeout_counts_from_the_last_use(registry: SessionRegistry, timeout: float) -> None:
    ready(registry, "a", last_used_mono=0.0, idle_timeout=10)
    registry.update("a", lambda known: replace(known, idle_timeout=timeout))
    assert registry.take_idle(timeout - 1) == ()
    assert len(registry.take_idle(timeout)) == 1


def test_a_session_that_was_in_use_when_it_was_due_is_idle_as_soon_as_it_may_be(
    registry: SessionRegistry,
) -> None:
    held = ready(registry, "a", last_used_mono=0.0, idle_timeout=10)
    registry.hold(held)
    assert registry.take_idle(100.0) == ()
    registry.release(held)
    assert len(registry.take_idle(100.0)) == 1


def test_a_session_whose_last_use_was_elsewhere_and_earlier_is_idle_earlier(
    registry: SessionRegistry,
) -> None:
    ready(registry, "a", last_used_mono=90.0, idle_timeout=10)
    registry.update("a", lambda known: replace(known, last_used_mono=80.0))
    assert len(registry.take_idle(91.0)) == 1


def test_a_lease_ends_when_it_expires_and_a_renewed_one_later(registry: SessionRegistry) -> None:
    lease = Lease("me", "mine", NOW, 50.0)
    ready(registry, "a", lease=lease)
    ready(registry, "b", lease=lease)
    registry.update("b", lambda known: replace(known, lease=replace(lease, expires_mono=70.0)))
    registry.expire_leases(60.0)
    assert (registry.get("a").lease, registry.get("a").last_used_mono) == (None, 50.0)
    assert registry.get("b").lease is not None
    registry.expire_leases(70.0)
    assert registry.get("b").lease is None


def test_a_session_is_found_by_its_secret_until_it_is_removed(registry: SessionRegistry) -> None:
    one = ready(registry, "a", socket_secret="s3cret")
    assert registry.of_secret("s3cret") == registry.get("a")
    assert registry.has_open(None, None, "s3cret")
    registry.forget(one)
    assert not registry.has_open(None, None, "s3cret")
    with pytest.raises(SessionNotFound):
        registry.of_secret("s3cret")


def test_a_warm_browser_has_no_address_of_its_own(registry: SessionRegistry) -> None:
    registry.reserve_warm(lambda: session("warm:1", warm=True, socket_secret="s3cret"), wanted=1)
    assert not registry.has_open(None, None, "s3cret")


def test_a_held_session_is_not_idle(registry: SessionRegistry) -> None:
    ready(registry, "a", last_used_mono=0.0, idle_timeout=10)
    hold(registry, "a")
    assert registry.take_idle(100.0) == ()


def test_every_session_is_protected_in_every_state(registry: SessionRegistry) -> None:
    starting = reserve(registry, "a")
    closing = registry.begin(ready(registry, "b"), CLOSING)
    assert isinstance(closing, Reserved)
    first, second = registry.protected()
    assert (first.session_id, first.folder, first.pids) == (
        "a",
        str(starting.session.folder.path),
        frozenset(),
    )
    assert (second.session_id, second.pids) == ("b", RUNNING.pids)


def test_closing_the_gate_drops_all_sessions_and_returns_the_work_in_progress(
    registry: SessionRegistry,
) -> None:
    start = reserve(registry, "a")
    ready(registry, "b")
    assert registry.close_gate() == (start.work,)
    assert registry.sessions() == ()
    assert registry.publish(start.session, running=RUNNING) is None


def test_nothing_starts_while_the_gate_is_closed_and_waiters_are_served_when_it_opens(
    registry: SessionRegistry,
) -> None:
    registry.close_gate()
    first, second = queue(registry, "a"), queue(registry, "b")
    assert not first.granted.done()
    registry.open_gate()
    assert isinstance(answer_of(first), Reserved)
    assert isinstance(answer_of(second), Reserved)


def test_nothing_is_evicted_while_the_gate_is_closed() -> None:
    registry = SessionRegistry(max_sessions=1, max_waiting=3, journal=MemoryJournal())
    evictor = Evictor(registry)
    registry.close_gate()
    queue(registry, "a")
    queue(registry, "b")
    assert evictor.ids == []


def test_the_stop_fails_all_waiters_and_all_later_claims(registry: SessionRegistry) -> None:
    reserve(registry, "a")
    reserve(registry, "b")
    waiters = [queue(registry, "c"), queue(registry, "d")]
    assert not registry.stopping
    assert [left.session_id for left in registry.stop()] == ["a", "b"]
    assert registry.stopping
    assert all(isinstance(waiter.granted.exception(), ShuttingDown) for waiter in waiters)
    with pytest.raises(ShuttingDown):
        registry.claim(claim("a"))


def test_a_session_can_be_closed_after_the_stop(registry: SessionRegistry) -> None:
    ready(registry, "a")
    (left,) = registry.stop()
    begun = registry.begin(left, CLOSING)
    assert isinstance(begun, Reserved)
    assert registry.forget(begun.session)


def test_the_repr_of_the_registry_has_counts(registry: SessionRegistry) -> None:
    reserve(registry, "a")
    registry.begin(ready(registry, "b"), CLOSING)
    queue(registry, "c")
    assert repr(registry) == (
        "<SessionRegistry 2/2: 1 starting, 0 ready, 0 recovering, 1 closing, 1 waiting>"
    )


def test_sessions_are_listed_in_the_order_of_their_creation() -> None:
    registry = SessionRegistry(max_sessions=9, max_waiting=0, journal=MemoryJournal())
    names = ["z", "a", "m"]
    for name in names:
        ready(registry, name)
    assert [found.session_id for found in registry.sessions()] == names


def evict(registry: SessionRegistry) -> None:
    while victims := registry.take_evicted():
        for victim in victims:
            registry.forget(victim.session)


def test_with_many_threads_no_caller_waits_forever_and_no_place_is_granted_twice() -> None:
    registry = SessionRegistry(max_sessions=3, max_waiting=200, journal=MemoryJournal())
    most = threading.local()

    def visit(number: int) -> int:
        most.seen = 0
        for granted in range(20):
            answer = registry.claim(claim(f"id-{(number * 7 + granted) % 6}"))
            evict(registry)
            if isinstance(answer, Waiter):
                answer = answer.granted.result(timeout=30)
            most.seen = max(most.seen, len(registry.sessions()))
            _finish(registry, answer)
            evict(registry)
        seen: int = most.seen
        return seen

    assert max(run_concurrently([lambda number=number: visit(number) for number in range(8)])) <= 3  # type: ignore[misc]
    assert "0 waiting" in repr(registry)


def _finish(registry: SessionRegistry, answer: Available | InProgress | Reserved) -> None:
    if isinstance(answer, Reserved):
        published = registry.publish(answer.session, running=RUNNING)
        registry.release(answer.session)
        if published is None:
            answer.work.set_exception(SessionLost("lost"))
        else:
            answer.work.set_result(published)
    elif isinstance(answer, Available):
        registry.release(answer.session)


def test_a_session_is_made_only_when_a_place_is_granted(registry: SessionRegistry) -> None:
    made: list[Session] = []

    def make() -> Session:
        made.append(session("c"))
        return made[-1]

    taken = [reserve(registry), reserve(registry)]
    waiter = registry.claim(Claim("c", None, make))
    assert isinstance(waiter, Waiter)
    assert made == []
    registry.forget(taken[0].session)
    assert [replace(answer_of(waiter).session, callers=0, epoch=0)] == made
    assert isinstance(answer_of(waiter), Reserved)
    assert isinstance(waiter.granted, Future)


def test_a_session_that_closes_is_in_the_list_but_not_open(registry: SessionRegistry) -> None:
    ready(registry, "a", key="k")
    assert registry.has_open("a", None)
    assert registry.has_open(None, "k")
    assert not registry.has_open("b", "other")
    assert isinstance(registry.begin(registry.get("a"), CLOSING), Reserved)
    assert registry.has("a", "k")
    assert not registry.has_open("a", "k")


def test_those_who_wait_are_sent_to_other_nodes_in_their_order() -> None:
    registry = SessionRegistry(1, 4, MemoryJournal())
    with in_command(registry, ready(registry, "one")):
        waiting = {name: queue(registry, key=name) for name in ("a", "b", "known", "c")}
        registry.send_away(NotOwner("elsewhere"), lambda claim: claim.key == "known", room=2)
        told = {name: waiter.granted.done() for name, waiter in waiting.items()}
        assert told == {"a": True, "b": True, "known": True, "c": False}
        with pytest.raises(NotOwner):
            waiting["a"].granted.result()
        assert registry.waiting == 1


def going(
    registry: SessionRegistry, *, has_place: bool = True, accepts_new: bool = True
) -> Reserved | Waiter:
    """Claim a new session for a request that may go to another node."""
    with may_go(Elsewhere(lambda: has_place, lambda: accepts_new)):
        answer = registry.claim(claim())
    assert isinstance(answer, (Reserved, Waiter))
    return answer


def test_nothing_is_evicted_for_a_request_that_has_a_place_at_another_node(registry: SessionRegistry) -> None:
    ready(registry, "idle")
    # Two requests see one free place here, and both come for it.
    assert isinstance(going(registry), Reserved)
    with pytest.raises(NotOwner):
        going(registry)
    assert registry.take_evicted() == ()
    assert registry.waiting == 0
    assert isinstance(going(registry, has_place=False), Waiter)
    assert [one.session.session_id for one in registry.take_evicted()] == ["idle"]


def test_a_warm_browser_gives_way_to_one_request_before_others_go_to_another_node() -> None:
    registry = SessionRegistry(1, 4, MemoryJournal())
    warm = registry.reserve_warm(lambda: session("warm:1", warm=True), 1)
    assert warm is not None
    assert isinstance(going(registry), Waiter)
    with pytest.raises(NotOwner):
        going(registry)


def test_without_the_memory_for_a_browser_no_place_is_free(registry: SessionRegistry) -> None:
    assert registry.room == Room(free=2, accepts_new=True)
    registry.set_memory(MemoryRoom(available_mb=100.0, min_free_mb=256.0))
    assert registry.room == Room(lacks_memory_only=True, accepts_new=True)
    with pytest.raises(NotOwner):
        going(registry)


def test_a_drain_sends_requests_to_other_nodes_if_there_are_any(registry: SessionRegistry) -> None:
    with in_command(registry, ready(registry, "one")), in_command(registry, ready(registry, "two")):
        goes, stays = going(registry, has_place=False), going(registry, has_place=False, accepts_new=False)
        registry.drain()
        for waiter, error in ((goes, NotOwner), (stays, ShuttingDown)):
            assert isinstance(waiter, Waiter)
            with pytest.raises(error):
                waiter.granted.result(0)
    with pytest.raises(NotOwner):
        going(registry)
    with pytest.raises(ShuttingDown):
        going(registry, accepts_new=False)
