"""An event as a frozen value, and the hub that passes events to all listeners.

The wording of the messages in `spec.md` is fixed, because users search their logs for them.
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
        is_fixed: Whether `spec.md` fixes the line, so that nothing is added to it in the log.
    """

    level: ClassVar[int] = logging.INFO
    is_fixed: ClassVar[bool] = False
    text: ClassVar[str]

    @property
    def message(self) -> str:
        """The log line: `text` with the fields of the event filled in."""
        return self.text.format_map(vars(self))


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
