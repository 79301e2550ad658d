from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.browser import survival
from drover.browser.health import PROBES_UNTIL_HUNG, Cause, Probe, ProbeResult
from drover.browser.survival import (
    CLOSING_S,
    BrowserGone,
    BrowserLives,
    BrowserSilent,
    NotAsked,
    examine,
    judge,
)
from drover.core.errors import BrowserUnavailable
from drover.processes.table import Liveness
from tests.unit.examples import RUNNING

GUID = RUNNING.browser_guid
TIMEOUT_S = 2.0


def answer(guid: str) -> Probe:
    return Probe(ProbeResult.ANSWERED, 200, {"webSocketDebuggerUrl": f"ws://x/devtools/browser/{guid}"})


SILENT = Probe(ProbeResult.SILENT, error="no answer within 2 s")
REFUSED = Probe(ProbeResult.REFUSED, error="connection refused")
NOT_ASKED = Probe(ProbeResult.NOT_ASKED, error="too many open files")


@pytest.mark.parametrize(
    ("process", "version", "verdict"),
    [
        (Liveness.ALIVE, answer(GUID), BrowserLives),
        (Liveness.ALIVE, answer("another"), BrowserGone),
        (Liveness.ALIVE, Probe(ProbeResult.ANSWERED, 200, {"no": "guid"}), BrowserSilent),
        (Liveness.ALIVE, Probe(ProbeResult.ANSWERED, 500, None), BrowserSilent),
        (Liveness.ALIVE, SILENT, BrowserSilent),
        (Liveness.ALIVE, REFUSED, BrowserSilent),
        (Liveness.ALIVE, Probe(ProbeResult.CUT_OFF, error="reset"), BrowserSilent),
        (Liveness.ALIVE, NOT_ASKED, NotAsked),
        (Liveness.STOPPED, Probe(), BrowserGone),
        (Liveness.DYING, Probe(), BrowserGone),
        (Liveness.GONE, answer(GUID), BrowserGone),
    ],
)
def test_only_a_process_that_ended_or_stopped_or_another_browser_is_proof(
    process: Liveness, version: Probe, verdict: type
) -> None:
    assert isinstance(judge(process, version, GUID), verdict)


probes = st.builds(
    Probe, st.sampled_from(ProbeResult), st.just(200), st.sampled_from([None, {}, answer(GUID).body, "x", []])
)


@given(probes)
def test_a_living_process_is_never_gone_unless_another_browser_answers(version: Probe) -> None:
    assert not isinstance(judge(Liveness.ALIVE, version, GUID), BrowserGone)


class World:
    """A browser as it looks at each probe; a probe takes its timeout, and the clock moves with sleeps."""

    def __init__(self, *looks: Probe, process: Liveness = Liveness.ALIVE) -> None:
        self.now = 0.0
        self.asked = 0
        self._looks = itertools.chain(looks, itertools.repeat(looks[-1]))
        self._process = process

    def probe(self, *_: object) -> Probe:
        self.asked += 1
        found = next(self._looks)
        self.now += TIMEOUT_S if found is SILENT else 0.001
        return found

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def liveness(self, _: object) -> Liveness:
        return self._process


@pytest.fixture(name="enter")
def _enter(monkeypatch: pytest.MonkeyPatch) -> Callable[[World], World]:
    def enter(world: World) -> World:
        monkeypatch.setattr(survival, "probe", world.probe)
        monkeypatch.setattr(survival, "liveness", world.liveness)
        clock = SimpleNamespace(sleep=world.sleep, monotonic=lambda: world.now)
        monkeypatch.setattr(survival, "time", clock)
        return world

    return enter


Enter = Callable[[World], World]


@pytest.mark.parametrize("look", [SILENT, REFUSED])
def test_a_silent_browser_is_hung_after_as_many_probes_as_a_health_check_needs(
    enter: Enter, look: Probe
) -> None:
    world = enter(World(look))
    assert isinstance(examine(RUNNING, Cause.DRIVER_GONE, TIMEOUT_S), BrowserGone)
    assert world.asked == PROBES_UNTIL_HUNG
    assert world.now >= (PROBES_UNTIL_HUNG - 1) * TIMEOUT_S


def test_a_browser_that_answers_the_last_probe_lives(enter: Enter) -> None:
    enter(World(SILENT, REFUSED, answer(GUID)))
    assert examine(RUNNING, Cause.BROWSER_GONE, TIMEOUT_S) == BrowserLives()


def test_a_browser_that_was_found_hung_gets_one_more_probe(enter: Enter) -> None:
    world = enter(World(SILENT))
    assert isinstance(examine(RUNNING, Cause.BROWSER_HUNG, TIMEOUT_S), BrowserGone)
    assert world.asked == 1
    enter(World(answer(GUID)))
    assert examine(RUNNING, Cause.BROWSER_HUNG, TIMEOUT_S) == BrowserLives()


@pytest.mark.parametrize("process", [Liveness.GONE, Liveness.DYING, Liveness.STOPPED])
def test_a_process_that_ended_or_is_stopped_is_not_asked(enter: Enter, process: Liveness) -> None:
    world = enter(World(SILENT, process=process))
    assert isinstance(examine(RUNNING, Cause.DRIVER_GONE, TIMEOUT_S), BrowserGone)
    assert world.asked == 0


@pytest.mark.parametrize("cause", list(Cause))
def test_a_failure_on_this_side_proves_nothing(enter: Enter, cause: Cause) -> None:
    enter(World(NOT_ASKED))
    with pytest.raises(BrowserUnavailable, match="too many open files"):
        examine(RUNNING, cause, TIMEOUT_S)


def test_a_browser_without_a_window_gets_time_to_end(enter: Enter) -> None:
    world = enter(World(answer(GUID)))
    assert examine(RUNNING, Cause.WINDOW_GONE, TIMEOUT_S) == BrowserLives()
    assert world.now >= CLOSING_S
    enter(World(answer(GUID), answer(GUID), answer("another")))
    assert isinstance(examine(RUNNING, Cause.WINDOW_GONE, TIMEOUT_S), BrowserGone)
