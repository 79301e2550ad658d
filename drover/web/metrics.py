"""Prometheus metrics: counters that follow events, and gauges that are read from the registry at a scrape.

Nothing here calls a browser or reads the process table, so a scrape takes a few milliseconds whatever hangs.
Names and units follow https://prometheus.io/docs/practices/naming/. Every label value exists from the start,
at 0, so that the first increase is visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from drover.browser.health import Cause
from drover.browser.recovery import Method
from drover.core import events
from drover.core.events import Event
from drover.core.jobs import JobKind
from drover.core.version import VERSION
from drover.sessions.lifecycle.close_work import CloseReason
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import SessionState
from drover.storage.cluster_values import Node, NodeState

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BYTES_PER_MB = 1_000_000
"""`memory_mb` of a session is in units of 1,000,000 bytes."""

_START_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)
_RECOVERY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)
_RELAY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0)


class Metrics:
    """The metrics of one service, in a Prometheus registry of their own.

    Args:
        sessions: The list of sessions; read at each scrape.
        is_healthy: Returns whether `GET /health` would answer 200.
        nodes: Returns all machines of the service; none if there is only one.
    """

    def __init__(
        self,
        sessions: SessionRegistry,
        is_healthy: Callable[[], bool],
        nodes: Callable[[], Sequence[Node]] = tuple,
    ) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Gauges(sessions, is_healthy, nodes))
        Info("drover", "Version of the running service", registry=registry).info({"version": VERSION})
        self._groups = (_OfSessions(registry), _OfCleanups(registry), _OfTheService(registry))
        self.observe_relay: Callable[[float], None] = Histogram(
            "drover_relay_duration_seconds",
            "Time from a WebDriver command to its response, including ChromeDriver's own time",
            buckets=_RELAY_BUCKETS_S,
            registry=registry,
        ).observe
        """Record how many seconds one relayed command took; costs about two microseconds."""

    def hear(self, event: Event) -> None:
        """Count an event; subscribe this to the event hub."""
        for group in self._groups:
            group.hear(event)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format, of the type `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _OfSessions:
    """The metrics of starts, recoveries and closes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter, seconds = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self._starts = counter(
            "drover_starts", "Browser starts for new sessions, warm browsers included, by result", ["result"]
        )
        self._start_seconds = seconds(
            "drover_start_duration_seconds",
            "Time from starting ChromeDriver until the session was ready, for successful starts",
            buckets=_START_BUCKETS_S,
        )
        self._recoveries = counter(
            "drover_recoveries", "Successful recoveries of sessions, by cause and method", ["cause", "method"]
        )
        self._recovery_seconds = seconds(
            "drover_recovery_duration_seconds",
            "Time from finding a session dead until it was ready again",
            ["method"],
            buckets=_RECOVERY_BUCKETS_S,
        )
        self._recovery_failures = counter(
            "drover_recovery_failures", "Failed attempts to recover a session, by cause", ["cause"]
        )
        self._closes = counter(
            "drover_closes", "Closed sessions, whose processes were verified to be gone, by reason", ["why"]
        )
        self._close_failures = counter(
            "drover_close_failures", "Attempts to close a session that left processes or folders"
        )
        _create(self._starts, ("ok", "rejected", "failed"))
        for cause, method in product(Cause, Method):
            self._recoveries.labels(cause.value, method.value)
        _create(self._recovery_seconds, [method.value for method in Method])
        _create(self._recovery_failures, [cause.value for cause in Cause])
        _create(self._closes, [why.value for why in CloseReason])

    def hear(self, event: Event) -> None:
        match event:
            case events.SessionCreated():
                self._starts.labels("ok").inc()
                self._start_seconds.observe(event.duration_ms / 1000)
            case events.CapabilitiesRejected():
                self._starts.labels("rejected").inc()
            case events.SessionStartFailed():
                self._starts.labels("failed").inc()
            case events.SessionRecovered():
                self._recoveries.labels(event.cause, event.method).inc()
                self._recovery_seconds.labels(event.method).observe(event.duration_ms / 1000)
            case events.SessionRecoveryFailed():
                self._recovery_failures.labels(event.cause).inc()
            case events.SessionClosed():
                self._closes.labels(event.why).inc()
            case events.SessionCloseIncomplete():
                self._close_failures.inc()
            case _:
                return


class _OfCleanups:
    """The metrics of cleanups and emergency recoveries."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self._cleanups = counter(
            "drover_cleanups",
            "Cleanups of orphans, by result: complete, incomplete (a process could not be ended), "
            "or failed (aborted, or too slow for the recovery that requested it)",
            ["result"],
        )
        self._emergencies = counter("drover_emergency_recoveries", "Emergency recoveries")
        self._kills = counter(
            "drover_kills",
            "Processes that were ended and are gone: orphans by a cleanup, everything by an emergency",
            ["verdict"],
        )
        self._survivors = counter("drover_kill_failures", "Processes that could not be ended")
        self._removed_profiles = counter(
            "drover_removed_profiles", "Orphaned session folders that cleanups removed"
        )
        _create(self._cleanups, ("complete", "incomplete", "failed"))
        _create(self._kills, ("orphan", "everything"))

    def hear(self, event: Event) -> None:
        match event:
            case events.CleanupFinished():
                self._cleanups.labels("incomplete" if event.failed_count else "complete").inc()
                self._kills.labels("orphan").inc(event.killed_count)
                self._removed_profiles.inc(event.removed_profiles)
            case events.CleanupFailed():
                self._cleanups.labels("failed").inc()
            case events.EmergencyFinished():
                self._emergencies.inc()
                self._kills.labels("everything").inc(event.killed_count)
            case events.ProcessSurvived():
                self._survivors.inc()
            case _:
                return


class _OfTheService:
    """The metrics of failures of the service itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._trouble = Counter(
            "drover_trouble",
            "Failures of the service itself: the database (store), or a background task (upkeep)",
            ["part"],
            registry=registry,
        )
        self._job_failures = Counter(
            "drover_job_failures", "Background jobs that failed, by kind of job", ["kind"], registry=registry
        )
        _create(self._trouble, ("store", "upkeep", "grid"))
        _create(self._job_failures, [kind.value for kind in JobKind])

    def hear(self, event: Event) -> None:
        match event:
            case events.StoreFailed() | events.StoreSetAside():
                self._trouble.labels("store").inc()
            case events.UpkeepFailed():
                self._trouble.labels("upkeep").inc()
            case events.GridSlotNotFreed() | events.GridNodeNotDrained():
                self._trouble.labels("grid").inc()
            case events.JobFailed():
                self._job_failures.labels(event.kind).inc()
            case _:
                return


def _create(metric: Counter | Histogram, values: Iterable[str]) -> None:
    """Create a metric with each value of its label."""
    for value in values:
        metric.labels(value)


class _Gauges(Collector):
    """Gauges that are read from the session registry and the list of machines at each scrape."""

    def __init__(
        self,
        sessions: SessionRegistry,
        is_healthy: Callable[[], bool],
        nodes: Callable[[], Sequence[Node]],
    ) -> None:
        self._sessions = sessions
        self._is_healthy = is_healthy
        self._nodes = nodes

    def describe(self) -> Iterable[Metric]:
        """Return no metrics, so that the check for duplicate names does not read the state."""
        return ()

    def collect(self) -> Iterator[Metric]:
        sessions = self._sessions.sessions()
        states = [session.state for session in sessions]
        by_state = GaugeMetricFamily("drover_sessions", "Sessions by state", labels=["state"])
        for state in SessionState:
            by_state.add_metric([state.value], states.count(state))
        yield by_state
        memory_mb = sum(session.memory_mb or 0.0 for session in sessions)
        for name, meaning, value in (
            ("drover_sessions_in_use", "Sessions in use", sum(one.in_use for one in sessions)),
            ("drover_sessions_limit", "Maximum number of sessions", self._sessions.max_sessions),
            ("drover_warm_browsers", "Warm browsers that are ready", self._sessions.warm_count()),
            ("drover_waiting_requests", "Requests in the wait queue", self._sessions.waiting),
            ("drover_healthy", "1 if browsers can be handed out, otherwise 0", int(self._is_healthy())),
            (
                "drover_memory_available_bytes",
                "Memory that new browsers can have: the machine's, or less if a container limits it",
                self._sessions.memory.available_mb * BYTES_PER_MB,
            ),
            (
                "drover_memory_short",
                "1 while no browser starts because memory is short, otherwise 0",
                int(self._sessions.memory.shortage() is not None),
            ),
            (
                "drover_sessions_memory_bytes",
                "Memory of all sessions' processes, shared pages counted once; measured every five minutes",
                round(memory_mb * BYTES_PER_MB),
            ),
        ):
            yield GaugeMetricFamily(name, meaning, value=value)
        # Only this metric names a node: of all others Prometheus says itself where it has read them.
        up = GaugeMetricFamily(
            "drover_node_up",
            "1 for a machine of the service that gives signs of life, 0 for one that is lost",
            labels=["node"],
        )
        for node in self._nodes():
            up.add_metric([node.name], int(node.state is not NodeState.LOST))
        yield up
