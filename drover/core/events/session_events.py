"""Events of one session: its start, recovery, limits and end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from drover.core.events.event import Event

_RECOVERY_METHODS = {
    "reattached": "new ChromeDriver on the same browser, with its tabs and forms",
    "restored": "new browser with cookies, storage and address restored",
    "recreated": "new, empty browser, because no state could be saved",
}
_CLOSED = {
    "deleted": "Closed on request",
    "quit": "Closed by its client",
    "idle": "Closed: not used during its idle timeout",
    "evicted": "Closed to free its place for another session",
    "stopping": "Closed: the service is stopping",
    "drained": "Closed: the service is draining; its state is kept for its key",
}


def _took(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004 - a second


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
    timeline_kind = "start"
    timeline_text = "Adopted from an earlier run with its browser"
    session_id: str
    driver_pid: int
    browser_pid: int


@dataclass(frozen=True)
class SessionForgotten(Event):
    """A session of an earlier run was not adopted."""

    text = "Session {session_id} of an earlier run was not adopted: {reason}"
    timeline_kind = "end"
    timeline_text = "Not adopted from an earlier run: {reason}"
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

    @property
    def timeline(self) -> tuple[str, str] | None:
        return "start", f"Opened in {_took(self.duration_ms)}"


@dataclass(frozen=True)
class WarmBrowserReady(SessionCreated):
    """A pre-warmed browser is ready for the next new session."""

    text = (
        "Warm browser ready after {duration_ms} ms (ChromeDriver PID {driver_pid}, Chrome PID {browser_pid})"
    )

    @property
    def timeline(self) -> None:
        return None


@dataclass(frozen=True)
class SessionStartFailed(Event):
    """No browser could be started for a new session."""

    level = logging.ERROR
    text = "Session {session_id} could not be started: {error}"
    timeline_kind = "trouble"
    timeline_text = "Could not be opened: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class CapabilitiesRejected(SessionStartFailed):
    """No browser can be started as a client's capabilities ask; browsers with others are not affected."""

    level = logging.WARNING


@dataclass(frozen=True)
class FirstPageFailed(Event):
    """The first page of a new session could not be loaded; the session stays open."""

    level = logging.WARNING
    text = "Session {session_id}: its first page did not load: {error}"
    timeline_kind = "trouble"
    timeline_text = "Its first page did not load: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class KeepAliveFailed(Event):
    """The page that keeps the login of a session valid did not load; it is loaded again when next due."""

    level = logging.WARNING
    text = "Session {session_id}: its keep-alive page did not load: {error}"
    timeline_kind = "trouble"
    timeline_text = "Its keep-alive page did not load: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class DownloadsCancelled(Event):
    """The downloads of a session exceeded their limit together."""

    level = logging.WARNING
    timeline_kind = "trouble"
    timeline_text = "Downloads were cancelled: together they exceed {limit_mb} MB"
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
    timeline_kind = "trouble"
    timeline_text = "The profile had {size_mb} MB, over {limit_mb} MB; removed {removed}"
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
    timeline_kind = "recovery"
    timeline_text = "Gets a new browser: {reason}"
    session_id: str
    reason: str


@dataclass(frozen=True)
class SessionAppearsDead(Event):
    """A health check found the ChromeDriver or the browser of a session dead or hung."""

    level = logging.WARNING
    is_fixed = True
    text = "Session {session_id} appears dead: {reason}"
    timeline_kind = "trouble"
    timeline_text = "Found dead: {reason}"
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
    timeline_kind = "trouble"
    timeline_text = "Saved state not put back, but kept: {lost}"
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
        return super().message + self._losses

    @property
    def timeline(self) -> tuple[str, str] | None:
        how = _RECOVERY_METHODS.get(self.method, self.method)
        return "recovery", f"Recovered in {_took(self.duration_ms)}: {how}{self._losses}"

    @property
    def _losses(self) -> str:
        return f"; lost: {', '.join(self.lost)}" if self.lost else ""


@dataclass(frozen=True)
class ProfileSetAside(Event):
    """Chrome ran and died on the profile of a session, and starts on a new one."""

    level = logging.WARNING
    text = (
        "Session {session_id}: Chrome starts on a new profile, but not on the session's; "
        "that one is kept for a day as {path}"
    )
    timeline_kind = "trouble"
    timeline_text = "Chrome does not start on its profile, which is kept for a day as {path}"
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
    timeline_kind = "trouble"
    timeline_text = "Chrome refuses the kept profile ({reason}); started from the saved state instead"
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
    timeline_kind = "service"
    count: int
    limit_mb: int


@dataclass(frozen=True)
class SessionRecoveryFailed(Event):
    """A recovery of a dead session failed."""

    level = logging.ERROR
    text = "Session {session_id} could not be recovered after {cause}: {error}"
    timeline_kind = "trouble"
    timeline_text = "Could not be recovered: {error}"
    session_id: str
    cause: str
    error: str


@dataclass(frozen=True)
class SessionClosed(Event):
    """A session is closed: its processes are gone and its folder is removed.

    Attributes:
        why: A `CloseReason` of `drover.sessions.lifecycle.close_work`, as text.
    """

    text = "Session {session_id} closed ({why})"
    session_id: str
    why: str

    @property
    def timeline(self) -> tuple[str, str] | None:
        kind = "eviction" if self.why == "evicted" else "end"
        return kind, _CLOSED.get(self.why, f"Closed: {self.why}")


@dataclass(frozen=True)
class SessionCloseIncomplete(Event):
    """A process or folder of a closed session is left; the removal is retried until nothing is left."""

    level = logging.ERROR
    text = "Session {session_id} is not closed yet: {error}"
    timeline_kind = "trouble"
    timeline_text = "Not closed yet: {error}"
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
