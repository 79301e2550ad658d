"""What each stop signal does: begin a drain, stop in order, end at once."""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable

import pytest

from drover.server.signals import StopSignals

TIMEOUT_S = 10.0
DRAIN, KILL = "drain", "kill"


class Service:
    """Records what the signals have it do; `does` waits for the next thing."""

    def __init__(self, *, drains: bool) -> None:
        self._done: queue.Queue[str] = queue.Queue()
        self._drains = drains
        self.signals = StopSignals(self._done.put, lambda: self._done.put(KILL), self._drain)

    def _drain(self) -> bool:
        if self._drains:
            self._done.put(DRAIN)
        return self._drains

    def receive(self, *received: int) -> None:
        for number in received:
            self.signals._note(number, None)

    def does(self) -> str:
        return self._done.get(timeout=TIMEOUT_S)

    def does_nothing_more(self) -> bool:
        return self._done.empty()


@pytest.fixture
def exit_codes(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[int]:
    codes: queue.Queue[int] = queue.Queue()
    monkeypatch.setattr("os._exit", codes.put)
    return codes


@pytest.fixture
def service(exit_codes: queue.Queue[int]) -> Callable[..., Service]:
    return Service


def test_the_first_signal_stops_and_the_second_ends_at_once(
    service: Callable[..., Service], exit_codes: queue.Queue[int]
) -> None:
    plain = service(drains=False)
    plain.receive(signal.SIGTERM)
    assert plain.does() == "SIGTERM"
    plain.receive(signal.SIGINT)
    assert plain.does() == KILL
    assert exit_codes.get(timeout=TIMEOUT_S) == 128 + signal.SIGINT


def test_sigterm_begins_a_drain_and_the_next_signal_stops(
    service: Callable[..., Service], exit_codes: queue.Queue[int]
) -> None:
    draining = service(drains=True)
    draining.receive(signal.SIGTERM)
    assert draining.does() == DRAIN
    assert not draining.signals.stopping
    draining.receive(signal.SIGTERM)
    assert draining.does() == "SIGTERM"
    assert draining.signals.stopping
    draining.receive(signal.SIGTERM)
    assert draining.does() == KILL
    assert exit_codes.get(timeout=TIMEOUT_S) == 128 + signal.SIGTERM


def test_the_end_of_the_drain_stops_and_a_signal_does_not_interrupt_that(
    service: Callable[..., Service], exit_codes: queue.Queue[int]
) -> None:
    draining = service(drains=True)
    draining.receive(signal.SIGTERM)
    assert draining.does() == DRAIN
    draining.signals.stop_for("drained")
    assert draining.does() == "drained"
    draining.receive(signal.SIGTERM, signal.SIGTERM)
    assert draining.does() == KILL
    assert exit_codes.get(timeout=TIMEOUT_S) == 128 + signal.SIGTERM
    assert draining.does_nothing_more()


def test_an_interrupt_never_drains(service: Callable[..., Service], exit_codes: queue.Queue[int]) -> None:
    draining = service(drains=True)
    draining.receive(signal.SIGINT)
    assert draining.does() == "SIGINT"
