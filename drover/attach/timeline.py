"""What of all that happens an operator wants to read later on, in words that need no manual."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import singledispatch

from drover.core import events
from drover.core.events import Event


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline.

    Attributes:
        kind: `start`, `end`, `eviction`, `recovery`, `cleanup`, `emergency`, `service` or `trouble`.
        text: What happened.
        session_id: To whom, where it concerns one session.
    """

    kind: str
    text: str
    session_id: str | None = None


def moment_json(moment: Moment, event: Event, time: str) -> dict[str, object]:
    """Give a line of the timeline as clients see it."""
    return {
        "time": time,
        "kind": moment.kind,
        "level": logging.getLevelName(event.level).lower(),
        "text": moment.text,
        "session_id": moment.session_id,
    }


@singledispatch
def moment_of(_event: Event) -> Moment | None:
    """Give the line that an event is worth; None where the log alone tells of it."""
    return None


@moment_of.register
def _(event: events.ServiceStarted) -> Moment | None:
    return Moment("service", f"Drover {event.version} is ready")


@moment_of.register
def _(event: events.ServiceStopping) -> Moment | None:
    return Moment("service", f"Drover stops ({event.signal}) and closes all sessions")


@moment_of.register(events.BrowserDoubtful)
@moment_of.register(events.StoreSetAside)
@moment_of.register(events.StoreFailed)
@moment_of.register(events.CleanupFailed)
@moment_of.register(events.ProcessSurvived)
@moment_of.register(events.UpkeepFailed)
def _(event: Event) -> Moment | None:
    return Moment("trouble", event.message)


@moment_of.register
def _(event: events.SessionAdopted) -> Moment | None:
    return Moment("start", "Taken back from an earlier run, with its own browser", event.session_id)


@moment_of.register
def _(event: events.SessionForgotten) -> Moment | None:
    return Moment("end", f"Not taken back from an earlier run: {event.reason}", event.session_id)


@moment_of.register
def _(event: events.SessionCreated) -> Moment | None:
    return Moment("start", f"Opened in {_took(event.duration_ms)}", event.session_id)


@moment_of.register
def _(_event: events.WarmBrowserReady) -> Moment | None:
    return None


@moment_of.register
def _(event: events.SessionStartFailed) -> Moment | None:
    return Moment("trouble", f"Could not be opened: {event.error}", event.session_id)


@moment_of.register
def _(event: events.FirstPageFailed) -> Moment | None:
    return Moment("trouble", f"Its first page did not load: {event.error}", event.session_id)


@moment_of.register
def _(event: events.KeepAliveFailed) -> Moment | None:
    return Moment("trouble", f"Its keep-alive page did not load: {event.error}", event.session_id)


@moment_of.register
def _(event: events.SessionAppearsDead) -> Moment | None:
    return Moment("trouble", f"Found dead: {event.reason}", event.session_id)


_BROUGHT_BACK = {
    "reattached": "a new ChromeDriver on the same browser, so tabs and forms are still there",
    "restored": "a new browser with its cookies, storage and address put back",
    "recreated": "a new and empty browser, since nothing could be saved",
}


@moment_of.register
def _(event: events.SessionRecovered) -> Moment | None:
    how = _BROUGHT_BACK.get(event.method, event.method)
    return Moment("recovery", f"Recovered in {_took(event.duration_ms)}: {how}", event.session_id)


@moment_of.register
def _(event: events.SessionRecoveryFailed) -> Moment | None:
    return Moment("trouble", f"Could not be recovered: {event.error}", event.session_id)


_CLOSED = {
    "deleted": "Closed on request",
    "idle": "Closed: nobody had used it for its idle time",
    "evicted": "Closed to make room for another session",
    "stopping": "Closed: the service stops",
}


@moment_of.register
def _(event: events.SessionClosed) -> Moment | None:
    kind = "eviction" if event.why == "evicted" else "end"
    return Moment(kind, _CLOSED.get(event.why, f"Closed: {event.why}"), event.session_id)


@moment_of.register
def _(event: events.SessionCloseIncomplete) -> Moment | None:
    return Moment("trouble", f"Not closed yet: {event.error}", event.session_id)


@moment_of.register
def _(event: events.CleanupFinished) -> Moment | None:
    if not event.killed_count and not event.removed_profiles:
        # Every recovery begins with a cleanup, and hardly any of them finds something.
        return None
    ended = _counted(event.killed_count, "orphaned process", "orphaned processes")
    removed = _counted(event.removed_profiles, "profile folder", "profile folders")
    return Moment("cleanup", f"Cleanup: {ended} ended, {removed} removed")


@moment_of.register
def _(_event: events.EmergencyStarted) -> Moment | None:
    return Moment("emergency", "Emergency recovery: every Chrome of this machine is being ended")


@moment_of.register
def _(event: events.EmergencyFinished) -> Moment | None:
    ended = _counted(event.killed_count, "process", "processes")
    return Moment("emergency", f"Emergency recovery done: {ended} ended, all sessions forgotten")


def _took(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004 - a second


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
