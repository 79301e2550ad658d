"""Events of one session: its start, recovery, limits and end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from drover.core.events.event import Event


@dataclass(frozen=True)
class CapabilitiesIgnored(Event):
    """Capabilities of a client that were set aside."""

    text = "Session {session_id}: capabilities set aside: {names}"
    session_id: str
    names: str


@dataclass(frozen=True)
class SessionAdopted(Event):
    """A session of an earlier run was adopted with its processes."""

    text = "Session {session_id} adopted (ChromeDriver PID {driver_pid}, Chrome PID {browser_pid})"
    session_id: str
    driver_pid: int
    browser_pid: int


@dataclass(frozen=True)
class SessionForgotten(Event):
    """A session of an earlier run was not adopted."""

    text = "Session {session_id} of an earlier run was not adopted: {reason}"
    session_id: str
    reason: str


@dataclass(frozen=True)
class SessionCreated(Event):
    """The first browser of a session has started."""

    text = (
        "Session {session_id} created in {duration_ms} ms "
        "(ChromeDriver PID {driver_pid}, Chrome PID {browser_pid})"
    )
    session_id: str
    driver_pid: int
    browser_pid: int
    duration_ms: int


@dataclass(frozen=True)
class WarmBrowserReady(SessionCreated):
    """A pre-warmed browser is ready for the next new session."""

    text = (
        "Warm browser ready after {duration_ms} ms (ChromeDriver PID {driver_pid}, Chrome PID {browser_pid})"
    )


@dataclass(frozen=True)
class CapabilitiesRejected(Event):
    """No browser can be started as a client's capabilities ask; browsers with others are not affected."""

    level = logging.WARNING
    text = "Session {session_id} could not be started: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class SessionStartFailed(Event):
    """No browser could be started for a new session."""

    level = logging.ERROR
    text = "Session {session_id} could not be started: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class FirstPageFailed(Event):
    """The first page of a new session could not be loaded; the session stays open."""

    level = logging.WARNING
    text = "Session {session_id}: its first page did not load: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class KeepAliveFailed(Event):
    """The page that keeps the login of a session valid did not load; it is loaded again when next due."""

    level = logging.WARNING
    text = "Session {session_id}: its keep-alive page did not load: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class DownloadsCancelled(Event):
    """The downloads of a session exceeded their limit together."""

    level = logging.WARNING
    session_id: str
    limit_mb: int

    @property
    def notice(self) -> str:
        """What happened, as the session itself shows it."""
        return f"downloads were cancelled: together they exceed {self.limit_mb} MB (DROVER_MAX_DOWNLOADS_MB)"

    @property
    def message(self) -> str:
        return f"Session {self.session_id}: {self.notice}"


@dataclass(frozen=True)
class ProfileShrunk(Event):
    """The profile of a session exceeded its limit, and what may be removed of it was removed."""

    level = logging.WARNING
    session_id: str
    size_mb: int
    limit_mb: int
    removed: str
    after_mb: int

    @property
    def notice(self) -> str:
        """What happened, as the session itself shows it."""
        return (
            f"the profile had {self.size_mb} MB, over {self.limit_mb} MB (DROVER_MAX_PROFILE_MB): "
            f"removed {self.removed}; now {self.after_mb} MB"
        )

    @property
    def message(self) -> str:
        return f"Session {self.session_id}: {self.notice}"


@dataclass(frozen=True)
class SessionRecycling(Event):
    """An unused session gets a new browser, because its browser is old or large."""

    text = "Session {session_id} is recycled: {reason}"
    session_id: str
    reason: str


@dataclass(frozen=True)
class SessionAppearsDead(Event):
    """A health check found the ChromeDriver or the browser of a session dead or hung."""

    level = logging.WARNING
    is_fixed = True
    text = "Session {session_id} appears dead: {reason}"
    session_id: str
    reason: str


@dataclass(frozen=True)
class ConnectionErrorDetected(Event):
    """A dead session triggers a cleanup of orphans before its recovery."""

    level = logging.WARNING
    is_fixed = True
    text = "🔧 Connection error detected - attempting to clean up orphaned processes"
    session_id: str


@dataclass(frozen=True)
class StateNotRestored(Event):
    """A browser has not received all that was saved of a session or kept for its key; that is kept."""

    level = logging.WARNING
    text = "Session {session_id}: saved state could not be put back and is kept: {lost}"
    session_id: str
    lost: str


@dataclass(frozen=True)
class SessionRecovered(Event):
    """A dead session was recovered under the same id.

    Attributes:
        lost: What could not be kept, as in the API; empty if nothing was lost.
    """

    text = "Session {session_id} recovered: {method} after {cause} in {duration_ms} ms"
    session_id: str
    cause: str
    method: str
    duration_ms: int
    lost: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        return super().message + (f"; lost: {', '.join(self.lost)}" if self.lost else "")


@dataclass(frozen=True)
class ProfileSetAside(Event):
    """Chrome ran and died on the profile of a session, and starts on a new one."""

    level = logging.WARNING
    text = (
        "Session {session_id}: Chrome starts on a new profile, but not on the session's; "
        "that one is kept for a day as {path}"
    )
    session_id: str
    path: str


@dataclass(frozen=True)
class KeptProfileRefused(Event):
    """Chrome does not start on the profile that was kept for a key, but on a new one with the saved state."""

    level = logging.WARNING
    text = (
        "Session {session_id}: Chrome refuses the profile that was kept for key {key} ({reason}); it starts "
        "from the saved state, and the profile is kept for a day as {path}"
    )
    session_id: str
    key: str
    reason: str
    path: str


@dataclass(frozen=True)
class KeptProfilesDropped(Event):
    """Kept profiles were removed because all together exceeded their limit; cookies and storage stay."""

    text = (
        "Kept profiles of {count} keys were removed, the least recently used first: together they exceeded "
        "{limit_mb} MB (DROVER_MAX_KEPT_MB); cookies and storage of these keys are still kept"
    )
    count: int
    limit_mb: int


@dataclass(frozen=True)
class SessionRecoveryFailed(Event):
    """A recovery of a dead session failed."""

    level = logging.ERROR
    text = "Session {session_id} could not be recovered after {cause}: {error}"
    session_id: str
    cause: str
    error: str


@dataclass(frozen=True)
class SessionClosed(Event):
    """A session is closed: its processes are gone and its folder is removed.

    Attributes:
        why: deleted, idle, evicted, drained or stopping.
    """

    text = "Session {session_id} closed ({why})"
    session_id: str
    why: str


@dataclass(frozen=True)
class SessionCloseIncomplete(Event):
    """A process or folder of a closed session is left; the removal is retried until nothing is left."""

    level = logging.ERROR
    text = "Session {session_id} is not closed yet: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class RequestAnswered(Event):
    """A response has begun; for a WebSocket, the handshake has ended.

    Attributes:
        status: The HTTP status; 499 if the client left before.
        ms: Milliseconds since the head of the request arrived.
    """

    level = logging.DEBUG
    text = "{method} {path} {status} in {ms} ms"
    method: str
    path: str
    status: int
    ms: int
