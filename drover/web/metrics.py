"""What Prometheus is told: counters that listen to events, and gauges read from the registry when asked.

Nothing here asks a browser or the process table, so a scrape costs a few milliseconds whatever hangs.
Names and units follow https://prometheus.io/docs/practices/naming/; every label value is there from the
start, at 0, so that an increase from nothing is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from drover.browser.health import Cause
from drover.browser.recovery import Method
from drover.core import events
from drover.core.events import Event
from drover.core.version import VERSION
from drover.sessions.lifecycle.session_worker import CloseReason
from drover.sessions.pool.registry import SessionRegistry
from drover.sessions.pool.session import SessionState

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BYTES_PER_MB = 1_000_000
"""`memory_mb` of a session is in units of 1,000,000 bytes."""

_START_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)
_RECOVERY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)
_RELAY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0)


class Metrics:
    """The metrics of one service, in a registry of their own.

    Args:
        sessions: The list of sessions; read at each scrape.
        is_healthy: Tells whether `GET /health` would answer 200.
    """

    def __init__(self, sessions: SessionRegistry, is_healthy: Callable[[], bool]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Gauges(sessions, is_healthy))
        Info("drover", "The version that runs", registry=registry).info({"version": VERSION})
        self._starts = Counter(
            "drover_starts",
            "Browsers started for new sessions, warm ones included, by how it went",
            ["result"],
            registry=registry,
        )
        self._start_seconds = Histogram(
            "drover_start_duration_seconds",
            "From the start of ChromeDriver to the session being ready, for starts that went well",
            buckets=_START_BUCKETS_S,
            registry=registry,
        )
        self._recoveries = Counter(
            "drover_recoveries",
            "Sessions brought back, by what was dead and how it was done",
            ["cause", "method"],
            registry=registry,
        )
        self._recovery_seconds = Histogram(
            "drover_recovery_duration_seconds",
            "From finding a session dead to its being ready again",
            ["method"],
            buckets=_RECOVERY_BUCKETS_S,
            registry=registry,
        )
        self._recovery_failures = Counter(
            "drover_recovery_failures",
            "Attempts to bring a session back that failed, by what was dead",
            ["cause"],
            registry=registry,
        )
        self._closes = Counter(
            "drover_closes", "Sessions closed, their processes seen gone, by why", ["why"], registry=registry
        )
        self._close_failures = Counter(
            "drover_close_failures", "Attempts to close a session that left something", registry=registry
        )
        self._cleanups = Counter(
            "drover_cleanups",
            "Cleanups of orphans: complete, incomplete (something could not be ended), "
            "or failed (broken off, or too slow for the recovery that asked)",
            ["result"],
            registry=registry,
        )
        self._emergencies = Counter(
            "drover_emergency_recoveries", "Emergency recoveries carried out", registry=registry
        )
        self._kills = Counter(
            "drover_kills",
            "Processes seen dead after they were ended: orphans by a cleanup, everything by an emergency",
            ["verdict"],
            registry=registry,
        )
        self._survivors = Counter(
            "drover_kill_failures", "Processes that were to be ended and could not be", registry=registry
        )
        self._removed_profiles = Counter(
            "drover_removed_profiles",
            "Session folders of nobody that cleanups have removed",
            registry=registry,
        )
        self._trouble = Counter(
            "drover_trouble",
            "Troubles of the service itself: the database (store), or a background task (upkeep)",
            ["part"],
            registry=registry,
        )
        self._relay_seconds = Histogram(
            "drover_relay_duration_seconds",
            "From a driver's command to its answer, ChromeDriver's own time included",
            buckets=_RELAY_BUCKETS_S,
            registry=registry,
        )
        self.observe_relay: Callable[[float], None] = self._relay_seconds.observe
        """Notes how many seconds one relayed command took; costs some two microseconds."""
        self._show_every_label()

    def hear(self, event: Event) -> None:
        """Count what happened; a listener of the event hub."""
        match event:
            case events.SessionCreated():
                self._starts.labels("ok").inc()
                self._start_seconds.observe(event.duration_ms / 1000)
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
            case events.StoreFailed() | events.StoreSetAside():
                self._trouble.labels("store").inc()
            case events.UpkeepFailed():
                self._trouble.labels("upkeep").inc()
            case _:
                self._hear_of_processes(event)

    def exposition(self) -> bytes:
        """Give all metrics in Prometheus' text format, of the type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _hear_of_processes(self, event: Event) -> None:
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

    def _show_every_label(self) -> None:
        for cause, method in product(Cause, Method):
            self._recoveries.labels(cause.value, method.value)
        for cause in Cause:
            self._recovery_failures.labels(cause.value)
        for method in Method:
            self._recovery_seconds.labels(method.value)
        for why in CloseReason:
            self._closes.labels(why.value)
        for counter, values in (
            (self._starts, ("ok", "failed")),
            (self._cleanups, ("complete", "incomplete", "failed")),
            (self._kills, ("orphan", "everything")),
            (self._trouble, ("store", "upkeep")),
        ):
            for value in values:
                counter.labels(value)


class _Gauges(Collector):
    """What the registry knows at the moment of the scrape."""

    def __init__(self, sessions: SessionRegistry, is_healthy: Callable[[], bool]) -> None:
        self._sessions = sessions
        self._is_healthy = is_healthy

    def describe(self) -> Iterable[Metric]:
        """Give the metrics without asking anybody, for the check that no name is taken twice."""
        return ()

    def collect(self) -> Iterator[Metric]:
        sessions = self._sessions.sessions()
        states = [session.state for session in sessions]
        by_state = GaugeMetricFamily(
            "drover_sessions", "Sessions by the state that they are in", labels=["state"]
        )
        for state in SessionState:
            by_state.add_metric([state.value], states.count(state))
        yield by_state
        memory_mb = sum(session.memory_mb or 0.0 for session in sessions)
        for name, meaning, value in (
            ("drover_sessions_in_use", "Sessions that somebody uses", sum(one.in_use for one in sessions)),
            ("drover_sessions_limit", "How many sessions there may be", self._sessions.max_sessions),
            ("drover_warm_browsers", "Browsers that stand ready", self._sessions.warm_count()),
            ("drover_waiting_requests", "Requests that wait for a place", self._sessions.waiting),
            ("drover_healthy", "1 where browsers can be handed out, else 0", int(self._is_healthy())),
            (
                "drover_sessions_memory_bytes",
                "What the sessions' processes hold, shared pages counted once; measured every five minutes",
                round(memory_mb * BYTES_PER_MB),
            ),
        ):
            yield GaugeMetricFamily(name, meaning, value=value)
