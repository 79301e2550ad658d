"""Events as frozen values, and the hub that passes them to all listeners.

The wording of the messages in `spec.md` is fixed, because users search their logs for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

DRIVER = "driver"


@dataclass(frozen=True)
class Event:
    """Base class of all events: something that happened, with its log level and its log line."""

    level: ClassVar[int] = logging.INFO
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


@dataclass(frozen=True)
class ServiceStarted(Event):
    """The service accepts requests."""

    text = "Drover {version} is ready at {url} (data folder {data_dir})"
    url: str
    version: str
    data_dir: str


@dataclass(frozen=True)
class PortRefuses(Event):
    """The service's own port refused a connection that it made itself."""

    level = logging.WARNING
    text = "Port {port} of {host} refuses connections although the service runs"
    host: str
    port: int


@dataclass(frozen=True)
class PortListensAgain(Event):
    """The service listens again on a port that refused connections."""

    level = logging.WARNING
    text = "Listening again on port {port} of {host}"
    host: str
    port: int


@dataclass(frozen=True)
class PortLost(Event):
    """The service cannot listen on its port any more, and ends."""

    level = logging.ERROR
    text = (
        "Port {port} of {host} refuses connections and cannot be listened on again ({error}): ending with "
        "exit code 75; browsers keep running, and the next start adopts them"
    )
    host: str
    port: int
    error: str


@dataclass(frozen=True)
class DrainBegan(Event):
    """The service accepts no new sessions, and stops when the present ones have ended."""

    text = "Draining: no new sessions, {sessions} go on for at most {timeout_s:g} s; then the service stops"
    sessions: int
    timeout_s: float


@dataclass(frozen=True)
class DrainEnded(Event):
    """The drain is over, and the service stops."""

    text = "Drained, {sessions} sessions left"
    sessions: int


@dataclass(frozen=True)
class ServiceStopping(Event):
    """The service is stopping; `signal` names the cause."""

    text = "Stopping ({signal}): closing all sessions"
    signal: str


@dataclass(frozen=True)
class ServiceStopped(Event):
    """All sessions are closed."""

    text = "Stopped"


@dataclass(frozen=True)
class StopIncomplete(Event):
    """The service stops although something is left, which the next start cleans up."""

    level = logging.ERROR
    text = "Stopped with something left: {left}; the next start cleans it up"
    left: str


@dataclass(frozen=True)
class StopStepFailed(Event):
    """One step of the stop failed; the steps after it are done all the same."""

    level = logging.ERROR
    text = "While stopping, {step} failed: {error}"
    step: str
    error: str


@dataclass(frozen=True)
class SettingIgnored(Event):
    """A `DROVER_` variable does not name a setting."""

    level = logging.WARNING
    text = "Unknown setting {variable} is ignored; `python app.py --help` lists all settings"
    variable: str


@dataclass(frozen=True)
class SandboxDisabled(Event):
    """Chrome runs without its sandbox, because it cannot start with it as root."""

    level = logging.WARNING
    text = "Running as root: Chrome starts with --no-sandbox; run Drover as a normal user to keep the sandbox"


@dataclass(frozen=True)
class CapabilitiesIgnored(Event):
    """Capabilities of a client that were set aside."""

    text = "Session {session_id}: capabilities set aside: {names}"
    session_id: str
    names: str


@dataclass(frozen=True)
class BrowserDoubtful(Event):
    """No browser can be started, or ChromeDriver's version does not match Chrome's."""

    level = logging.WARNING
    text = "{explanation}"
    explanation: str


@dataclass(frozen=True)
class DataFolderOnShare(Event):
    """The data folder is on a network share, where locks and sockets may not work."""

    level = logging.WARNING
    text = (
        "The data folder {data_dir} is on a network share ({file_system}), where browsers are slow and "
        "locks and sockets may fail; set DROVER_DATA_DIR to a folder on a local disk"
    )
    data_dir: str
    file_system: str


@dataclass(frozen=True)
class StoreSetAside(Event):
    """The session database could not be used and was renamed; the service starts with a new one."""

    level = logging.WARNING
    text = "The session database was not usable ({reason}) and was renamed to {path}; a new one was created"
    path: str
    reason: str


@dataclass(frozen=True)
class StoreFailed(Event):
    """The session database could not be written or read."""

    level = logging.ERROR
    text = "Session storage failed: {error}"
    error: str


@dataclass(frozen=True)
class DataFolderPutBack(Event):
    """A part of the data folder that was removed or replaced while the service ran was put back."""

    level = logging.WARNING
    text = "{part} was removed while the service ran, and was put back: exclude it from programs that tidy up"
    part: str


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
class MemoryShort(Event):
    """So little memory is available that no browser starts."""

    level = logging.WARNING
    text = "No browser starts: {shortage}"
    shortage: str


@dataclass(frozen=True)
class MemoryAvailable(Event):
    """There is enough memory to start browsers again."""

    text = "Browsers start again: {available_mb} MB of memory are available"
    available_mb: int


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
    text = "Session {session_id} appears dead: {reason}"
    session_id: str
    reason: str


@dataclass(frozen=True)
class ConnectionErrorDetected(Event):
    """A dead session triggers a cleanup of orphans before its recovery."""

    level = logging.WARNING
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
class CleanupTriggered(Event):
    """A cleanup of orphans was requested."""

    text = "🔧 Orphaned process cleanup triggered"


@dataclass(frozen=True)
class ActiveDrivers(Event):
    """The ChromeDrivers that a cleanup leaves alone, because sessions use them."""

    pids: tuple[int, ...]

    @property
    def message(self) -> str:
        return f"Active ChromeDriver PIDs: {{{', '.join(map(str, self.pids))}}}"


@dataclass(frozen=True)
class KillingProcess(Event):
    """A process is about to be ended.

    Attributes:
        role: A `Role` of `drover.processes.cleanup.chrome_names`, as text.
    """

    pid: int
    role: str
    orphaned: bool

    @property
    def message(self) -> str:
        name = "ChromeDriver" if self.role == DRIVER else "Chrome"
        return f"Killing {'orphaned ' if self.orphaned else ''}{name} process: PID {self.pid}"


@dataclass(frozen=True)
class ProcessSurvived(Event):
    """A process could not be ended."""

    level = logging.WARNING
    text = "Process PID {pid} could not be ended: {why}"
    pid: int
    why: str


@dataclass(frozen=True)
class CleanupFinished(Event):
    """A cleanup has finished.

    Attributes:
        killed_count: Processes that were verified to be gone.
        removed_profiles: Session folders that were removed.
        failed_count: Processes that could not be ended.
    """

    killed_count: int
    removed_profiles: int
    failed_count: int = 0

    @property
    def message(self) -> str:
        if self.killed_count == 0 and self.failed_count:
            return f"None of {self.failed_count} orphaned Chrome/ChromeDriver processes could be ended"
        if self.killed_count == 0:
            return "✅ No orphaned processes found"
        return f"✅ Killed {self.killed_count} orphaned Chrome/ChromeDriver processes"


@dataclass(frozen=True)
class CleanupFailed(Event):
    """A cleanup failed or took too long; its trigger continues without it."""

    level = logging.ERROR
    text = "Orphaned process cleanup failed: {error}"
    error: str


@dataclass(frozen=True)
class EmergencyStarted(Event):
    """Every Chrome on the machine is about to be ended."""

    level = logging.WARNING
    text = "🚨 EMERGENCY RECOVERY: Killing ALL Chrome instances"


@dataclass(frozen=True)
class EmergencyFinished(Event):
    """An emergency recovery has finished; `killed_count` processes were verified to be gone.

    Attributes:
        sessions: The ids of the sessions that there were.
    """

    level = logging.WARNING
    text = "🚨 Emergency recovery killed {killed_count} processes"
    killed_count: int
    sessions: tuple[str, ...] = ()


@dataclass(frozen=True)
class SessionDataCleared(Event):
    """All sessions and mappings were cleared."""

    text = "🗑️ Cleared all session data"


@dataclass(frozen=True)
class SessionDataNotCleared(Event):
    """An emergency recovery could not delete the sessions from the disk; that is retried until it is done."""

    level = logging.ERROR
    text = "Session data is not cleared on disk yet: {error}"
    error: str


@dataclass(frozen=True)
class GridSlotNotFreed(Event):
    """The node of a Selenium Grid could not be told that a session has ended."""

    level = logging.WARNING
    text = (
        "Session {session_id} has ended, but Selenium Grid's node was not told ({error}): its slot is free "
        "after Grid's session timeout. Check DROVER_GRID_NODE_URL and DROVER_GRID_SECRET."
    )
    session_id: str
    error: str


@dataclass(frozen=True)
class GridNodeNotDrained(Event):
    """The node of a Selenium Grid could not be told that the service is draining."""

    level = logging.WARNING
    text = (
        "Selenium Grid's node was not told of the drain ({error}): new sessions that Grid sends are refused. "
        "Check DROVER_GRID_NODE_URL and DROVER_GRID_SECRET."
    )
    error: str


@dataclass(frozen=True)
class UpkeepFailed(Event):
    """A background task failed; it runs again when it is next due.

    Attributes:
        unlogged: How often it has failed since the last such line, without a line.
    """

    level = logging.ERROR
    task: str
    error: str
    unlogged: int = 0

    @property
    def message(self) -> str:
        return f"Background task {self.task} failed: {self.error}{_more(self.unlogged)}"


@dataclass(frozen=True)
class UpkeepFailedAgain(UpkeepFailed):
    """A background task has failed in the same way within a minute."""

    level = logging.DEBUG


@dataclass(frozen=True)
class JobFailed(Event):
    """A background job ended with an error.

    Attributes:
        kind: A `JobKind` of `drover.core.jobs`, as text.
        session_id: Its session; None if it concerns the whole service.
        error: The reason.
        unlogged: How often it has failed since the last such line, without a line.
    """

    level = logging.ERROR
    kind: str
    session_id: str | None
    error: str
    unlogged: int = 0

    @property
    def message(self) -> str:
        of = f" of session {self.session_id}" if self.session_id is not None else ""
        return f"Background job failed: {self.kind}{of}: {self.error}{_more(self.unlogged)}"


@dataclass(frozen=True)
class JobFailedAgain(JobFailed):
    """A background job has failed in the same way within a minute."""

    level = logging.DEBUG


def _more(unlogged: int) -> str:
    return f" (and {unlogged} times since the last such line)" if unlogged else ""


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


@dataclass(frozen=True)
class ThreadsMissing(Event):
    """The service runs with fewer threads than it wants, because the system's limit has been reached."""

    level = logging.WARNING
    text = (
        "{missing} of the service's threads could not be started: fewer requests can wait at a time. "
        "Raise the limit of processes (ulimit -u, or the limit of the container)."
    )
    missing: int


@dataclass(frozen=True)
class LogLinesDropped(Event):
    """Log lines that were dropped because nothing read the log, or it could not be written."""

    level = logging.WARNING
    text = "{count} log lines were dropped: standard error was not read, or could not be written"
    count: int
