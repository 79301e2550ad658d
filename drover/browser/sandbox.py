"""Diagnosis of Chrome's sandbox, made after Chrome did not start."""

from __future__ import annotations

import subprocess
import sys

from drover.processes import children

PROBE = ("unshare", "--user", "--map-root-user", "true")
PROBE_S = 5.0
ADVICE = (
    "Chrome cannot create its sandbox because this user is not allowed to create user namespaces (usual in "
    "containers). Enable them, or set DROVER_CHROME_ARGS=--no-sandbox if you only open trusted pages"
)


def is_forbidden() -> bool:
    """Return whether this user may not create the user namespaces that Chrome's sandbox on Linux needs.

    False on other systems, and if `unshare` is missing or does not finish.
    """
    if sys.platform != "linux":
        return False
    try:
        return children.run(PROBE, PROBE_S).returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return False
