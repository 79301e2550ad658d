"""Command lines of other programs on this machine, as far as this user may read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil


def java_programs() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the working folder and the arguments of every running Java program."""
    for process in psutil.process_iter():
        # Another user's program, or one that has just ended.
        with suppress(psutil.Error, OSError):
            if process.name().lower().startswith("java"):
                yield Path(process.cwd()), tuple(process.cmdline()[1:])
