"""Events of the service as a whole: start, stop, drain, port, memory, disk, and the node of a Grid."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from drover.core.events.event import Event


@dataclass(frozen=True)
class ServiceStarted(Event):
    """The service accepts requests."""

    text = "Drover {version} is ready at {url} (data folder {data_dir})"
    timeline_kind = "service"
    timeline_text = "Drover {version} is ready"
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
    timeline_kind = "service"
    timeline_text = "Drover accepts no new sessions; {sessions} sessions go on for at most {timeout_s:g} s"
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
    timeline_kind = "service"
    timeline_text = "Drover is stopping ({signal}) and closes all sessions"
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
class BrowserDoubtful(Event):
    """No browser can be started, or ChromeDriver's version does not match Chrome's."""

    level = logging.WARNING
    text = "{explanation}"
    timeline_kind = "trouble"
    explanation: str


@dataclass(frozen=True)
class MemoryShort(Event):
    """So little memory is available that no browser starts."""

    level = logging.WARNING
    text = "No browser starts: {shortage}"
    timeline_kind = "trouble"
    shortage: str


@dataclass(frozen=True)
class MemoryAvailable(Event):
    """There is enough memory to start browsers again."""

    text = "Browsers start again: {available_mb} MB of memory are available"
    timeline_kind = "service"
    available_mb: int


@dataclass(frozen=True)
class GridSlotNotFreed(Event):
    """The node of a Selenium Grid could not be told that a session has ended."""

    level = logging.WARNING
    text = (
        "Session {session_id} has ended, but Selenium Grid's node was not told ({error}): its slot is free "
        "after Grid's session timeout. Check DROVER_GRID_NODE_URL and DROVER_GRID_SECRET."
    )
    timeline_kind = "trouble"
    timeline_text = "Ended, but Selenium Grid's node was not told: {error}"
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
    timeline_kind = "trouble"
    timeline_text = "Selenium Grid's node was not told of the drain: {error}"
    error: str


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
    timeline_kind = "trouble"
    path: str
    reason: str


@dataclass(frozen=True)
class StoreFailed(Event):
    """The session database could not be written or read."""

    level = logging.ERROR
    text = "Session storage failed: {error}"
    timeline_kind = "trouble"
    error: str


@dataclass(frozen=True)
class DataFolderPutBack(Event):
    """A part of the data folder that was removed or replaced while the service ran was put back."""

    level = logging.WARNING
    text = "{part} was removed while the service ran, and was put back: exclude it from programs that tidy up"
    timeline_kind = "trouble"
    part: str
