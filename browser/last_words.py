"""Why a browser did not start: ChromeDriver's reason, its last log lines, and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

from browser import sandbox
from processes.folders import SessionFolder

LINES = 8
ENOUGH_DISK_MB = 16
_ENDED_AT_ONCE = "Chrome instance exited"
_GREETINGS = ("Starting ChromeDriver", "Only local connections", "Please see", "ChromeDriver was started")


def story(error: object, folder: SessionFolder, *, sandboxed: bool = False) -> str:
    """Tell why a browser did not start: ChromeDriver's reason, its last log lines, and what to do.

    Args:
        error: What ChromeDriver said.
        folder: The session's folder.
        sandboxed: Whether Chrome was to make its sandbox.
    """
    words = [_tail(folder.driver_log), _tail(folder.driver_output)]
    last_words = " | ".join(word for word in words if word)
    told = f" ChromeDriver's last words: {last_words}." if last_words else ""
    advice = _advice(str(error), folder, sandboxed)
    return f"No browser could be started: {str(error).rstrip('.')}.{told} {advice}, then ask again"


def _advice(error: str, folder: SessionFolder, sandboxed: bool) -> str:
    free_mb = _free_mb(folder.path)
    if free_mb is not None and free_mb < ENOUGH_DISK_MB:
        return f"The disk of {folder.path.parent} is full ({free_mb:.0f} MB are free): make room"
    if sandboxed and _ENDED_AT_ONCE in error and sandbox.is_forbidden():
        return sandbox.ADVICE
    return "Check that Chrome and ChromeDriver are of the same version and start by hand"


def _free_mb(path: Path) -> float | None:
    try:
        return shutil.disk_usage(path).free / 1e6
    except OSError:
        return None


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip() and not line.startswith(_GREETINGS)]
    return " / ".join(told[-LINES:])
