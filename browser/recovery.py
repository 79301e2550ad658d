"""The ladder by which a dead session is brought back: the gentlest rung that holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from browser.capabilities import Checked
from browser.health import Cause
from browser.launcher import Launcher, Wanted
from browser.running import RunningBrowser
from deadline import Deadline
from errors import BrowserUnavailable
from processes.folders import SessionFolder, SessionFolders


class Method(str, Enum):
    """How a session was brought back: what its client still finds there."""

    REATTACHED = "reattached"
    RECREATED = "recreated"


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recovery of a session.

    Attributes:
        cause: What was found dead or hung.
        method: The rung that held.
        orphans_killed: Processes that the cleanup before it has seen dead.
        duration_ms: From the finding to the session being ready again.
    """

    cause: Cause
    method: Method
    orphans_killed: int
    duration_ms: int


def bring_back(
    launcher: Launcher,
    folders: SessionFolders,
    folder: SessionFolder,
    running: RunningBrowser,
    checked: Checked,
    cause: Cause,
    deadline: Deadline,
    wanted: Wanted,
) -> tuple[RunningBrowser, Method]:
    """Give a session a living browser again.

    Where only ChromeDriver died or hangs, a new one is put on the surviving browser: every tab,
    form and script variable is still there. Otherwise all that is left is ended, the folder is
    emptied, and a new browser is started.

    Raises:
        BrowserUnavailable: Neither worked.
        CleanupIncomplete: The dead parts could not be ended.
        SessionLost: The session is not wanted any more.
    """
    if cause in {Cause.DRIVER_GONE, Cause.DRIVER_HUNG}:
        try:
            return launcher.reattach(folder, running, checked, deadline, wanted), Method.REATTACHED
        except BrowserUnavailable:
            # The browser went down after its ChromeDriver; the next rung starts a new one.
            pass
    launcher.stop(folder, running)
    folders.reset(folder)
    return launcher.start(folder, checked, deadline, wanted), Method.RECREATED
