"""Whether Chrome can make its sandbox here, asked of the system when Chrome did not start."""

from __future__ import annotations

import subprocess
import sys

PROBE = ("unshare", "--user", "--map-root-user", "true")
PROBE_S = 5.0
ADVICE = (
    "Chrome may make no sandbox here, since this user may make no user namespaces, as in most containers: "
    "allow them, or set DROVER_CHROME_ARGS=--no-sandbox where only trusted pages are opened"
)


def is_forbidden() -> bool:
    """Tell whether this user may make no user namespace, which Chrome's sandbox on Linux is made of.

    Outside of Linux, and where the program that tries it is missing, nothing is said to be forbidden.
    """
    if sys.platform != "linux":
        return False
    try:
        return subprocess.run(PROBE, capture_output=True, check=False, timeout=PROBE_S).returncode != 0  # noqa: S603 - a constant
    except (OSError, subprocess.TimeoutExpired):
        return False
