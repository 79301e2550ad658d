"""What happened, as frozen values, and the one hub that tells everybody who listens.

The messages that users search their logs for are fixed wording: change none of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

DRIVER = "driver"


@dataclass(frozen=True)
class Event:
    """Something that happened, with the level and the one line that a log shows of it."""

    level: ClassVar[int] = logging.INFO
    text: ClassVar[str]

    @property
    def message(self) -> str:
        """Give the log line: `text`, with what the event carries by its name."""
        return self.text.format_map(vars(self))


Emit = Callable[[Event], None]


class EventHub:
    """Hands every event to all listeners, in the caller's thread and in the order of subscription."""

    def __init__(self) -> None:
        self._listeners: list[Emit] = []

    def subscribe(self, listener: Emit) -> None:
        """Let `listener` hear all events from now on; it must be quick and must not raise."""
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        """Tell every listener."""
        for listener in self._listeners:
            listener(event)


@dataclass(frozen=True)
class ServiceStarted(Event):
    """The service answers requests."""

    text = "Drover {version} is ready at {url} (data folder {data_dir})"
    url: str
    version: str
    data_dir: str


@dataclass(frozen=True)
class ServiceStopping(Event):
    """The service was told to stop; `signal` names what told it."""

    text = "Stopping upon {signal}: closing all sessions"
    signal: str


@dataclass(frozen=True)
class ServiceStopped(Event):
    """All sessions are closed."""

    text = "Stopped"


@dataclass(frozen=True)
class SettingIgnored(Event):
    """A `DROVER_` variable that is no setting."""

    level = logging.WARNING
    text = "{variable} is not a setting and is ignored; `python app.py --help` lists them all"
    variable: str


@dataclass(frozen=True)
class SandboxDisabled(Event):
    """Chrome runs without its sandbox, since it cannot start with it here."""

    level = logging.WARNING
    text = "Running as root: Chrome is started with --no-sandbox; a normal user keeps its sandbox"


@dataclass(frozen=True)
class SwitchDropped(Event):
    """A client asked for a switch that is Drover's to decide."""

    level = logging.WARNING
    text = "Session {session_id}: the switch {switch} is Drover's to decide and was dropped"
    session_id: str
    switch: str


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
        "The data folder {data_dir} is on a network share ({file_system}): browsers are slow there, and "
        "locks and sockets may fail; set DROVER_DATA_DIR to a folder on a local disk"
    )
    data_dir: str
    file_system: str


@dataclass(frozen=True)
class StoreSetAside(Event):
    """The database could not be used and was set aside; the service starts with a new one."""

    level = logging.WARNING
    text = "The list of sessions on disk could not be used ({reason}) and was set aside as {path}"
    path: str
    reason: str


@dataclass(frozen=True)
class StoreFailed(Event):
    """Something could not be written to the database, or read from it."""

    level = logging.ERROR
    text = "The list of sessions on disk: {error}"
    error: str


@dataclass(frozen=True)
class SessionAdopted(Event):
    """A session of an earlier run goes on with its own processes."""

    text = "Session {session_id} taken back (ChromeDriver PID {driver_pid}, Chrome PID {browser_pid})"
    session_id: str
    driver_pid: int
    browser_pid: int


@dataclass(frozen=True)
class SessionForgotten(Event):
    """A session of an earlier run is not taken back."""

    text = "Session {session_id} of an earlier run is forgotten: {reason}"
    session_id: str
    reason: str


@dataclass(frozen=True)
class SessionCreated(Event):
    """A session has its first browser."""

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
    """A browser stands ready for whoever asks next."""

    text = (
        "Warm browser ready after {duration_ms} ms (ChromeDriver PID {driver_pid}, Chrome PID {browser_pid})"
    )


@dataclass(frozen=True)
class SessionStartFailed(Event):
    """No browser could be started for a new session."""

    level = logging.ERROR
    text = "Session {session_id} could not be started: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class FirstPageFailed(Event):
    """The first page of a new session could not be loaded; the session stands."""

    level = logging.WARNING
    text = "Session {session_id}: its first page did not load: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class KeepAliveFailed(Event):
    """The page that keeps a session's login from lapsing did not load; it is tried again when it is due."""

    level = logging.WARNING
    text = "Session {session_id}: its keep-alive page did not load: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class SessionAppearsDead(Event):
    """A health check found ChromeDriver or the browser of a session dead or hung."""

    level = logging.WARNING
    text = "Session {session_id} appears dead: {reason}"
    session_id: str
    reason: str


@dataclass(frozen=True)
class ConnectionErrorDetected(Event):
    """A dead session asks for a cleanup of orphans before it is recovered."""

    level = logging.WARNING
    text = "🔧 Connection error detected - attempting to clean up orphaned processes"
    session_id: str


@dataclass(frozen=True)
class SessionRecovered(Event):
    """A dead session is alive again under the same id."""

    text = "Session {session_id} recovered: {method} after {cause} in {duration_ms} ms"
    session_id: str
    cause: str
    method: str
    duration_ms: int


@dataclass(frozen=True)
class SessionRecoveryFailed(Event):
    """A dead session could not be brought back this time."""

    level = logging.ERROR
    text = "Session {session_id} could not be recovered after {cause}: {error}"
    session_id: str
    cause: str
    error: str


@dataclass(frozen=True)
class SessionClosed(Event):
    """A session's processes are gone, its folder is removed; `why` is deleted, idle, evicted or stopping."""

    text = "Session {session_id} closed ({why})"
    session_id: str
    why: str


@dataclass(frozen=True)
class SessionCloseIncomplete(Event):
    """Something of a session survived its closing; it is tried again until nothing is left."""

    level = logging.ERROR
    text = "Session {session_id} is not closed yet: {error}"
    session_id: str
    error: str


@dataclass(frozen=True)
class CleanupTriggered(Event):
    """A cleanup of orphans was asked for."""

    text = "🔧 Orphaned process cleanup triggered"


@dataclass(frozen=True)
class ActiveDrivers(Event):
    """The ChromeDrivers that a cleanup spares because sessions use them."""

    pids: tuple[int, ...]

    @property
    def message(self) -> str:
        return f"Active ChromeDriver PIDs: {{{', '.join(map(str, self.pids))}}}"


@dataclass(frozen=True)
class KillingProcess(Event):
    """A process is about to be ended; `role` is that of the process table."""

    pid: int
    role: str
    orphaned: bool

    @property
    def message(self) -> str:
        name = "ChromeDriver" if self.role == DRIVER else "Chrome"
        return f"Killing {'orphaned ' if self.orphaned else ''}{name} process: PID {self.pid}"


@dataclass(frozen=True)
class ProcessSurvived(Event):
    """A process that was to be ended could not be."""

    level = logging.WARNING
    text = "Process PID {pid} could not be ended: {why}"
    pid: int
    why: str


@dataclass(frozen=True)
class CleanupFinished(Event):
    """A cleanup is done: so many processes seen dead, so many folders removed, so many processes left."""

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
    """A cleanup broke off or took too long; what asked for it goes on."""

    level = logging.ERROR
    text = "Orphaned process cleanup failed: {error}"
    error: str


@dataclass(frozen=True)
class EmergencyStarted(Event):
    """Every Chrome of the machine is about to be ended."""

    level = logging.WARNING
    text = "🚨 EMERGENCY RECOVERY: Killing ALL Chrome instances"


@dataclass(frozen=True)
class EmergencyFinished(Event):
    """The emergency recovery is done: so many processes seen dead."""

    level = logging.WARNING
    text = "🚨 Emergency recovery killed {killed_count} processes"
    killed_count: int


@dataclass(frozen=True)
class SessionDataCleared(Event):
    """All sessions and mappings are forgotten."""

    text = "🗑️ Cleared all session data"


@dataclass(frozen=True)
class UpkeepFailed(Event):
    """A background task broke off; it runs again when it is next due."""

    level = logging.ERROR
    text = "Background task {task} failed: {error}"
    task: str
    error: str
