"""The pair of Chrome and ChromeDriver that browsers are started with, as it is on the disk now.

Chrome updates itself under a running service on Windows and macOS, and packages do on Linux. So the pair is
looked for again when one of its files has changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from drover.browser.binaries import Binaries, unreadable, versions
from drover.browser.selenium_manager import FETCH_TIMEOUT_S
from drover.browser.versions import major, mismatch, too_old
from drover.core.deadline import Deadline
from drover.core.errors import BrowserUnavailable, StartRefused

Stamp = tuple[tuple[int, int, int], ...]
Find = Callable[[], Binaries]
Match = Callable[[Binaries], Binaries]


class InstalledBrowser:
    """Finds Chrome and ChromeDriver, and finds them again when they have changed; thread-safe.

    Args:
        find: Returns the executables, or raises `BrowserUnavailable`.
        match: Returns the pair with a ChromeDriver of Chrome's version, or raises `BrowserUnavailable`.

    Attributes:
        version_warning: What is wrong with the versions of the pair that was found, and what to do about it.
    """

    def __init__(self, find: Find, match: Match) -> None:
        self._find = find
        self._match = match
        self._lock = threading.Lock()
        self._found: Binaries | None = None
        self._stamp: Stamp | None = None
        self._matched: Stamp | None = None
        self._versions = ("", "")
        self._drivers: dict[str, Path] = {}
        self._not_found: str | None = None
        self._not_found_at = 0.0
        self.version_warning: str | None = None

    def get(self, deadline: Deadline) -> Binaries:
        """Return the executables; the first call takes minutes if Chrome has to be downloaded.

        Raises:
            BrowserUnavailable: They are not found, too old, or still being downloaded by another caller.
        """
        asked_at = time.monotonic()
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise BrowserUnavailable("Chrome and ChromeDriver are still being downloaded; retry later")
        try:
            if self._found is None or _stamp(self._found) != self._stamp:
                self._take(self._find_since(asked_at))
            assert self._found is not None, "the pair was taken"
            return self._found
        finally:
            self._lock.release()

    def chrome_version(self, deadline: Deadline) -> str:
        """Return the version of Chrome; empty if it cannot be read.

        Raises:
            BrowserUnavailable: As in `get`.
        """
        self.get(deadline)
        return self._versions[0]

    def obstacle(self) -> str | None:
        """Return why the programs cannot be started, and what to do; None if nothing is known."""
        try:
            found = self.get(Deadline(FETCH_TIMEOUT_S))
            with self._lock:
                if "" in self._versions:
                    self._take(found)
                return unreadable(found, *self._versions)
        except BrowserUnavailable as error:
            return error.message

    def driver_for(self, browser_version: str, deadline: Deadline) -> Path:
        """Return the ChromeDriver for a browser that runs: one of its version if known, else the present one.

        A browser that was started before Chrome's update keeps its version.

        Raises:
            BrowserUnavailable: As in `get`.
        """
        present = self.get(deadline).chromedriver
        known = self._drivers.get(major(browser_version), present)
        return known if known.exists() else present

    def match(self, deadline: Deadline) -> bool:
        """Look for a ChromeDriver of Chrome's version, once for each pair of files.

        Returns:
            Whether there is another pair than before, so that a start may be tried once more.
        """
        if not self._lock.acquire(timeout=deadline.remaining()):
            return False
        try:
            before = self._found
            if before is None or self._matched == self._stamp:
                return False
            self._matched = self._stamp
            self._take(self._match(self._find()))
            self._matched = self._stamp
            return self._found != before or self._stamp != _stamp(before)
        except BrowserUnavailable:
            # The error of the start says what does not match.
            return False
        finally:
            self._lock.release()

    def _take(self, found: Binaries) -> None:
        stamp = _stamp(found)
        chrome, driver = self._versions = versions(found)
        # ChromeDriver itself refuses a Chrome of another version.
        refusal = too_old("ChromeDriver", found.chromedriver, driver)
        if refusal:
            self._found = None
            raise BrowserUnavailable(refusal)
        self._found, self._stamp = found, stamp
        if driver:
            self._drivers[major(driver)] = found.chromedriver
        self.version_warning = mismatch(chrome, driver)

    def _find_since(self, asked_at: float) -> Binaries:
        if self._not_found and self._not_found_at > asked_at:
            # Another thread has searched while this one waited for the lock.
            raise BrowserUnavailable(self._not_found)
        try:
            return self._find()
        except StartRefused as error:
            if self._stamp is None:
                raise
            # The setting was right when the service started: the program is away for now, as in an update.
            raise BrowserUnavailable(error.message) from error
        except BrowserUnavailable as error:
            self._not_found, self._not_found_at = error.message, time.monotonic()
            raise


def _stamp(found: Binaries) -> Stamp | None:
    """Return what changes when one of the files is replaced or edited; None if one is missing."""
    try:
        return tuple(_file_stamp(path) for path in (found.chrome, found.chromedriver))
    except OSError:
        return None


def _file_stamp(path: Path) -> tuple[int, int, int]:
    seen = path.stat()
    return seen.st_mtime_ns, seen.st_size, seen.st_ino
