"""The timeline: events that an operator wants to read later, as sentences that need no manual."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import singledispatch

from drover.core import events
from drover.core.events import Event


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry of the timeline.

    Attributes:
        kind: `start`, `end`, `eviction`, `recovery`, `cleanup`, `emergency`, `service` or `trouble`.
        text: What happened.
        session_id: The session that it concerns; None if it concerns no single session.
    """

    kind: str
    text: str
    session_id: str | None = None


def timeline_json(entry: TimelineEntry, event: Event, time: str) -> dict[str, object]:
    """Return an entry of the timeline as clients see it."""
    return {
        "time": time,
        "kind": entry.kind,
        "level": logging.getLevelName(event.level).lower(),
        "text": entry.text,
        "session_id": entry.session_id,
    }


@singledispatch
def timeline_entry(_event: Event) -> TimelineEntry | None:
    """Return the timeline entry of an event, or None if the event appears in the log only."""
    return None


@timeline_entry.register
def _(event: events.ServiceStarted) -> TimelineEntry | None:
    return TimelineEntry("service", f"Drover {event.version} is ready")


@timeline_entry.register
def _(event: events.DrainBegan) -> TimelineEntry | None:
    text = (
        f"Drover accepts no new sessions; {event.sessions} sessions go on for at most {event.timeout_s:g} s"
    )
    return TimelineEntry("service", text)


@timeline_entry.register
def _(event: events.ServiceStopping) -> TimelineEntry | None:
    return TimelineEntry("service", f"Drover is stopping ({event.signal}) and closes all sessions")


@timeline_entry.register(events.BrowserDoubtful)
@timeline_entry.register(events.MemoryShort)
@timeline_entry.register(events.StoreSetAside)
@timeline_entry.register(events.DataFolderPutBack)
@timeline_entry.register(events.StoreFailed)
@timeline_entry.register(events.CleanupFailed)
@timeline_entry.register(events.ProcessSurvived)
@timeline_entry.register(events.UpkeepFailed)
def _(event: Event) -> TimelineEntry | None:
    return TimelineEntry("trouble", event.message)


@timeline_entry.register
def _(event: events.MemoryAvailable) -> TimelineEntry | None:
    return TimelineEntry("service", event.message)


@timeline_entry.register
def _(event: events.GridSlotNotFreed) -> TimelineEntry | None:
    text = f"Ended, but Selenium Grid's node was not told: {event.error}"
    return TimelineEntry("trouble", text, event.session_id)


@timeline_entry.register
def _(event: events.GridNodeNotDrained) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Selenium Grid's node was not told of the drain: {event.error}")


@timeline_entry.register(events.UpkeepFailedAgain)
@timeline_entry.register(events.JobFailedAgain)
def _(_: Event) -> TimelineEntry | None:
    return None


@timeline_entry.register
def _(event: events.JobFailed) -> TimelineEntry | None:
    return TimelineEntry("trouble", event.message, event.session_id)


@timeline_entry.register
def _(event: events.SessionAdopted) -> TimelineEntry | None:
    return TimelineEntry("start", "Adopted from an earlier run with its browser", event.session_id)


@timeline_entry.register
def _(event: events.SessionForgotten) -> TimelineEntry | None:
    return TimelineEntry("end", f"Not adopted from an earlier run: {event.reason}", event.session_id)


@timeline_entry.register
def _(event: events.SessionCreated) -> TimelineEntry | None:
    return TimelineEntry("start", f"Opened in {_took(event.duration_ms)}", event.session_id)


@timeline_entry.register
def _(_event: events.WarmBrowserReady) -> TimelineEntry | None:
    return None


@timeline_entry.register(events.CapabilitiesRejected)
@timeline_entry.register(events.SessionStartFailed)
def _(event: events.CapabilitiesRejected | events.SessionStartFailed) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Could not be opened: {event.error}", event.session_id)


@timeline_entry.register
def _(event: events.FirstPageFailed) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Its first page did not load: {event.error}", event.session_id)


@timeline_entry.register
def _(event: events.KeepAliveFailed) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Its keep-alive page did not load: {event.error}", event.session_id)


@timeline_entry.register
def _(event: events.DownloadsCancelled) -> TimelineEntry | None:
    text = f"Downloads were cancelled: together they exceed {event.limit_mb} MB"
    return TimelineEntry("trouble", text, event.session_id)


@timeline_entry.register
def _(event: events.ProfileShrunk) -> TimelineEntry | None:
    text = f"The profile had {event.size_mb} MB, over {event.limit_mb} MB; removed {event.removed}"
    return TimelineEntry("trouble", text, event.session_id)


@timeline_entry.register
def _(event: events.SessionAppearsDead) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Found dead: {event.reason}", event.session_id)


@timeline_entry.register
def _(event: events.SessionRecycling) -> TimelineEntry | None:
    return TimelineEntry("recovery", f"Gets a new browser: {event.reason}", event.session_id)


_RECOVERY_METHODS = {
    "reattached": "new ChromeDriver on the same browser, with its tabs and forms",
    "restored": "new browser with cookies, storage and address restored",
    "recreated": "new, empty browser, because no state could be saved",
}


@timeline_entry.register
def _(event: events.SessionRecovered) -> TimelineEntry | None:
    how = _RECOVERY_METHODS.get(event.method, event.method)
    how += f"; lost: {', '.join(event.lost)}" if event.lost else ""
    return TimelineEntry("recovery", f"Recovered in {_took(event.duration_ms)}: {how}", event.session_id)


@timeline_entry.register
def _(event: events.StateNotRestored) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Saved state not put back, but kept: {event.lost}", event.session_id)


@timeline_entry.register
def _(event: events.ProfileSetAside) -> TimelineEntry | None:
    text = f"Chrome does not start on its profile, which is kept for a day as {event.path}"
    return TimelineEntry("trouble", text, event.session_id)


@timeline_entry.register
def _(event: events.KeptProfileRefused) -> TimelineEntry | None:
    text = f"Chrome refuses the kept profile ({event.reason}); started from the saved state instead"
    return TimelineEntry("trouble", text, event.session_id)


@timeline_entry.register
def _(event: events.KeptProfilesDropped) -> TimelineEntry | None:
    return TimelineEntry("service", event.message)


@timeline_entry.register
def _(event: events.SessionRecoveryFailed) -> TimelineEntry | None:
    return TimelineEntry("trouble", f"Could not be recovered: {event.error}", event.session_id)


_CLOSED = {
    "deleted": "Closed on request",
    "quit": "Closed by its client",
    "idle": "Closed: not used during its idle timeout",
    "evicted": "Closed to free its place for another session",
    "stopping": "Closed: the service is stopping",
    "drained": "Closed: the service is draining; its state is kept for its key",
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
        # Every recovery begins with a cleanup, and most of those find nothing.
        return None
    ended = _counted(event.killed_count, "orphaned process", "orphaned processes")
    removed = _counted(event.removed_profiles, "profile folder", "profile folders")
    return TimelineEntry("cleanup", f"Cleanup: {ended} ended, {removed} removed")


@timeline_entry.register
def _(_event: events.EmergencyStarted) -> TimelineEntry | None:
    return TimelineEntry("emergency", "Emergency recovery: ending every Chrome on this machine")


@timeline_entry.register
def _(event: events.EmergencyFinished) -> TimelineEntry | None:
    ended = _counted(event.killed_count, "process", "processes")
    return TimelineEntry("emergency", f"Emergency recovery done: {ended} ended, all sessions forgotten")


def _took(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004 - a second


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
