"""What of all that happens an operator wants to read later on, in words that need no manual."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import singledispatch

from drover.core import events
from drover.core.events import Event


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the timeline.

    Attributes:
        kind: `start`, `end`, `eviction`, `recovery`, `cleanup`, `emergency`, `service` or `trouble`.
        text: What happened.
        session_id: To whom, where it concerns one session.
    """

    kind: str
    text: str
    session_id: str | None = None


def timeline_json(moment: TimelineEntry, event: Event, time: str) -> dict[str, object]:
    """Give a line of the timeline as clients see it."""
    return {
        "time": time,
        "kind": moment.kind,
        "level": logging.getLevelName(event.level).lower(),
        "text": moment.text,
        "session_id": moment.session_id,
    }


@singledispatch
def timeline_entry(_event: Event) -> TimelineEntry | None:
    """Give the line that an event is worth; None where the log alone tells of it."""
    return None


@timeline_entry.register
def _(event: events.ServiceStarted) -> TimelineEntry | None:
    return TimelineEntry("service", f"Drover {event.version} is ready")


@timeline_entry.register
def _(event: events.ServiceStopping) -> TimelineEntry | None:
    return TimelineEntry("service", f"Drover stops ({event.signal}) and closes all sessions")


@timeline_entry.register(events.BrowserDoubtful)
@timeline_entry.register(events.StoreSetAside)
@timeline_entry.register(events.StoreFailed)
@timeline_entry.register(events.CleanupFailed)
@timeline_entry.register(events.ProcessSurvived)
@timeline_entry.register(events.UpkeepFailed)
def _(event: Event) -> TimelineEntry | None:
    return TimelineEntry("trouble", event.message)


@timeline_entry.register
def _(event: events.SessionAdopted) -> TimelineEntry | None:
    return TimelineEntry("start", "Taken back from an earlier run, with its own browser", event.session_id)


@timeline_entry.register
def _(event: events.SessionForgotten) -> TimelineEntry | None:
    return TimelineEntry("end", f"Not taken back from an earlier run: {event.reason}", event.session_id)


@timeline_entry.register
def _(event: events.SessionCreated) -> TimelineEntry | None:
    return TimelineEntry("start", f"Opened in {_took(event.duration_ms)}", event.session_id)


@timeline_entry.register
def _(_event: events.WarmBrowserReady) -> TimelineEntry | None:
    return None


@timeline_entry.register
def _(event: events.SessionStartFailed) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Could not be opened: {event.error}", event.session_id)


@timeline_entry.register
def _(event: events.FirstPageFailed) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Its first page did not load: {event.error}", event.session_id)


@timeline_entry.register
def _(event: events.KeepAliveFailed) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Its keep-alive page did not load: {event.error}", event.session_id)


@timeline_entry.register
def _(event: events.SessionAppearsDead) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Found dead: {event.reason}", event.session_id)


_BROUGHT_BACK = {
    "reattached": "a new ChromeDriver on the same browser, so tabs and forms are still there",
    "restored": "a new browser with its cookies, storage and address put back",
    "recreated": "a new and empty browser, since nothing could be saved",
}


@timeline_entry.register
def _(event: events.SessionRecovered) -> TimelineEntry | None:
    how = _BROUGHT_BACK.get(event.method, event.method)
    return TimelineEntry("recovery", f"Recovered in {_took(event.duration_ms)}: {how}", event.session_id)


@timeline_entry.register
def _(event: events.SessionRecoveryFailed) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Could not be recovered: {event.error}", event.session_id)


_CLOSED = {
    "deleted": "Closed on request",
    "idle": "Closed: nobody had used it for its idle time",
    "evicted": "Closed to make room for another session",
    "stopping": "Closed: the service stops",
}


@timeline_entry.register
def _(event: events.SessionClosed) -> TimelineEntry | None:
    kind = "eviction" if event.why == "evicted" else "end"
    return TimelineEntry(kind, _CLOSED.get(event.why, f"Closed: {event.why}"), event.session_id)


@timeline_entry.register
def _(event: events.SessionCloseIncomplete) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Not closed yet: {event.error}", event.session_id)


@timeline_entry.register
def _(event: events.CleanupFinished) -> TimelineEntry | None:
    if not event.killed_count and not event.removed_profiles:
        # Every recovery begins with a cleanup, and hardly any of them finds something.
        return None
    ended = _counted(event.killed_count, "orphaned process", "orphaned processes")
    removed = _counted(event.removed_profiles, "profile folder", "profile folders")
    return TimelineEntry("cleanup", f"Cleanup: {ended} ended, {removed} removed")


@timeline_entry.register
def _(_event: events.EmergencyStarted) -> TimelineEntry | None:
    return TimelineEntry("emergency", "Emergency recovery: every Chrome of this machine is being ended")


@timeline_entry.register
def _(event: events.EmergencyFinished) -> TimelineEntry | None:
    ended = _counted(event.killed_count, "process", "processes")
    return TimelineEntry("emergency", f"Emergency recovery done: {ended} ended, all sessions forgotten")


def _took(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004 - a second


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
