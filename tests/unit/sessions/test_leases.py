"""Leases: which client may use a session, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.core.errors import SessionInUse, SessionLost
from drover.sessions.pool.acquire_request import AcquireRequest, new_lease, taken
from drover.sessions.pool.leases import check_lease, expired, given_back, leased
from drover.sessions.pool.session import Lease, SessionState
from tests.unit.examples import NOW, session

MINE = Lease("me", "mine", NOW + timedelta(seconds=60), 160.0)
ASKED = AcquireRequest("one", None, None, CheckedCapabilities({}), None)


def test_a_session_without_a_lease_needs_no_token() -> None:
    check_lease(session(), None)
    check_lease(session(), "whatever")


@pytest.mark.parametrize("token", [None, "", "other", "MINE", "mïne"])
def test_a_leased_session_needs_the_token(token: str | None) -> None:
    held = session(lease=MINE)
    check_lease(held, "mine")
    with pytest.raises(SessionInUse, match="leased by me until 19:41:00 UTC"):
        check_lease(held, token)


def test_a_lease_without_a_holder_is_another_clients() -> None:
    with pytest.raises(SessionInUse, match="leased by another client"):
        check_lease(session(lease=replace(MINE, holder=None)), None)


def test_a_lease_puts_a_session_in_use_and_keeps_it_from_being_evicted() -> None:
    plain = session(state=SessionState.READY)
    assert (plain.in_use, plain.evictable) == (False, True)
    held = leased(plain, MINE, None)
    assert (held.in_use, held.evictable) == (True, False)


def test_a_renewal_keeps_the_token_and_sets_the_new_expiry_and_holder() -> None:
    later = Lease("still me", "new", NOW + timedelta(seconds=600), 700.0)
    renewed = leased(session(lease=MINE), later, "mine").lease
    assert renewed == replace(later, token="mine")


def test_a_renewal_that_names_no_holder_keeps_the_holder() -> None:
    renewed = leased(session(lease=MINE), new_lease(60, None), "mine").lease
    assert renewed is not None
    assert (renewed.holder, renewed.token) == ("me", "mine")


def test_another_clients_lease_is_neither_renewed_nor_ended() -> None:
    held = session(lease=MINE)
    with pytest.raises(SessionInUse):
        leased(held, replace(MINE, token="other"), "other")
    with pytest.raises(SessionInUse):
        given_back(held, None)


def test_a_session_that_is_being_closed_cannot_be_leased() -> None:
    with pytest.raises(SessionLost, match="is being closed"):
        leased(session(state=SessionState.CLOSING), MINE, None)


def test_ending_a_lease_counts_as_activity() -> None:
    held = session(lease=MINE)
    free = given_back(held, "mine")
    assert free.lease is None
    assert free.last_used_mono > held.last_used_mono
    assert free.last_used > held.last_used


def test_ending_the_lease_of_an_unleased_session_changes_nothing() -> None:
    plain = session()
    assert given_back(plain, "old token") is plain


@pytest.mark.parametrize(("now", "over"), [(159.9, False), (160.0, True), (1e9, True)])
def test_a_lease_expires_at_its_time_and_not_before(now: float, over: bool) -> None:
    assert (expired(session(lease=MINE), now).lease is None) is over
    assert expired(session(), now) is not None


def test_the_idle_time_begins_at_the_end_of_the_lease() -> None:
    free = expired(session(lease=MINE, idle_timeout=30, state=SessionState.READY), 161.0)
    assert (free.last_used_mono, free.last_used) == (160.0, MINE.expires_at)
    assert not free.idle_at(189.0)
    assert free.idle_at(190.0)


def test_activity_after_the_end_of_the_lease_is_kept() -> None:
    free = expired(session(lease=MINE, last_used_mono=500.0), 501.0)
    assert free.last_used_mono == 500.0


def test_new_leases_have_different_tokens_that_are_not_in_their_repr() -> None:
    one, other = new_lease(5, None), new_lease(5, None)
    assert one.token != other.token
    assert one.token not in repr(session(lease=one))


def test_a_session_that_was_leased_after_the_claim_is_not_handed_over() -> None:
    with pytest.raises(SessionInUse):
        taken(session(lease=MINE), ASKED, None)


def test_the_holder_gets_the_session_with_the_lease_unchanged() -> None:
    handed = taken(session(lease=MINE), replace(ASKED, token="mine"), None)
    assert handed.lease == MINE


def test_an_unleased_session_is_handed_over_with_the_requested_lease() -> None:
    assert taken(session(), ASKED, MINE).lease == MINE
    assert taken(session(), ASKED, None).lease is None
