"""The timeline: events that an operator wants to read later, as sentences that need no manual."""

from __future__ import annotations

import logging

from drover.core.events import Event


def timeline_entry(event: Event, time: str) -> dict[str, object] | None:
    """Return the entry of an event as clients see it, or None if the event appears in the log only."""
    if event.timeline is None:
        return None
    kind, text = event.timeline
    level = logging.getLevelName(event.level).lower()
    session_id = getattr(event, "session_id", None)
    return {"time": time, "kind": kind, "level": level, "text": text, "session_id": session_id}
