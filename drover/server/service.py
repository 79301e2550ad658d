"""The service: its start and its stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from drover.core import events
from drover.core.jobs import Jobs
from drover.core.settings import Settings
from drover.core.threads import fill_pools
from drover.net.request_threads import WAITING, RequestThreads
from drover.processes.host.network_shares import network_share
from drover.processes.host.permissions import is_root
from drover.server.background import grid_slots, job_pools, periodic_tasks
from drover.server.endpoints import Endpoints
from drover.server.port_watch import PortWatch
from drover.server.session_parts import browsers_of, session_parts
from drover.server.storage_parts import storage_parts
from drover.sessions.persistence.records import SessionRecord
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.cluster_values import Node
from drover.web.metrics import Metrics
from process_cleanup import Trigger

MAX_WAITING = WAITING // 2
"""Requests that wait for a place use at most half of the threads, so that those with a session are served."""
JOBS_S = 3.0
"""How long the stop waits for background jobs, after the sessions have been closed."""


class Drover:
    """The whole service, wired from its settings; nothing runs before `start`.

    Args:
        is_whole_program: Whether the program runs nothing else, so that every child of it is known.
    """

    def __init__(self, settings: Settings, *, is_whole_program: bool = False) -> None:
        self.settings = settings
        self.hub = events.EventHub()
        emit = self.hub.emit
        self.storage = storage_parts(settings, emit)
        registry = SessionRegistry(settings.max_sessions, MAX_WAITING, self.storage.repository)
        self.browsers = browsers_of(settings, self.storage, registry)
        self._jobs = Jobs(job_pools(settings.max_sessions), emit)
        self.sessions = session_parts(settings, self.storage, registry, self.browsers, self._jobs, emit)
        self.port_watch = PortWatch(emit)
        self.metrics = Metrics(registry, self._is_healthy, self._nodes)
        self.hub.subscribe(self.metrics.hear)
        self.hub.subscribe(self.storage.history.hear)
        self._periodic_tasks = periodic_tasks(
            settings,
            self.storage,
            self.browsers,
            self.sessions,
            self._jobs,
            emit,
            is_whole_program=is_whole_program,
        )
        self._grid_slots = grid_slots(settings, self.sessions, self._jobs, emit)
        if self._grid_slots is not None:
            self.hub.subscribe(self._grid_slots.hear)
        self._threads = RequestThreads.for_sessions(settings.max_sessions)
        self.endpoints = Endpoints(
            settings, self.sessions, self._threads, self.metrics, lambda: self.port_watch.trouble
        )
        self.hub.subscribe(self.endpoints.stream.hear)
        self._stored: tuple[SessionRecord, ...] = ()
        self._started = ExitStack()
        self._left: list[str] = []
        self._unclosed: tuple[str, ...] = ()
        self._keep_browsers = settings.keep_browsers

    def take_possession(self) -> None:
        """Lock the data folder, so that no other instance works in it, and check that a browser can be found.

        Raises:
            StartRefused: The folder cannot be used or is in use, or a browser setting is invalid.
        """
        storage, launcher = self.storage, self.browsers.launcher
        storage.folders.check()
        storage.folders.room.read()
        self.sessions.memory_watch.tick()
        storage.lock.acquire()
        self._at_stop("the lock of the data folder", storage.lock.release)
        storage.history.load()
        self._at_stop("the history of sessions", storage.history.save)
        share = network_share(self.settings.data_dir)
        if share is not None:
            self.hub.emit(events.DataFolderOnShare(str(self.settings.data_dir), share))
        doubt = launcher.check() or launcher.unavailable
        if doubt:
            self.hub.emit(events.BrowserDoubtful(doubt))

    def start(self, stopping: Callable[[], bool]) -> None:
        """Adopt sessions of an earlier run, clean up orphans, and start the periodic tasks.

        Args:
            stopping: Whether the service was told to stop; then the remaining steps are left out.

        Raises:
            StartRefused: The session database cannot be used.
        """
        if is_root():
            self.hub.emit(events.SandboxDisabled())
        self._stored = self.storage.repository.open()
        self._at_stop("the session database", self.storage.repository.close)
        if self.sessions.cluster is not None:
            self.sessions.cluster.start()
            self._at_stop("the membership in the cluster", self.sessions.cluster.stop)
        self.browsers.devtools.start()
        self._at_stop("the DevTools connections", self.browsers.devtools.stop)
        self._at_stop("the background jobs", self._stop_jobs)
        if self._grid_slots is not None:
            self._at_stop("the notices to Selenium Grid", self._grid_slots.stop)
        self._at_stop("the sessions", self._stop_sessions)
        steps = (
            self._adopt_sessions,
            lambda: self.sessions.cleaner.cleanup(Trigger.ITSELF),
            self._start_periodic_tasks,
        )
        for step in steps:
            if stopping():
                return
            step()

    def give_up_start(self) -> None:
        """Have `start` wait no longer for what may not come."""
        if self.storage.shared is not None:
            self.storage.shared.database.stop_waiting()

    def fill_threads(self) -> None:
        """Start all threads now: when one is needed, the system may not allow another one."""
        missing = fill_pools((*self._jobs.pools, *self._threads.pools))
        if missing:
            self.hub.emit(events.ThreadsMissing(missing))

    def stop(self, *, keep_browsers: bool = False) -> None:
        """Stop in the reverse order of the start, whatever fails on the way; say what is left.

        Args:
            keep_browsers: Leave the browsers to the next start, whatever the settings say.
        """
        self._keep_browsers |= keep_browsers
        self.port_watch.stop()
        self.endpoints.live.close()
        self._started.close()
        # The steps after that of the sessions take time, in which closes go on.
        late = [f"session {one}" for one in self._unclosed if self.sessions.registry.has(one, None)]
        left = ", ".join(late + self._left)
        self.hub.emit(events.StopIncomplete(left) if left else events.ServiceStopped())
        self.endpoints.stream.close()
        self._threads.close()

    def end_at_once(self) -> None:
        """Accept no more requests and end all processes within four seconds; the next start ends the rest."""
        self.sessions.registry.stop()
        self.sessions.shutdown.kill()

    def _adopt_sessions(self) -> None:
        self.sessions.adopter.adopt_all(self._stored, self.settings.data_dir, self.storage.boot_id)
        if self.sessions.cluster is not None:
            self.sessions.cluster.begin_to_obey()

    def _start_periodic_tasks(self) -> None:
        self._periodic_tasks.start()
        self._at_stop("the periodic tasks", self._periodic_tasks.stop)

    def _at_stop(self, name: str, step: Callable[[], object]) -> None:
        """Have a step done at the stop; steps are done in the reverse order, each whatever the others did."""
        self._started.callback(self._stop_step, name, step)

    def _stop_step(self, name: str, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the steps after it must be done all the same
            self.hub.emit(events.StopStepFailed(name, str(error) or type(error).__name__))
            self._left.append(name)

    def _stop_sessions(self) -> None:
        # The sessions of a folder that another instance has taken are that one's.
        keep = self._keep_browsers or self.storage.data_folder.is_lost
        self._unclosed = self.sessions.shutdown.stop(keep_browsers=keep)
        self.sessions.cleaner.remove_orphaned_folders()

    def _stop_jobs(self) -> None:
        self._left += self._jobs.close(JOBS_S)

    def _nodes(self) -> tuple[Node, ...]:
        return self.sessions.cluster.nodes if self.sessions.cluster is not None else ()

    def _is_healthy(self) -> bool:
        return not (self.port_watch.trouble or self.sessions.manager.unavailable)
