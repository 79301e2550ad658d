"""An event as a frozen value, and the hub that passes events to all listeners.

What the log says of an event, and what the timeline of the dashboard says, stand in its class.

The wording of the messages that `is_fixed` marks never changes, because users search their logs for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Event:
    """Base class of all events: something that happened, with its log level and its log line.

    Attributes:
        is_fixed: Whether users search for the whole line, so that nothing is added to it in the log.
        timeline_kind: `start`, `end`, `eviction`, `recovery`, `cleanup`, `emergency`, `service` or `trouble`;
            None if the event appears in the log only.
        timeline_text: What the timeline says, for people who know no log; None for the log line.
    """

    level: ClassVar[int] = logging.INFO
    is_fixed: ClassVar[bool] = False
    text: ClassVar[str]
    timeline_kind: ClassVar[str | None] = None
    timeline_text: ClassVar[str | None] = None

    @property
    def message(self) -> str:
        """The log line: `text` with the fields of the event filled in."""
        return self.text.format_map(vars(self))

    @property
    def timeline(self) -> tuple[str, str] | None:
        """Kind and text of its entry in the timeline; None if it has none."""
        if self.timeline_kind is None:
            return None
        text = self.timeline_text
        return self.timeline_kind, self.message if text is None else text.format_map(vars(self))

    def timeline_entry(self, time: str) -> dict[str, object] | None:
        """Return its entry in the timeline as clients see it, or None if it appears in the log only."""
        if self.timeline is None:
            return None
        kind, text = self.timeline
        level = logging.getLevelName(self.level).lower()
        session_id = getattr(self, "session_id", None)
        return {"time": time, "kind": kind, "level": level, "text": text, "session_id": session_id}


Emit = Callable[[Event], None]


class EventHub:
    """Passes every event to all listeners, in the thread of the emitter and in the order of subscription."""

    def __init__(self) -> None:
        self._listeners: list[Emit] = []

    def subscribe(self, listener: Emit) -> None:
        """Call `listener` for every event from now on; it must be quick and must not raise."""
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        """Pass an event to every listener."""
        for listener in self._listeners:
            listener(event)
