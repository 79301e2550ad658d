"""The rights of the service's user."""

from __future__ import annotations

import os
import sys


def is_root() -> bool:
    """Return whether the service runs as root, with which Chrome's sandbox does not start."""
    return sys.platform == "linux" and os.geteuid() == 0
