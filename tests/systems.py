"""What a test needs of the system that not every system has."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest


def can_link() -> bool:
    """Return whether symbolic links can be made; Wine reports success and makes none."""
    with tempfile.TemporaryDirectory() as name:
        link = Path(name) / "link"
        try:
            link.symlink_to(Path(name) / "target")
        except OSError:
            return False
        return link.is_symlink()


NEEDS_LINKS: Final = pytest.mark.skipif(not can_link(), reason="no symbolic links can be made here")
NEEDS_MODES: Final = pytest.mark.skipif(sys.platform == "win32", reason="files have no mode on Windows")
NEEDS_SCRIPTS: Final = pytest.mark.skipif(sys.platform == "win32", reason="the programs are shell scripts")
