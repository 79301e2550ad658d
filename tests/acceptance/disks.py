"""A disk of its own for a data folder. Only root on Linux can mount it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1_000_000
ATTEMPTS: Final = 20


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
        self._resize(lambda found: f"size={_used_bytes(found) + megabytes * MEGABYTE}")

    def leave_files(self, number: int) -> None:
        """Leave room for so many files and folders."""
        self._resize(lambda found: f"nr_inodes={found.f_files - found.f_ffree + number}")

    def _resize(self, size: Callable[[os.statvfs_result], str]) -> None:
        # A disk cannot be made smaller than what has been written to it in the meantime.
        for left in reversed(range(ATTEMPTS)):
            command = ["mount", "-o", f"remount,{size(os.statvfs(self.mounted))}", str(self.mounted)]
            if subprocess.run(command, capture_output=left > 0, check=left == 0).returncode == 0:
                return


def _used_bytes(found: os.statvfs_result) -> int:
    return (found.f_blocks - found.f_bfree) * found.f_frsize
