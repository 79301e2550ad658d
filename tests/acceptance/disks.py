"""A disk of its own for a data folder. Only root on Linux can mount it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1_000_000


class Disk:
    """A disk of its own for a data folder; it is resized, so that filling it takes no memory."""

    def __init__(self, mounted: Path) -> None:
        self.mounted = mounted

    def mount(self, megabytes: int = 1000) -> bool:
        """Mount it, with room for sessions; return False if this machine allows no mounts."""
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(self.mounted)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        """Unmount it, as soon as no process uses it any more."""
        subprocess.run(["umount", "--lazy", self.mounted], check=True)

    def leave(self, megabytes: int) -> None:
        """Leave so much room."""
        found = os.statvfs(self.mounted)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        self._resize(f"size={used + megabytes * MEGABYTE}")

    def leave_files(self, number: int) -> None:
        """Leave room for so many files and folders."""
        found = os.statvfs(self.mounted)
        self._resize(f"nr_inodes={found.f_files - found.f_ffree + number}")

    def _resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{size}", self.mounted], check=True)
