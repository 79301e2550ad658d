"""Versions of Chrome and ChromeDriver: which they are, which are supported, and which go together.

Needs only the standard library, as `binaries` does. `chrome.exe --version` opens a window and prints nothing,
so on Windows Chrome's file is asked instead (Microsoft on `GetFileVersionInfoW` and `VerQueryValueW`).
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from drover.processes import children

VERSION_TIMEOUT_S = 10.0
OLDEST_MAJOR = 115
"""The first version of Chrome for Testing; the oldest pair that was tried is 131."""
_SIGNATURE = 0xFEEF04BD


def chrome_version(chrome: Path, system: str = sys.platform) -> str:
    """Return Chrome's version, on Windows from its file; empty if it is unknown."""
    return _file_version(chrome) if system == "win32" else printed_version(chrome)


def version_advice(program: Path, system: str) -> str:
    """Return what to do if a program does not report its version."""
    advice = f"run `{program} --version` manually to see the error"
    if system == "darwin":
        # Gatekeeper kills a downloaded program that Apple does not know, without a word in the terminal.
        advice += f"; if macOS blocks it, run `xattr -d com.apple.quarantine '{program}'`"
    return advice


def too_old(title: str, program: Path, version: str) -> str | None:
    """Return why a program is not supported, and what to do; None if it is, or its version is unknown."""
    if not version or int(major(version)) >= OLDEST_MAJOR:
        return None
    return (
        f"{title} {version} ({program}) is not supported. "
        f"Update both Chrome and ChromeDriver to version {OLDEST_MAJOR} or later"
    )


def mismatch(chrome: str, driver: str) -> str | None:
    """Return what to do if the major versions differ, else None; an empty version matches every other."""
    if not chrome or not driver or major(chrome) == major(driver):
        return None
    return (
        f"Chrome is version {chrome} and ChromeDriver {driver}, but their major versions must be equal. "
        "On Debian run `apt-get install chromium chromium-driver`; on other systems remove the old "
        "ChromeDriver from PATH and unset DROVER_CHROMEDRIVER, so that Selenium Manager downloads one "
        "that matches"
    )


def major(version: str) -> str:
    """Return the first number of a version."""
    return version.partition(".")[0]


def printed_version(program: Path) -> str:
    """Return the version that `--version` prints; empty if the program fails or takes over ten seconds."""
    try:
        output = run_program([str(program), "--version"], VERSION_TIMEOUT_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(rb"\d+(\.\d+)+", output)
    return found.group().decode() if found else ""


def run_program(command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[bytes]:
    """Run a program without the settings of the service in its environment, and return what it has printed.

    Raises:
        OSError: It cannot be run.
        subprocess.TimeoutExpired: It did not end in time, and was killed.
    """
    return children.run(
        command,
        timeout,
        env={name: value for name, value in os.environ.items() if not name.startswith("DROVER_")},
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def parse_version(info: bytes) -> str:
    """Return the version in a VS_FIXEDFILEINFO structure as four numbers; empty if it is none."""
    if len(info) < 16:  # noqa: PLR2004 - the signature, and the version after it
        return ""
    signature, _, high, low = struct.unpack_from("<IIII", info)
    if signature != _SIGNATURE:
        return ""
    return f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}"


if sys.platform == "win32":
    import ctypes

    def _file_version(program: Path) -> str:
        """Return the version of a program's file; empty if it has none."""
        version = ctypes.WinDLL("version")
        size = version.GetFileVersionInfoSizeW(str(program), None)
        if not size:
            return ""
        block = ctypes.create_string_buffer(size)
        found, length = ctypes.c_void_p(), ctypes.c_uint()
        if not version.GetFileVersionInfoW(str(program), 0, size, block):
            return ""
        if not version.VerQueryValueW(block, "\\", ctypes.byref(found), ctypes.byref(length)):
            return ""
        return parse_version(ctypes.string_at(found.value or 0, length.value))

else:

    def _file_version(program: Path) -> str:  # noqa: ARG001 - the same signature on every system
        """Return an empty text: only on Windows do files of programs carry a version."""
        return ""
