"""Unit tests for what follows from a port that refuses connections."""

from __future__ import annotations

import socket
from contextlib import closing

from drover.server.port_watch import MAX_FAILURES, PortState, refuses


def test_a_single_refusal_has_no_consequence() -> None:
    assert not PortState().seen(refused=True).is_refused


def test_a_second_refusal_in_a_row_means_listening_again() -> None:
    assert PortState().seen(refused=True).seen(refused=True).is_refused


def test_an_accepted_connection_makes_earlier_refusals_and_failures_void() -> None:
    state = PortState(refusals=5, failures=MAX_FAILURES - 1)
    assert state.seen(refused=False) == PortState()


def test_listening_again_is_given_up_after_the_last_failure_only() -> None:
    state = PortState(refusals=2)
    for _ in range(MAX_FAILURES - 1):
        state = state.failed()
        assert state.is_refused
        assert not state.is_lost
    assert state.failed().is_lost


def test_a_port_on_which_nothing_listens_refuses() -> None:
    with closing(socket.socket()) as bound_only:
        bound_only.bind(("127.0.0.1", 0))
        assert refuses(bound_only.getsockname())


def test_a_listener_on_all_addresses_is_tried_through_loopback() -> None:
    with closing(socket.socket()) as listener:
        listener.bind(("0.0.0.0", 0))  # noqa: S104 - that is the case
        listener.listen()
        assert not refuses(listener.getsockname())
