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

    @property
    def message(self) -> str:
        """Give the log line."""
        raise NotImplementedError


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

    url: str
    version: str
    data_dir: str

    @property
    def message(self) -> str:
        return f"Drover {self.version} is ready at {self.url} (data folder {self.data_dir})"


@dataclass(frozen=True)
class ServiceStopping(Event):
    """The service was told to stop; `signal` names what told it."""

    signal: str

    @property
    def message(self) -> str:
        return f"Stopping upon {self.signal}: closing all sessions"


@dataclass(frozen=True)
class ServiceStopped(Event):
    """All sessions are closed."""

    @property
    def message(self) -> str:
        return "Stopped"


@dataclass(frozen=True)
class SettingIgnored(Event):
    """A `DROVER_` variable that is no setting."""

    level = logging.WARNING
    variable: str

    @property
    def message(self) -> str:
        return f"{self.variable} is not a setting and is ignored; `python app.py --help` lists them all"


@dataclass(frozen=True)
class SandboxDisabled(Event):
    """Chrome runs without its sandbox, since it cannot start with it here."""

    level = logging.WARNING

    @property
    def message(self) -> str:
        return "Running as root: Chrome is started with --no-sandbox; a normal user keeps its sandbox"


@dataclass(frozen=True)
class SwitchDropped(Event):
    """A client asked for a switch that is Drover's to decide."""

    level = logging.WARNING
    session_id: str
    switch: str

    @property
    def message(self) -> str:
        return f"Session {self.session_id}: the switch {self.switch} is Drover's to decide and was dropped"


@dataclass(frozen=True)
class BrowserDoubtful(Event):
    """No browser can be started, or ChromeDriver's version does not match Chrome's."""

    level = logging.WARNING
    explanation: str

    @property
    def message(self) -> str:
        return self.explanation


@dataclass(frozen=True)
class DataFolderOnShare(Event):
    """The data folder is on a network share, where locks and sockets may not work."""

    level = logging.WARNING
    data_dir: str
    file_system: str

    @property
    def message(self) -> str:
        return (
            f"The data folder {self.data_dir} is on a network share ({self.file_system}): browsers are slow "
            "there, and locks and sockets may fail; set DROVER_DATA_DIR to a folder on a local disk"
        )


@dataclass(frozen=True)
class StoreSetAside(Event):
    """The database could not be used and was set aside; the service starts with a new one."""

    level = logging.WARNING
    path: str
    reason: str

    @property
    def message(self) -> str:
        return (
            f"The list of sessions on disk could not be used ({self.reason}) and was set aside as {self.path}"
        )


@dataclass(frozen=True)
class StoreFailed(Event):
    """Something could not be written to the database, or read from it."""

    level = logging.ERROR
    error: str

    @property
    def message(self) -> str:
        return f"The list of sessions on disk: {self.error}"


@dataclass(frozen=True)
class SessionAdopted(Event):
    """A session of an earlier run goes on with its own processes."""

    session_id: str
    driver_pid: int
    browser_pid: int

    @property
    def message(self) -> str:
        return (
            f"Session {self.session_id} taken back "
            f"(ChromeDriver PID {self.driver_pid}, Chrome PID {self.browser_pid})"
        )


@dataclass(frozen=True)
class SessionForgotten(Event):
    """A session of an earlier run is not taken back."""

    session_id: str
    reason: str

    @property
    def message(self) -> str:
        return f"Session {self.session_id} of an earlier run is forgotten: {self.reason}"


@dataclass(frozen=True)
class SessionCreated(Event):
    """A session has its first browser."""

    session_id: str
    driver_pid: int
    browser_pid: int
    duration_ms: int

    @property
    def message(self) -> str:
        return (
            f"Session {self.session_id} created in {self.duration_ms} ms "
            f"(ChromeDriver PID {self.driver_pid}, Chrome PID {self.browser_pid})"
        )


@dataclass(frozen=True)
class WarmBrowserReady(SessionCreated):
    """A browser stands ready for whoever asks next."""

    @property
    def message(self) -> str:
        return (
            f"Warm browser ready after {self.duration_ms} ms "
            f"(ChromeDriver PID {self.driver_pid}, Chrome PID {self.browser_pid})"
        )


@dataclass(frozen=True)
class SessionStartFailed(Event):
    """No browser could be started for a new session."""

    level = logging.ERROR
    session_id: str
    error: str

    @property
    def message(self) -> str:
        return f"Session {self.session_id} could not be started: {self.error}"


@dataclass(frozen=True)
class FirstPageFailed(Event):
    """The first page of a new session could not be loaded; the session stands."""

    level = logging.WARNING
    session_id: str
    error: str

    @property
    def message(self) -> str:
        return f"Session {self.session_id}: its first page did not load: {self.error}"


@dataclass(frozen=True)
class KeepAliveFailed(Event):
    """The page that keeps a session's login from lapsing did not load; it is tried again when it is due."""

    level = logging.WARNING
    session_id: str
    error: str

    @property
    def message(self) -> str:
        return f"Session {self.session_id}: its keep-alive page did not load: {self.error}"


@dataclass(frozen=True)
class SessionAppearsDead(Event):
    """A health check found ChromeDriver or the browser of a session dead or hung."""

    level = logging.WARNING
    session_id: str
    reason: str

    @property
    def message(self) -> str:
        return f"Session {self.session_id} appears dead: {self.reason}"


@dataclass(frozen=True)
class ConnectionErrorDetected(Event):
    """A dead session asks for a cleanup of orphans before it is recovered."""

    level = logging.WARNING
    session_id: str

    @property
    def message(self) -> str:
        return "🔧 Connection error detected - attempting to clean up orphaned processes"


@dataclass(frozen=True)
class SessionRecovered(Event):
    """A dead session is alive again under the same id."""

    session_id: str
    cause: str
    method: str
    duration_ms: int

    @property
    def message(self) -> str:
        return (
            f"Session {self.session_id} recovered: {self.method} after {self.cause} in {self.duration_ms} ms"
        )


@dataclass(frozen=True)
class SessionRecoveryFailed(Event):
    """A dead session could not be brought back this time."""

    level = logging.ERROR
    session_id: str
    cause: str
    error: str

    @property
    def message(self) -> str:
        return f"Session {self.session_id} could not be recovered after {self.cause}: {self.error}"


@dataclass(frozen=True)
class SessionClosed(Event):
    """A session's processes are gone, its folder is removed; `why` is deleted, idle, evicted or stopping."""

    session_id: str
    why: str

    @property
    def message(self) -> str:
        return f"Session {self.session_id} closed ({self.why})"


@dataclass(frozen=True)
class SessionCloseIncomplete(Event):
    """Something of a session survived its closing; the session stays in the list."""

    level = logging.ERROR
    session_id: str
    error: str

    @property
    def message(self) -> str:
        return f"Session {self.session_id} is not closed yet: {self.error}"


@dataclass(frozen=True)
class CleanupTriggered(Event):
    """A cleanup of orphans was asked for."""

    @property
    def message(self) -> str:
        return "🔧 Orphaned process cleanup triggered"


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
    pid: int
    why: str

    @property
    def message(self) -> str:
        return f"Process PID {self.pid} could not be ended: {self.why}"


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
    error: str

    @property
    def message(self) -> str:
        return f"Orphaned process cleanup failed: {self.error}"


@dataclass(frozen=True)
class EmergencyStarted(Event):
    """Every Chrome of the machine is about to be ended."""

    level = logging.WARNING

    @property
    def message(self) -> str:
        return "🚨 EMERGENCY RECOVERY: Killing ALL Chrome instances"


@dataclass(frozen=True)
class EmergencyFinished(Event):
    """The emergency recovery is done: so many processes seen dead."""

    level = logging.WARNING
    killed_count: int

    @property
    def message(self) -> str:
        return f"🚨 Emergency recovery killed {self.killed_count} processes"


@dataclass(frozen=True)
class SessionDataCleared(Event):
    """All sessions and mappings are forgotten."""

    @property
    def message(self) -> str:
        return "🗑️ Cleared all session data"


@dataclass(frozen=True)
class UpkeepFailed(Event):
    """A background task broke off; it runs again when it is next due."""

    level = logging.ERROR
    task: str
    error: str

    @property
    def message(self) -> str:
        return f"Background task {self.task} failed: {self.error}"
