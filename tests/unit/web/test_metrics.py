"""Prometheus metrics: names, units, and counters that follow events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from drover.browser.health import Cause
from drover.browser.recovery import Method
from drover.core import events
from drover.core.events import Event, EventHub
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.cluster_values import NodeState
from drover.web.metrics import Metrics
from tests.unit.examples import MemoryJournal, hold, in_command, node, queue, ready, reserve

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def families(metrics: Metrics) -> Iterable[Metric]:
    return text_string_to_metric_families(metrics.exposition().decode())


def samples(metrics: Metrics) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(metrics)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


@pytest.fixture
def registry() -> SessionRegistry:
    return SessionRegistry(2, 4, MemoryJournal())


@pytest.fixture
def metrics(registry: SessionRegistry) -> Metrics:
    return Metrics(registry, lambda: True)


def test_names_and_units_follow_the_conventions_of_prometheus(metrics: Metrics) -> None:
    for family in families(metrics):
        if family.name.endswith("_created") or family.name.startswith("process_"):
            continue
        assert re.fullmatch(r"drover(_[a-z]+)+", family.name)
        assert family.documentation
        assert not re.search(r"_(ms|mb|milliseconds|megabytes)\b", family.name)
        if family.type == "counter":
            assert {sample.name for sample in family.samples} == {f"{family.name}_total"}
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_every_label_value_exists_from_the_start_at_zero(metrics: Metrics) -> None:
    for cause in Cause:
        assert value(metrics, "drover_recovery_failures_total", cause=cause.value) == 0
        for method in Method:
            assert value(metrics, "drover_recoveries_total", cause=cause.value, method=method.value) == 0
            assert value(metrics, "drover_recovery_duration_seconds_count", method=method.value) == 0
    for why in CloseReason:
        assert value(metrics, "drover_closes_total", why=why.value) == 0
    for state in ("starting", "ready", "recovering", "closing"):
        assert value(metrics, "drover_sessions", state=state) == 0


@pytest.mark.parametrize(
    ("event", "raised"),
    [
        (events.SessionCreated("a", 1, 2, 640), {"drover_starts_total": {"result": "ok"}}),
        (events.WarmBrowserReady("a", 1, 2, 640), {"drover_start_duration_seconds_count": {}}),
        (events.SessionStartFailed("a", "no"), {"drover_starts_total": {"result": "failed"}}),
        (events.CapabilitiesRejected("a", "no"), {"drover_starts_total": {"result": "rejected"}}),
        (
            events.SessionRecovered("a", "driver_gone", "reattached", 131),
            {
                "drover_recoveries_total": {"cause": "driver_gone", "method": "reattached"},
                "drover_recovery_duration_seconds_count": {"method": "reattached"},
            },
        ),
        (
            events.SessionRecoveryFailed("a", "browser_hung", "no"),
            {"drover_recovery_failures_total": {"cause": "browser_hung"}},
        ),
        (events.SessionClosed("a", "evicted"), {"drover_closes_total": {"why": "evicted"}}),
        (events.SessionCloseIncomplete("a", "no"), {"drover_close_failures_total": {}}),
        (events.CleanupFinished(0, 0), {"drover_cleanups_total": {"result": "complete"}}),
        (events.CleanupFinished(0, 0, 1), {"drover_cleanups_total": {"result": "incomplete"}}),
        (events.CleanupFailed("no"), {"drover_cleanups_total": {"result": "failed"}}),
        (events.EmergencyFinished(0), {"drover_emergency_recoveries_total": {}}),
        (events.ProcessSurvived(1, "no"), {"drover_kill_failures_total": {}}),
        (events.StoreFailed("no"), {"drover_trouble_total": {"part": "store"}}),
        (events.StoreSetAside("/x", "no"), {"drover_trouble_total": {"part": "store"}}),
        (events.UpkeepFailed("watch", "no"), {"drover_trouble_total": {"part": "upkeep"}}),
        (events.GridSlotNotFreed("a", "no"), {"drover_trouble_total": {"part": "grid"}}),
        (events.GridNodeNotDrained("no"), {"drover_trouble_total": {"part": "grid"}}),
        (events.JobFailed("watch", "a", "no"), {"drover_job_failures_total": {"kind": "watch"}}),
        (events.JobFailedAgain("watch", "a", "no"), {"drover_job_failures_total": {"kind": "watch"}}),
        (events.UpkeepFailedAgain("watch", "no"), {"drover_trouble_total": {"part": "upkeep"}}),
    ],
    ids=lambda example: type(example).__name__,
)
def test_an_event_raises_its_counter_by_one(
    metrics: Metrics, event: Event, raised: dict[str, dict[str, str]]
) -> None:
    hub = EventHub()
    hub.subscribe(metrics.hear)
    hub.emit(event)
    for name, labels in raised.items():
        assert value(metrics, name, **labels) == 1


def test_durations_are_in_seconds(metrics: Metrics) -> None:
    metrics.hear(events.SessionCreated("a", 1, 2, 640))
    metrics.hear(events.SessionRecovered("a", "driver_gone", "reattached", 131))
    metrics.observe_relay(0.003)
    assert value(metrics, "drover_start_duration_seconds_sum") == 0.64
    assert value(metrics, "drover_recovery_duration_seconds_sum", method="reattached") == 0.131
    assert value(metrics, "drover_relay_duration_seconds_bucket", le="0.002") == 0
    assert value(metrics, "drover_relay_duration_seconds_bucket", le="0.005") == 1


def test_kills_count_ended_processes_by_verdict(metrics: Metrics) -> None:
    metrics.hear(events.KillingProcess(7, "driver", orphaned=True))
    metrics.hear(events.CleanupFinished(3, 2))
    metrics.hear(events.EmergencyFinished(15))
    assert value(metrics, "drover_kills_total", verdict="orphan") == 3
    assert value(metrics, "drover_kills_total", verdict="everything") == 15
    assert value(metrics, "drover_removed_profiles_total") == 2


def test_no_event_adds_a_new_label_value(metrics: Metrics) -> None:
    before = set(samples(metrics))
    for event in (
        events.SessionRecovered("a", Cause.TAB_CRASHED.value, Method.RESTORED.value, 1),
        events.SessionClosed("a", CloseReason.RETRIED.value),
        events.CleanupTriggered(),
        events.ServiceStopped(),
    ):
        metrics.hear(event)
    assert set(samples(metrics)) == before


def test_the_registry_is_read_at_each_scrape(registry: SessionRegistry, metrics: Metrics) -> None:
    first = ready(registry, "a")
    registry.note(first, memory_mb=312.4)
    reserve(registry, "b")
    assert value(metrics, "drover_sessions", state="ready") == 1
    assert value(metrics, "drover_sessions", state="starting") == 1
    assert value(metrics, "drover_sessions_limit") == 2
    assert value(metrics, "drover_sessions_memory_bytes") == 312_400_000
    assert value(metrics, "drover_sessions_in_use") == 0
    with in_command(registry, hold(registry, "a")):
        queue(registry, "c")
        assert value(metrics, "drover_sessions_in_use") == 1
        assert value(metrics, "drover_waiting_requests") == 1


def test_a_warm_browser_is_not_counted_as_a_session(registry: SessionRegistry, metrics: Metrics) -> None:
    registry.adopt(replace(ready(SessionRegistry(1, 1, MemoryJournal()), "w"), warm=True))
    assert value(metrics, "drover_warm_browsers") == 1
    assert value(metrics, "drover_sessions", state="ready") == 0


@pytest.mark.parametrize("healthy", [True, False])
def test_health_is_one_or_zero(registry: SessionRegistry, healthy: bool) -> None:
    assert value(Metrics(registry, lambda: healthy), "drover_healthy") == int(healthy)


def test_only_what_is_known_of_other_machines_names_one(registry: SessionRegistry) -> None:
    nodes = (node(1), replace(node(2), state=NodeState.DRAINING), replace(node(3), state=NodeState.LOST))
    metrics = Metrics(registry, lambda: True, lambda: nodes)
    assert [value(metrics, "drover_node_up", node=f"n{number}") for number in (1, 2, 3)] == [1, 1, 0]
    named = {
        line.partition("{")[0] for line in metrics.exposition().decode().splitlines() if 'node="' in line
    }
    assert named == {"drover_node_up"}


def test_two_services_have_separate_metrics(registry: SessionRegistry) -> None:
    one, other = Metrics(registry, lambda: True), Metrics(registry, lambda: True)
    one.hear(events.EmergencyFinished(1))
    assert value(other, "drover_emergency_recoveries_total") == 0
