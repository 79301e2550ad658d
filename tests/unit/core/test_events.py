"""The exact log lines that users search for, and the event hub."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from drover.core import events
from drover.core.events import Event, EventHub
from tests.unit.examples import EventRecorder

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
