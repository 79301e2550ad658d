"""The limit of a browser's downloads, by Chrome's progress events.

Chrome sends them wherever a client directs the files, every half second (measured); what is written
between two of them may exceed the limit. `Browser.setDownloadBehavior` with `default` changes no
folder that a client sets afterwards. Browser contexts that a client creates over DevTools are not watched:
they refuse downloads until that client allows them, and the command would take its permission away again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

MIB: Final = 1024 * 1024
BLOCK: Final = 4096
"""The least that a file counts, so that the number of files is limited too."""
MAX_PATHS: Final = 1000
"""How many files are looked for, to see whether they were removed; the latest ones."""
_IN_PROGRESS, _COMPLETED = "inProgress", "completed"

Call = Callable[[str, Mapping[str, object]], Awaitable[object]]
"""Sends a command to the browser; raises `DevToolsFailed` if it fails."""


class DownloadTotal:
    """The sizes of a browser's downloads, those that were cancelled left out. Pure."""

    def __init__(self) -> None:
        self._running: dict[str, int] = {}
        self._files: dict[str, int] = {}
        self._completed = 0

    @property
    def size(self) -> int:
        """The size of all in bytes."""
        return sum(self._running.values()) + self._completed

    @property
    def running(self) -> tuple[str, ...]:
        """The ids of the downloads in progress."""
        return tuple(self._running)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of the latest complete downloads, as far as Chrome has named them."""
        return tuple(self._files)

    def add(self, progress: Mapping[str, Any]) -> None:
        """Take a `Browser.downloadProgress` event into account."""
        download, state = str(progress["guid"]), progress["state"]
        size, path = max(int(progress["receivedBytes"]), BLOCK), progress.get("filePath")
        self._running.pop(download, None)
        if state == _IN_PROGRESS:
            self._running[download] = size
        elif state == _COMPLETED:
            self._completed += size
            if path:
                self._files[str(path)] = size
                for oldest in tuple(self._files)[:-MAX_PATHS]:
                    del self._files[oldest]

    def forget(self, path: str) -> None:
        """No longer count a file, which was removed."""
        self._completed -= self._files.pop(path, 0)


class DownloadLimit:
    """Cancels a browser's downloads as soon as they exceed a limit together.

    Args:
        limit_mb: The limit in MiB; 0 = none.
        begin: Begins a task, which ends with the connection.
        failed: The exception of a command that failed.
    """

    def __init__(
        self,
        limit_mb: int,
        call: Call,
        begin: Callable[[Coroutine[Any, Any, None]], None],
        failed: type[Exception],
    ) -> None:
        self._limit = limit_mb * MIB
        self._call = call
        self._begin = begin
        self._failed = failed
        self._total = DownloadTotal()
        self._cancelling: set[str] = set()
        self.cancelled = 0
        """How many downloads were cancelled."""

    async def watch(self) -> None:
        """Have Chrome report the downloads.

        Raises:
            Exception: The command failed, with the class of `failed`.
        """
        if self._limit:
            await self._call("Browser.setDownloadBehavior", {"behavior": "default", "eventsEnabled": True})

    def handle(self, event: str, parameters: Mapping[str, Any]) -> None:
        """Take an event of the browser into account; cancel what is in progress if the limit is exceeded."""
        if event == "Browser.downloadProgress":
            self._total.add(parameters)
            if self._is_exceeded():
                self._begin(self._cancel_all())

    def _is_exceeded(self) -> bool:
        if self._total.size <= self._limit:
            return False
        for path in self._total.paths:
            if not Path(path).exists():
                self._total.forget(path)
        return self._total.size > self._limit

    async def _cancel_all(self) -> None:
        for download in set(self._total.running) - self._cancelling:
            self._cancelling.add(download)
            self.cancelled += 1
            with suppress(self._failed):
                # It has ended in the meantime.
                await self._call("Browser.cancelDownload", {"guid": download})
            self._cancelling.discard(download)
