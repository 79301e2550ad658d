"""A process cleaner over a data folder of its own and a list of protected sessions."""

from __future__ import annotations

import threading
from pathlib import Path

from drover.core.jobs import Job, JobKind, Jobs
from drover.core.threads import ThreadPool
from drover.processes.cleanup.cleanup_plan import ProtectedSession
from drover.storage.session_folders import SessionFolder, SessionFolders
from process_cleanup import ProcessCleaner
from tests.integration.child_processes import WAIT, Children
from tests.unit.examples import EventRecorder

TIMEOUT_S = 30.0


class CleanerHarness:
    """A cleaner, its data folder, its protected sessions and its recorded events.

    Args:
        folder: A short folder; the data folder is created in it.
        kids: Starts the processes that represent ChromeDrivers.
        adopt_grace: Seconds that processes of an instance that ended are spared.
        owned_only: Whether the cleaner ends only processes with the mark of its data folder.
    """

    def __init__(self, folder: Path, kids: Children, *, adopt_grace: float, owned_only: bool) -> None:
        self.kids = kids
        self.recorder = EventRecorder()
        self.folders = SessionFolders(folder / "d")
        self.folders.check()
        self._adopt_grace = adopt_grace
        self._lock = threading.Lock()
        self._sessions: list[ProtectedSession] = []
        self.jobs = Jobs({JobKind.CLEANUP: ThreadPool("cleanup", 1)}, self.recorder)
        self.cleaner = self.new_cleaner(owned_only=owned_only)

    def new_cleaner(self, *, owned_only: bool) -> ProcessCleaner:
        """Return one more cleaner over the same data folder and sessions."""
        return ProcessCleaner(
            self.folders,
            self.protected,
            self.jobs,
            self.recorder,
            adopt_grace=self._adopt_grace,
            owned_only=owned_only,
        )

    def end_automatic_cleanup(self) -> None:
        """Wait until the automatic cleanup in progress has ended, if there is one: this caller joins it."""
        self.jobs.begin(Job(JobKind.CLEANUP), lambda: None).result(TIMEOUT_S)

    def session(self, *, listed: bool = False) -> SessionFolder:
        """Create a session's folder; if `listed`, the session is protected before its folder exists."""
        folder = self.folders.choose()
        if listed:
            self.protect(folder)
        self.folders.make(folder)
        return folder

    def driver(self, folder: SessionFolder, script: str = WAIT) -> int:
        """Start a process that represents a session's ChromeDriver; it ends when its pipe is closed."""
        return self.kids.start(f"--log-path={folder.driver_log}", name="chromedriver", script=script).pid

    def protect(self, folder: SessionFolder, *pids: int) -> None:
        """Add a session to the protected ones."""
        with self._lock:
            self._sessions.append(ProtectedSession(folder.path.name, str(folder.path), frozenset(pids)))

    def protected(self) -> tuple[ProtectedSession, ...]:
        """Return the protected sessions."""
        with self._lock:
            return tuple(self._sessions)
