from __future__ import annotations

import pytest

from drover.attach.timeline import timeline_entry
from drover.core import events
from drover.core.events import Event
from drover.sessions.lifecycle.close_reason import CloseReason

NOW = "2026-11-22T19:40:00Z"


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
    moment = timeline_entry(event, NOW)
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
    assert timeline_entry(event, NOW) is None


@pytest.mark.parametrize("why", CloseReason)
def test_every_reason_for_a_close_reads_as_a_sentence(why: CloseReason) -> None:
    moment = timeline_entry(events.SessionClosed("a", why.value), NOW)
    assert moment is not None
    assert str(moment["text"]).startswith("Closed")


def test_a_timeline_entry_has_its_time_and_level() -> None:
    assert timeline_entry(events.FirstPageFailed("a", "no such host"), NOW) == {
        "time": NOW,
        "kind": "trouble",
        "level": "warning",
        "text": "Its first page did not load: no such host",
        "session_id": "a",
    }
