"""A session: a stable id, under which ChromeDriver and browser may be replaced; values only."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timezone
from enum import Enum
from operator import attrgetter
from typing import Any, Final

from drover.browser.capabilities.policy import CheckedCapabilities
from drover.browser.driver_state import NO_DRIVER_STATE, DriverState
from drover.browser.health import Health
from drover.browser.recovery import Recovery
from drover.browser.running_browser import RunningBrowser
from drover.core.backoff import NO_FAILURES, Failures
from drover.storage.session_folders import SessionFolder

MAX_HOLDER = 256
SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class SessionState(str, Enum):
    """The state of a session in its lifecycle."""

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
"""All transitions. After a failed start or a complete close the session is removed, so there is no final
state. The transition from closing to closing is the retry of an incomplete close."""


class IllegalTransition(Exception):
    """A transition that is not in `TRANSITIONS` was requested: a bug."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Exclusive use of a session until a time.

    Attributes:
        holder: The holder's name, as given by the client.
        token: The secret that renews or ends the lease.
        expires_at: When it expires, in wall-clock time.
        expires_mono: When it expires, in seconds of the monotonic clock.
    """

    holder: str | None
    token: str = field(repr=False)
    expires_at: datetime
    expires_mono: float


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A page to open in the background every `interval` seconds while the session is not in use."""

    url: str
    interval: float


@dataclass(frozen=True, slots=True)
class Session:
    """One session as the registry knows it.

    Attributes:
        session_id: The stable id that clients use.
        key: The client's persistent name for it, if any.
        folder: Its folder, with profile, logs and temporary files; the path marks its processes.
        capabilities: The capabilities that the client requested, checked.
        first_page: The page to open when the session is created.
        idle_timeout: Seconds without use after which it is closed; 0 = never.
        created_at: When it was requested.
        last_used: When it was last used, in wall-clock time.
        last_used_mono: When it was last used, in seconds of the monotonic clock, which cannot be set back.
        state: Its state in the lifecycle.
        generation: Counts the attempts to start, recover or close it; a slow thread of an old generation
            cannot publish its results.
        running: Its ChromeDriver and browser; None before they have started.
        health: The result of the last check.
        current_url: The address of the page in front at the last check.
        notice: What a limit has done to it, shown while its health gives no other reason.
        memory_mb: Memory of its processes at the last measurement, in units of 1,000,000 bytes.
        recoveries: How often it was recovered.
        last_recovery: The last recovery.
        keep_alive: The page that keeps its login from expiring.
        kept_alive_mono: When that page was last opened, in seconds of the monotonic clock.
        lease: Its lease, if any.
        crash_loop: How often it was recovered in a row, without a successful command or check in between.
        window: The handle of the window that its client last switched to, if any.
        driver_state: What its client has set in ChromeDriver: frame and overrides.
        socket_secret: The secret part of the addresses that need no token, of BiDi and DevTools; None if an
            earlier version made it.
        ends_with_last_window: It was created over WebDriver, so closing its last window ends it.
        keeps_profile: When it ends, its whole profile is kept for the next session of its key.
        warm: It is in the warm pool and does not belong to a client yet.
        callers: Requests that hold it now, which protects it from eviction and idle closing.
        commands: WebDriver commands and sockets that pass through the service now.
        epoch: The number of its birth; every write to the database names it.
        revision: Counts its changes; the database never replaces a later revision by an earlier one.
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
    notice: str | None = None
    memory_mb: float | None = None
    recoveries: int = 0
    last_recovery: Recovery | None = None
    keep_alive: KeepAlive | None = None
    kept_alive_mono: float = 0.0
    lease: Lease | None = None
    crash_loop: Failures = NO_FAILURES
    window: str | None = None
    driver_state: DriverState = NO_DRIVER_STATE
    socket_secret: str | None = field(default=None, repr=False)
    ends_with_last_window: bool = False
    keeps_profile: bool = False
    warm: bool = False
    callers: int = 0
    commands: int = 0
    epoch: int = 0
    revision: int = 0

    @property
    def birth(self) -> str:
        """The random name of its folder, which tells it from every other session that has had its id."""
        return self.folder.path.name

    @property
    def in_use(self) -> bool:
        """Whether a command is running, a socket is open, or it is leased."""
        return self.commands > 0 or self.lease is not None

    @property
    def evictable(self) -> bool:
        """Whether it may be closed to free its place."""
        return self.state is SessionState.READY and not self.in_use and self.callers == 0

    def moved(self, state: SessionState) -> Session:
        """Return the session in another state, in a new generation.

        Raises:
            IllegalTransition: `TRANSITIONS` does not contain this transition.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"{self.session_id}: {self.state.value} -> {state.value}")
        return replace(self, state=state, generation=self.generation + 1)

    def idle_at(self, now_mono: float) -> bool:
        """Return whether it has exceeded its idle timeout."""
        return not self.warm and self.evictable and 0 < self.idle_timeout <= now_mono - self.last_used_mono

    def keep_alive_due(self, now_mono: float) -> bool:
        """Return whether its keep-alive page should be opened again."""
        if self.keep_alive is None or not self.evictable:
            return False
        return now_mono - max(self.kept_alive_mono, self.last_used_mono) >= self.keep_alive.interval


_NAMES: Final = [one.name for one in fields(Session)]
_values_of: Final = attrgetter(*_NAMES)
_CALLERS, _COMMANDS, _REVISION, _LAST_USED, _LAST_USED_MONO = map(
    _NAMES.index, ("callers", "commands", "revision", "last_used", "last_used_mono")
)


def changed(session: Session, changes: Mapping[str, Any]) -> Session:
    """Return a session with some of its fields changed."""
    return replace(session, **changes)


def used(session: Session) -> Session:
    """Return a session with the current time as its last use."""
    return replace(session, last_used=datetime.now(timezone.utc), last_used_mono=time.monotonic())


def counted(session: Session, callers: int, commands: int) -> Session:
    """Return the next revision of a session with these numbers added; a command counts as activity.

    Every command does it twice, and `replace` would take four times as long.
    """
    values = list(_values_of(session))
    values[_CALLERS] += callers
    values[_REVISION] += 1
    if commands:
        values[_COMMANDS] += commands
        values[_LAST_USED], values[_LAST_USED_MONO] = datetime.now(timezone.utc), time.monotonic()
    return Session(*values)


def taken_by(warm: Session, wanted: Session) -> Session:
    """Return the wanted session with the browser of a warm one."""
    return replace(
        wanted,
        folder=warm.folder,
        capabilities=replace(warm.capabilities, ignored=wanted.capabilities.ignored),
        state=warm.state,
        generation=warm.generation + 1,
        running=warm.running,
        health=warm.health,
        current_url=warm.current_url,
        epoch=warm.epoch,
        revision=warm.revision,
    )
