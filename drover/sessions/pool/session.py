"""A session: a promise under a stable id, kept with mortal parts; values only."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.health import Health
from drover.browser.recovery import Recovery
from drover.browser.running_browser import RunningBrowser
from drover.sessions.lifecycle.crash_backoff import NO_CRASH_LOOP, CrashLoop
from drover.storage.session_folders import SessionFolder

MAX_HOLDER = 256
SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class SessionState(str, Enum):
    """Where a session is in its life."""

    STARTING = "starting"
    READY = "ready"
    RECOVERING = "recovering"
    CLOSING = "closing"


TRANSITIONS: Mapping[SessionState, frozenset[SessionState]] = {
    SessionState.STARTING: frozenset({SessionState.READY, SessionState.CLOSING}),
    SessionState.READY: frozenset({SessionState.RECOVERING, SessionState.CLOSING}),
    SessionState.RECOVERING: frozenset({SessionState.READY, SessionState.CLOSING}),
    SessionState.CLOSING: frozenset({SessionState.CLOSING}),
}
"""Every transition that exists. A failed start and a proven close end in no state: the session is
forgotten. Closing again is how a close that left something behind is tried once more."""


class IllegalTransition(Exception):
    """A transition that is not in the table was asked for: a defect of the program."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A promise that nobody else is handed the session.

    Attributes:
        holder: Who holds it, in the holder's own words.
        token: What the holder shows to renew it or give it back.
        expires_at: When it ends by itself, for people.
        expires_mono: The same on the monotonic clock.
    """

    holder: str | None
    token: str = field(repr=False)
    expires_at: datetime
    expires_mono: float


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A page to open in the background every `interval` seconds while nobody uses the session."""

    url: str
    interval: float


@dataclass(frozen=True, slots=True)
class Session:
    """One session as the list knows it.

    Attributes:
        session_id: The stable id that clients use.
        key: The client's persistent name for it, if any.
        folder: Where its profile, logs and temporary files are; the path marks its processes.
        capabilities: What the client asked of Chrome, checked.
        first_page: The page to open when the session is created.
        idle_timeout: Seconds unused after which it is closed; 0 = never.
        created_at: When it was asked for.
        last_used: When it was last used, for people.
        last_used_mono: The same on the monotonic clock, which nobody can set back.
        state: Where it is in its life.
        generation: Counts the attempts to start, recover or close it; a slow thread of an old
            generation can publish nothing.
        running: Its ChromeDriver and browser, once there are some.
        health: What the last check found.
        current_url: The address of the page in front, as last seen.
        memory_mb: What its processes last used, in MiB.
        recoveries: How often it was recovered.
        last_recovery: The last of these.
        keep_alive: The page that keeps its login from lapsing.
        kept_alive_mono: When that was last opened, on the monotonic clock.
        lease: Who holds it.
        crash_loop: How often it was recovered in a row, without a sign of life in between.
        window: The handle of the window that its client has last switched to, where it has.
        bidi_secret: What a client has to name to reach its BiDi socket; None where it asked for none.
        ends_with_last_window: It was made over WebDriver, and so ends when a command closes its last window.
        warm: It stands ready for whoever asks next, and is nobody's yet.
        callers: Requests that hold it at this moment; it is neither evicted nor idled out under them.
        commands: WebDriver commands that run through us at this moment.
    """

    session_id: str
    key: str | None
    folder: SessionFolder
    capabilities: CheckedCapabilities
    first_page: str | None
    idle_timeout: float
    created_at: datetime
    last_used: datetime
    last_used_mono: float
    state: SessionState = SessionState.STARTING
    generation: int = 1
    running: RunningBrowser | None = None
    health: Health = field(default_factory=Health)
    current_url: str | None = None
    memory_mb: float | None = None
    recoveries: int = 0
    last_recovery: Recovery | None = None
    keep_alive: KeepAlive | None = None
    kept_alive_mono: float = 0.0
    lease: Lease | None = None
    crash_loop: CrashLoop = NO_CRASH_LOOP
    window: str | None = None
    bidi_secret: str | None = field(default=None, repr=False)
    ends_with_last_window: bool = False
    warm: bool = False
    callers: int = 0
    commands: int = 0

    @property
    def in_use(self) -> bool:
        """Tell whether somebody uses it at this moment."""
        return self.commands > 0 or self.lease is not None

    @property
    def evictable(self) -> bool:
        """Tell whether its place may be given to somebody else."""
        return self.state is SessionState.READY and not self.in_use and self.callers == 0

    def moved(self, state: SessionState) -> Session:
        """Give the session in another state, in a new generation.

        Raises:
            IllegalTransition: The table has no such transition.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"{self.session_id}: {self.state.value} -> {state.value}")
        return replace(self, state=state, generation=self.generation + 1)

    def idle_at(self, now_mono: float) -> bool:
        """Tell whether it has been unused for longer than it may be."""
        return not self.warm and self.evictable and 0 < self.idle_timeout <= now_mono - self.last_used_mono

    def keep_alive_due(self, now_mono: float) -> bool:
        """Tell whether its page is to be opened again."""
        if self.keep_alive is None or not self.evictable:
            return False
        return now_mono - max(self.kept_alive_mono, self.last_used_mono) >= self.keep_alive.interval


def changed(session: Session, changes: Mapping[str, Any]) -> Session:
    """Give a session with some of its fields changed."""
    return replace(session, **changes)


def used(session: Session) -> Session:
    """Give a session as used at this moment."""
    return replace(session, last_used=datetime.now(timezone.utc), last_used_mono=time.monotonic())


def counted(session: Session, callers: int, commands: int) -> Session:
    """Give a session with so many callers and commands more, or fewer; a command is a use of it."""
    held = replace(session, callers=session.callers + callers, commands=session.commands + commands)
    return used(held) if commands else held


def taken_by(warm: Session, wanted: Session) -> Session:
    """Give a warm session as the one that was wanted: with its browser, under the new id."""
    return replace(
        wanted,
        folder=warm.folder,
        capabilities=warm.capabilities,
        state=warm.state,
        generation=warm.generation + 1,
        running=warm.running,
        health=warm.health,
        current_url=warm.current_url,
    )
