"""Why a browser did not start: ChromeDriver's reason, its last log lines, and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

from drover.browser import sandbox
from drover.storage.session_folders import SessionFolder

LINES = 8
ENOUGH_DISK_MB = 16
_ENDED_AT_ONCE = "Chrome instance exited"
_GREETINGS = ("Starting ChromeDriver", "Only local connections", "Please see", "ChromeDriver was started")


def explain_failure(
    error: object, folder: SessionFolder, *, sandboxed: bool = False, doubt: str | None = None
) -> str:
    """Tell why a browser did not start: ChromeDriver's reason, its last log lines, and what to do.

    Args:
        error: What ChromeDriver said.
        folder: The session's folder.
        sandboxed: Whether Chrome was to make its sandbox.
        doubt: What speaks against these programs, and what to do about it.
    """
    words = [_tail(folder.driver_log), _tail(folder.driver_output)]
    lines = " | ".join(word for word in words if word)
    told = f" ChromeDriver's last log lines: {lines}." if lines else ""
    advice = (
        disk_full(folder.path.parent)
        or _sandbox_advice(str(error), sandboxed)
        or doubt
        or "Check that Chrome and ChromeDriver are of the same version and start by hand"
    )
    return f"No browser could be started: {str(error).rstrip('.')}.{told} {advice}, then ask again"


def disk_full(path: Path) -> str | None:
    """Tell that the disk of a folder is full, and what to do; None where it is not, or cannot be told."""
    try:
        free_mb = shutil.disk_usage(path).free / 1e6
    except OSError:
        return None
    if free_mb >= ENOUGH_DISK_MB:
        return None
    return f"The disk of {path} is full ({free_mb:.0f} MB are free): make room"


def _sandbox_advice(error: str, sandboxed: bool) -> str | None:
    return sandbox.ADVICE if sandboxed and _ENDED_AT_ONCE in error and sandbox.is_forbidden() else None


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip() and not line.startswith(_GREETINGS)]
    return " / ".join(told[-LINES:])
