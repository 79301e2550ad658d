"""Explanation of a failed browser start: what ChromeDriver's error proves, its last log lines, what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from drover.browser.driver_client import CommandFailed, NoResponse
from drover.core.errors import BrowserUnavailable
from drover.processes import children
from drover.storage.session_folders import SessionFolder

LINES = 8
ENOUGH_DISK_MB = 16
_ENDED_AT_ONCE = "Chrome instance exited"
_BANNER = ("Starting ChromeDriver", "Only local connections", "Please see", "ChromeDriver was started")
SANDBOX_PROBE = ("unshare", "--user", "--map-root-user", "true")
SANDBOX_PROBE_S = 5.0
_SANDBOX_ADVICE = (
    "Chrome cannot create its sandbox because this user is not allowed to create user namespaces (usual in "
    "containers). Enable them, or set DROVER_CHROME_ARGS=--no-sandbox if you only open trusted pages"
)

_WRONG_VERSION: Final = "only supports Chrome version"
# Chrome ran and ended before it was ready; one that could not be run is reported otherwise.
_DIED: Final = re.compile(r"exited|crashed|DevToolsActivePort|not reachable|disconnected")
# Chrome has created the file in which it tells its port, and ended or found the disk full before it wrote it
# (this and the next ones: chrome/test/chromedriver/chrome_launcher.cc).
_PORT_UNTOLD: Final = "Devtools port number file contents"
# ChromeDriver could not write the profile, which is never a client's, or start a process at all.
_MACHINE_FAILED: Final = re.compile(r"failed to (write|create)|cannot create", re.IGNORECASE)


class WrongVersion(BrowserUnavailable):
    """ChromeDriver refuses this Chrome because of its version."""


class ChromeFailed(BrowserUnavailable):
    """ChromeDriver runs, but could not start Chrome with the requested capabilities.

    Attributes:
        cause: ChromeDriver's error.
    """

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


class ChromeDied(ChromeFailed):
    """Chrome ran on a profile and ended before it was ready, twice; the profile may be the reason."""


class StartInterrupted(BrowserUnavailable):
    """ChromeDriver or Chrome ended or hung during the start, and nothing says why."""


def start_failure(reason: str, error: CommandFailed) -> BrowserUnavailable:
    """Return the error for a start that failed.

    Args:
        reason: Why it failed and what to do, for people.
    """
    cause = str(error)
    if isinstance(error, NoResponse) or _PORT_UNTOLD in cause:
        return StartInterrupted(reason)
    if _WRONG_VERSION in cause:
        return WrongVersion(reason)
    if _MACHINE_FAILED.search(cause):
        return BrowserUnavailable(reason)
    return (ChromeDied if _DIED.search(cause) else ChromeFailed)(reason, cause)


def explain_failure(
    error: object,
    folder: SessionFolder,
    *,
    what: str = "No browser could be started",
    sandboxed: bool = False,
    version_warning: str | None = None,
) -> str:
    """Return why a browser did not start: ChromeDriver's error, its last log lines, and what to do.

    Args:
        version_warning: What is wrong with the versions of the programs, and what to do about it.
    """
    tails = [_tail(folder.driver_log), _tail(folder.driver_output)]
    lines = " | ".join(tail for tail in tails if tail)
    log = f" ChromeDriver's last log lines: {lines}." if lines else ""
    advice = (
        disk_full(folder.path.parent)
        or _sandbox_advice(str(error), sandboxed)
        or version_warning
        or "Check that Chrome and ChromeDriver have the same major version and that both start manually"
    )
    return f"{what}: {str(error).rstrip('.')}.{log} {advice}, then retry"


def disk_full(path: Path) -> str | None:
    """Return that the disk of a folder is full, and what to do; None if it is not full, or unknown."""
    try:
        free_mb = shutil.disk_usage(path).free / 1e6
    except OSError:
        return None
    if free_mb >= ENOUGH_DISK_MB:
        return None
    return f"Disk full: only {free_mb:.0f} MB free on {path}. Free some space"


def is_sandbox_forbidden() -> bool:
    """Return whether this user may not create the user namespaces that Chrome's sandbox on Linux needs.

    False on other systems, and if `unshare` is missing or does not finish.
    """
    if sys.platform != "linux":
        return False
    try:
        return children.run(SANDBOX_PROBE, SANDBOX_PROBE_S).returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _sandbox_advice(error: str, sandboxed: bool) -> str | None:
    return _SANDBOX_ADVICE if sandboxed and _ENDED_AT_ONCE in error and is_sandbox_forbidden() else None


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    relevant = [line.strip() for line in lines if line.strip() and not line.startswith(_BANNER)]
    return " / ".join(relevant[-LINES:])
