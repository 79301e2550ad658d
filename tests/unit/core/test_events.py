"""The exact log lines that users search for, the entries of the timeline, and the event hub."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from drover.core import events
from drover.core.events import Event, EventHub
from drover.sessions.lifecycle.close_work import CloseReason
from tests.unit.examples import EventRecorder

NOW = "2026-11-22T19:40:00Z"
FIXED: list[tuple[Event, str]] = [
    (
        events.SessionAppearsDead("session_123", "[WinError 10061]"),
        "WARNING: Session session_123 appears dead: [WinError 10061]",
    ),
    (
        events.ConnectionErrorDetected("session_123"),
        "WARNING: 🔧 Connection error detected - attempting to clean up orphaned processes",
    ),
    (events.ActiveDrivers((1234, 5678)), "INFO: Active ChromeDriver PIDs: {1234, 5678}"),
    (
        events.KillingProcess(9012, "driver", orphaned=True),
        "INFO: Killing orphaned ChromeDriver process: PID 9012",
    ),
    (events.CleanupFinished(2, 0), "INFO: ✅ Killed 2 orphaned Chrome/ChromeDriver processes"),
    (events.CleanupTriggered(), "INFO: 🔧 Orphaned process cleanup triggered"),
    (events.ActiveDrivers((1234, 5678, 9012)), "INFO: Active ChromeDriver PIDs: {1234, 5678, 9012}"),
    (events.CleanupFinished(0, 3), "INFO: ✅ No orphaned processes found"),
    (events.EmergencyStarted(), "WARNING: 🚨 EMERGENCY RECOVERY: Killing ALL Chrome instances"),
    (
        events.KillingProcess(1234, "driver", orphaned=False),
        "INFO: Killing ChromeDriver process: PID 1234",
    ),
    (events.KillingProcess(5678, "browser", orphaned=False), "INFO: Killing Chrome process: PID 5678"),
    (events.EmergencyFinished(15), "WARNING: 🚨 Emergency recovery killed 15 processes"),
    (events.SessionDataCleared(), "INFO: 🗑️ Cleared all session data"),
]
EVERY = sorted(Event.__subclasses__(), key=lambda event: event.__name__)
EXAMPLES = {
    "int": 7,
    "float": 1.5,
    "str": "text",
    "str | None": None,
    "bool": True,
    "tuple[int, ...]": (1, 2),
    "tuple[str, ...]": ("a", "b"),
}


@pytest.mark.parametrize(("event", "line"), FIXED, ids=[line for _, line in FIXED])
def test_specified_lines_are_logged_exactly(event: Event, line: str) -> None:
    assert f"{logging.getLevelName(event.level)}: {event.message}" == line


@pytest.mark.parametrize("role", ["browser", "renderer", "gpu", "utility", "zygote", "crashpad", "other"])
def test_every_process_except_chromedriver_is_called_chrome(role: str) -> None:
    assert events.KillingProcess(1, role, orphaned=True).message == "Killing orphaned Chrome process: PID 1"


def test_no_active_drivers_are_an_empty_set() -> None:
    assert events.ActiveDrivers(()).message == "Active ChromeDriver PIDs: {}"


@pytest.mark.parametrize("kind", EVERY)
def test_every_event_has_a_level_and_one_line(kind: type[Event]) -> None:
    event = kind(**{field.name: EXAMPLES[str(field.type)] for field in dataclasses.fields(kind)})
    assert event.level in {logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR}
    assert event.message
    assert "\n" not in event.message
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.anything = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        (events.ServiceStarted("http://localhost:5010", "1.0", "/d"), "service", "is ready"),
        (events.ServiceStopping("SIGTERM"), "service", "closes all sessions"),
        (events.BrowserDoubtful("no Chrome was found"), "trouble", "no Chrome was found"),
        (events.SessionCreated("a", 1, 2, 940), "start", "Opened in 940 ms"),
        (events.SessionAdopted("a", 1, 2), "start", "earlier run"),
        (events.SessionForgotten("a", "its browser is gone"), "end", "its browser is gone"),
        (events.SessionStartFailed("a", "no memory"), "trouble", "no memory"),
        (events.CapabilitiesRejected("a", "no such device"), "trouble", "no such device"),
        (events.FirstPageFailed("a", "no such host"), "trouble", "no such host"),
        (events.KeepAliveFailed("a", "no such host"), "trouble", "no such host"),
        (events.SessionAppearsDead("a", "connection refused"), "trouble", "connection refused"),
        (events.SessionRecovered("a", "driver_gone", "reattached", 1310), "recovery", "1.3 s"),
        (events.SessionRecoveryFailed("a", "browser_gone", "no room"), "trouble", "no room"),
        (events.SessionClosed("a", "evicted"), "eviction", "free its place"),
        (events.SessionClosed("a", "deleted"), "end", "on request"),
        (events.SessionClosed("a", "drained"), "end", "kept for its key"),
        (events.DrainBegan(2, 60.0), "service", "2 sessions"),
        (events.SessionCloseIncomplete("a", "PID 7 lives"), "trouble", "PID 7 lives"),
        (events.CleanupFinished(1, 2), "cleanup", "1 orphaned process ended, 2 profile folders removed"),
        (events.CleanupFailed("no table"), "trouble", "no table"),
        (events.ProcessSurvived(7, "denied"), "trouble", "denied"),
        (events.EmergencyStarted(), "emergency", "every Chrome"),
        (events.EmergencyFinished(15), "emergency", "15 processes ended"),
        (events.UpkeepFailed("watch", "broken"), "trouble", "broken"),
        (events.JobFailed("watch", "a", "broken"), "trouble", "watch of session a: broken"),
        (events.StoreFailed("disk full"), "trouble", "disk full"),
        (events.GridSlotNotFreed("a", "refused"), "trouble", "refused"),
        (events.GridNodeNotDrained("refused"), "trouble", "refused"),
    ],
)
def test_events_for_the_operator_become_timeline_entries(event: Event, kind: str, words: str) -> None:
    moment = event.timeline_entry(NOW)
    assert moment is not None
    assert (moment["kind"], moment["session_id"]) == (kind, getattr(event, "session_id", None))
    assert words in str(moment["text"])


@pytest.mark.parametrize(
    "event",
    [
        events.WarmBrowserReady("a", 1, 2, 900),
        events.CleanupFinished(0, 0),
        events.CleanupTriggered(),
        events.ActiveDrivers((1, 2)),
        events.KillingProcess(7, "driver", orphaned=True),
    ],
)
def test_events_for_the_log_only_become_no_timeline_entry(event: Event) -> None:
    assert event.timeline_entry(NOW) is None


@pytest.mark.parametrize("why", CloseReason)
def test_every_reason_for_a_close_reads_as_a_sentence(why: CloseReason) -> None:
    moment = events.SessionClosed("a", why.value).timeline_entry(NOW)
    assert moment is not None
    assert str(moment["text"]).startswith("Closed")


def test_a_timeline_entry_has_its_time_and_level() -> None:
    assert events.FirstPageFailed("a", "no such host").timeline_entry(NOW) == {
        "time": NOW,
        "kind": "trouble",
        "level": "warning",
        "text": "Its first page did not load: no such host",
        "session_id": "a",
    }


def test_every_listener_hears_every_event_in_the_order_of_subscription() -> None:
    hub, heard = EventHub(), []
    first, second = EventRecorder(), EventRecorder()
    hub.subscribe(lambda event: heard.append(1))
    hub.subscribe(first)
    hub.subscribe(lambda event: heard.append(2))
    hub.subscribe(second)
    hub.emit(events.CleanupTriggered())
    assert heard == [1, 2]
    assert first.events == second.events == [events.CleanupTriggered()]
