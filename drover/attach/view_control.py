"""Who uses a session by hand: at most one viewer at a time; all others watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from drover.core.errors import SessionInUse

CONTROL_S = 60.0
"""How long a viewer stays in control after the last input."""


@dataclass(eq=False, slots=True)
class Viewer:
    """One viewer of a session; `name` is empty if it gave none."""

    name: str


class Control:
    """The control of one session; used on one event loop.

    Args:
        use: Returns a context in which the session counts as in use.
        clock: The time in seconds, which is never set back.
    """

    def __init__(
        self,
        use: Callable[[], AbstractContextManager[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._use = use
        self._clock = clock
        self._holder: Viewer | None = None
        self._displaced: set[Viewer] = set()
        self._used_at = 0.0
        self._in_use = ExitStack()

    def holder(self) -> Viewer | None:
        """Return the viewer in control; control ends a minute after its last input."""
        if self._holder is not None and self._clock() - self._used_at >= CONTROL_S:
            self._end()
        return self._holder

    def take(self, viewer: Viewer) -> None:
        """Put a viewer in control, also if another one is.

        Raises:
            SessionNotFound: The session has been closed.
        """
        holder = self.holder()
        if holder is not viewer:
            in_use = ExitStack()
            in_use.enter_context(self._use())
            self._end()
            self._in_use, self._holder = in_use, viewer
            if holder is not None:
                self._displaced.add(holder)
        self._displaced.discard(viewer)
        self._used_at = self._clock()

    def note_input(self, viewer: Viewer) -> None:
        """Let input of a viewer pass, which puts it in control.

        Raises:
            SessionInUse: Another viewer has taken control from it.
            SessionNotFound: The session has been closed.
        """
        if self.holder() is not None and viewer in self._displaced:
            raise SessionInUse(
                'Another viewer has taken control. To get it again, send {"type": "control", "take": true}.'
            )
        self.take(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Take control from a viewer that gives it back or leaves."""
        if self._holder is viewer:
            self._end()
        self._displaced.discard(viewer)

    def _end(self) -> None:
        self._holder = None
        self._in_use.close()
