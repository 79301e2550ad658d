"""Explanation of a failed browser start: ChromeDriver's error, its last log lines, and what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

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
