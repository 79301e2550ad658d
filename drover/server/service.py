"""The service: its object graph, start and stop."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from flask import Flask

from drover.attach.attaching import Attaching
from drover.attach.bidi_sockets import BidiSockets
from drover.attach.devtools_http import DevToolsHttp
from drover.attach.devtools_sockets import DevToolsSockets
from drover.attach.event_stream import EventStream, StateProviders
from drover.attach.live import LiveView
from drover.attach.router import Route, Router
from drover.attach.webdriver import WebDriver
from drover.browser.binaries import matching, resolve
from drover.browser.browser_starter import BrowserStarter
from drover.browser.capabilities.policy import Policy
from drover.browser.devtools import DevTools
from drover.browser.installed import InstalledBrowser
from drover.browser.launcher import Launcher
from drover.browser.reattach import Reattacher
from drover.browser.recovery import Recoverer
from drover.browser.survival import examine
from drover.core import events
from drover.core.jobs import Job, JobKind, Jobs
from drover.core.settings import Settings
from drover.core.threads import ThreadPool, fill_pools
from drover.net import access
from drover.net.asgi import Application
from drover.net.request_threads import WAITING, RequestThreads
from drover.processes.defunct import reap_orphans
from drover.processes.host.boot import boot_id
from drover.processes.host.memory import is_shared_memory_small
from drover.processes.host.network_shares import network_share
from drover.server.port_watch import PortWatch
from drover.sessions.background.disk_limits import DiskLimits, Limits
from drover.sessions.background.keep_alive import KeepAliveVisitor
from drover.sessions.background.memory_meter import RECYCLING_S, USUAL_S, MemoryMeter
from drover.sessions.background.memory_watch import MemoryWatch
from drover.sessions.background.periodic_tasks import PeriodicTasks, Task
from drover.sessions.background.recycling import RecycleLimits, Recycler
from drover.sessions.background.start_probe import StartProbe
from drover.sessions.background.warm_pool import WarmPool
from drover.sessions.lifecycle.adopter import SessionAdopter
from drover.sessions.lifecycle.closer import Closer
from drover.sessions.lifecycle.drain import Drain
from drover.sessions.lifecycle.health_monitor import HealthMonitor
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.persistence.records import SessionRecord
from drover.sessions.persistence.repository import SessionRepository
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.driver_access import DriverAccess
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.data_folder import DataFolder, Part
from drover.storage.database import SessionDatabase
from drover.storage.instance_lock import InstanceLock
from drover.storage.profiles import Profiles
from drover.storage.session_folders import SessionFolders
from drover.web import dashboard, docs, process_routes, service_routes, session_routes
from drover.web.access_check import admit_request
from drover.web.disconnects import DisconnectWatch
from drover.web.error_handlers import handle_failures
from drover.web.metrics import Metrics
from drover.web.overview import Overview
from drover.web.rest_application import RestApplication
from drover.web.segments import SEGMENT_CONVERTERS
from drover.web.services import Services, offer
from process_cleanup import EmergencyRecovery, ProcessCleaner, Trigger
from session_manager import SessionManager

MAX_WAITING = WAITING // 2
"""Requests that wait for a place use at most half of the threads, so that those with a session are served."""
_SPARING_SHARED_MEMORY = ("--disable-dev-shm-usage",)
IDLE_TICK_S = 0.5
LEASE_TICK_S = 0.25
RETRY_CLOSE_S = 5.0
TIDY_TICK_S = 30.0
EXPIRY_TICK_S = 600.0
SIGN_OF_LIFE_S = 10.0
SAVE_TICK_S = 1.0
DISK_TICK_S = 1.0
RECYCLE_TICK_S = 1.0
REAP_TICK_S = 5.0
ROOM_TICK_S = 1.0
JOBS_S = 3.0
"""How long the stop waits for background jobs, after the sessions have been closed."""


class Drover:
    """The whole service, wired from its settings; nothing runs before `start`.

    Args:
        settings: The settings.
        is_whole_program: Whether the program runs nothing else, so that every child of it is known.
    """

    def __init__(self, settings: Settings, *, is_whole_program: bool = False) -> None:
        self.settings = settings
        self.hub = events.EventHub()
        self._folders = SessionFolders(settings.data_dir)
        self._lock = InstanceLock(settings.data_dir)
        self._stored: tuple[SessionRecord, ...] = ()
        self._repository = SessionRepository(
            SessionDatabase(settings.data_dir / "drover.db"), boot_id(), self.hub.emit
        )
        self._data_folder = DataFolder(
            (
                Part(str(settings.data_dir), self._folders.put_back),
                Part(f"The lock of {settings.data_dir}", self._lock.renew),
                Part(f"The session database in {settings.data_dir}", self._repository.put_back_files),
            ),
            self._repository.hold,
            self.hub.emit,
        )
        self._registry = SessionRegistry(settings.max_sessions, MAX_WAITING, self._repository)
        self._launcher = Launcher(
            InstalledBrowser(
                partial(resolve, settings.chrome_binary, settings.chromedriver),
                partial(matching, chromedriver_setting=settings.chromedriver),
            ),
            headless=settings.headless,
            no_sandbox=_is_root(),
            chrome_args=(*_SPARING_SHARED_MEMORY, *settings.chrome_args)
            if is_shared_memory_small()
            else settings.chrome_args,
        )
        self._capability_policy = Policy(settings.allow_unsafe_capabilities, settings.node_label)
        self._metrics = Metrics(self._registry, self._is_healthy)
        self.hub.subscribe(self._metrics.hear)
        self._jobs = Jobs(_pools(settings.max_sessions), self.hub.emit)
        self._cleaner = ProcessCleaner(
            self._folders,
            self._registry.protected,
            self._jobs,
            self.hub.emit,
            adopt_grace=settings.adopt_grace,
            owned_only=settings.cleanup_scope == "owned",
        )
        self._devtools = DevTools(settings.max_downloads_mb)
        state_saver = StateSaver(self._devtools, self._repository.save_state, self._jobs)
        profiles = Profiles(self._folders)
        self._memory_watch = MemoryWatch(
            self._registry, self.hub.emit, settings.min_free_memory_mb, settings.queue_timeout
        )
        worker = SessionWorker(
            self._registry,
            self._launcher,
            BrowserStarter(self._launcher, self._devtools, self._folders),
            Recoverer(
                self._launcher,
                Reattacher(self._launcher, self._devtools),
                self._devtools,
                profiles,
                partial(examine, timeout=settings.health_timeout),
                self._memory_watch.wait,
            ),
            self._devtools,
            state_saver,
            self._repository,
            self._folders,
            self._cleaner.upon_connection_error,
            self._jobs,
            self.hub.emit,
            settings.health_timeout,
        )
        self._registry.evict_with(worker.evict)
        self._adopter = SessionAdopter(
            self._registry,
            worker,
            self._repository,
            state_saver,
            self._devtools,
            self.hub.emit,
            probe_timeout=settings.health_timeout,
            data_dir=settings.data_dir,
            boot_id=boot_id(),
        )
        monitor = HealthMonitor(self._registry, worker, self._devtools, self._jobs, settings.health_timeout)
        closer = Closer(self._registry, worker)
        keep_alive = KeepAliveVisitor(self._registry, self._devtools, self._jobs, self.hub.emit)
        self.manager = SessionManager(
            self._registry,
            worker,
            self._launcher,
            self._devtools,
            state_saver,
            self._repository,
            self._folders,
            self.hub.emit,
            monitor=monitor,
            closer=closer,
            queue_timeout=settings.queue_timeout,
            idle_timeout=settings.idle_timeout,
            hands_out_warm=settings.warm_sessions > 0,
        )
        self.emergency = EmergencyRecovery(
            self._registry,
            self._cleaner,
            self._launcher.reap,
            state_saver,
            self._repository,
            self.hub.emit,
        )
        self.drain = Drain(self._registry, worker, self.hub.emit, timeout_s=settings.drain_timeout)
        start_probe = StartProbe(self._registry, self._launcher, worker, self._folders, self._jobs)
        disk_limits = DiskLimits(
            self._registry,
            self._devtools,
            self._jobs,
            self.hub.emit,
            settings.data_dir,
            Limits(settings.max_downloads_mb, settings.max_profile_mb),
        )
        tasks = [
            *self._memory_tasks(worker),
            Task("disk limits", DISK_TICK_S, disk_limits.tick),
            Task("idle sessions", IDLE_TICK_S, closer.close_idle),
            Task("drain", IDLE_TICK_S, self.drain.tick),
            Task("leases", LEASE_TICK_S, self.manager.expire_leases),
            Task("keep-alive", SAVE_TICK_S, keep_alive.tick),
            Task("retry of closes", RETRY_CLOSE_S, closer.close_again),
            Task("orphaned folders", TIDY_TICK_S, self._cleaner.tidy),
            Task("profiles that were set aside", EXPIRY_TICK_S, profiles.remove_expired),
            Task("saved state", SAVE_TICK_S, lambda: state_saver.tick(self._registry.sessions())),
            Task("start probe", IDLE_TICK_S, start_probe.begin),
            Task("room on the disk", ROOM_TICK_S, self._folders.room.read),
            Task("ended ChromeDrivers", REAP_TICK_S, self._launcher.reap),
            Task("defunct processes", REAP_TICK_S, lambda: reap_orphans(is_whole_program=is_whole_program)),
            Task(
                "data folder",
                SIGN_OF_LIFE_S,
                lambda: self._jobs.begin(Job(JobKind.DATA_FOLDER), self._data_folder.check),
            ),
        ]
        if settings.watch_interval > 0:
            tasks.append(Task("watch", settings.watch_interval, monitor.watch))
        if settings.warm_sessions > 0:
            warm = WarmPool(
                self._registry, worker, self._folders, settings.warm_sessions, settings.idle_timeout
            )
            tasks.append(Task("warm browsers", IDLE_TICK_S, warm.refill))
        if settings.cleanup_interval > 0:
            tasks.append(Task("cleanup", settings.cleanup_interval, self._cleaner.by_interval))
        self._periodic_tasks = PeriodicTasks(tasks, self.hub.emit)
        self._started = ExitStack()
        self._left: list[str] = []
        self._keep_browsers = settings.keep_browsers
        self._threads = RequestThreads.for_sessions(settings.max_sessions)
        self._driver_access = DriverAccess(self._registry, self._devtools)
        overview = Overview(self.manager, self._cleaner, settings.port)
        providers = StateProviders(overview.sessions, overview.processes, overview.capacity)
        self.stream = EventStream(providers, self._threads.reading)
        self.hub.subscribe(self.stream.hear)
        self.port_watch = PortWatch(self.hub.emit)
        self._live = LiveView(
            self._driver_access, self._threads.commands, probe_timeout=settings.health_timeout
        )

    def _memory_tasks(self, worker: SessionWorker) -> list[Task]:
        limits = RecycleLimits(self.settings.recycle_after, self.settings.recycle_memory_mb)
        meter = MemoryMeter(self._registry, self._jobs, RECYCLING_S if limits.memory_mb else USUAL_S)
        recycler = Recycler(self._registry, worker, self.hub.emit, limits)
        tasks = [
            Task("available memory", IDLE_TICK_S, self._memory_watch.tick),
            Task("memory of sessions", REAP_TICK_S, meter.tick),
        ]
        return [*tasks, Task("recycling", RECYCLE_TICK_S, recycler.tick)] if limits.are_set else tasks

    def take_possession(self) -> None:
        """Lock the data folder, so that no other instance works in it, and check that a browser can be found.

        Raises:
            StartRefused: The folder cannot be used or is in use, or a browser setting is invalid.
        """
        self._folders.check()
        self._folders.room.read()
        self._memory_watch.tick()
        self._lock.acquire()
        self._at_stop("the lock of the data folder", self._lock.release)
        share = network_share(self.settings.data_dir)
        if share is not None:
            self.hub.emit(events.DataFolderOnShare(str(self.settings.data_dir), share))
        self._stored = self._repository.open()
        self._at_stop("the session database", self._repository.close)
        doubt = self._launcher.check() or self._launcher.unavailable
        if doubt:
            self.hub.emit(events.BrowserDoubtful(doubt))

    def start(self, stopping: Callable[[], bool]) -> None:
        """Adopt sessions of an earlier run, clean up orphans, and start the periodic tasks.

        Args:
            stopping: Whether the service was told to stop; then the remaining steps are left out.
        """
        if _is_root():
            self.hub.emit(events.SandboxDisabled())
        self._devtools.start()
        self._at_stop("the DevTools connections", self._devtools.stop)
        self._at_stop("the background jobs", self._stop_jobs)
        self._at_stop("the sessions", self._stop_sessions)
        steps = (
            lambda: self._adopter.adopt_all(self._stored),
            lambda: self._cleaner.cleanup(Trigger.ITSELF),
            self._start_periodic_tasks,
        )
        for step in steps:
            if stopping():
                return
            step()

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
        self._live.close()
        self._started.close()
        self.hub.emit(events.StopIncomplete(", ".join(self._left)) if self._left else events.ServiceStopped())
        self.stream.close()
        self._threads.close()

    def _at_stop(self, name: str, step: Callable[[], object]) -> None:
        """Have a step done at the stop; steps are done in the reverse order, each whatever the others did."""
        self._started.callback(self._stop_step, name, step)

    def _stop_step(self, name: str, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the steps after it must be done all the same
            self.hub.emit(events.StopStepFailed(name, str(error) or type(error).__name__))
            self._left.append(name)

    def _start_periodic_tasks(self) -> None:
        self._periodic_tasks.start()
        self._at_stop("the periodic tasks", self._periodic_tasks.stop)

    def _stop_sessions(self) -> None:
        # The sessions of a folder that another instance has taken are that one's.
        left = self.manager.stop(keep_browsers=self._keep_browsers or self._data_folder.is_lost)
        self._left += [f"session {session_id}" for session_id in left]
        self._cleaner.remove_orphaned_folders()

    def _stop_jobs(self) -> None:
        self._left += self._jobs.close(JOBS_S)

    def end_at_once(self) -> None:
        """Accept no more requests and end all processes within four seconds; the next start ends the rest."""
        self._registry.stop()
        self.manager.kill()

    def asgi(self) -> Application:
        """Return the ASGI application: driver and streaming endpoints; Flask on threads for all others."""
        policy = access_policy_of(self.settings)
        rest = DisconnectWatch(RestApplication(self._flask(), self._threads), policy)
        return Router(self._routes(), policy, rest)

    def _routes(self) -> list[Route]:
        webdriver = WebDriver(
            self.manager,
            self._driver_access,
            self._threads,
            port=self.settings.port,
            policy=self._capability_policy,
            watch_s=self.settings.health_timeout,
            observe=self._metrics.observe_relay,
        )
        attaching = Attaching(self.manager, self._threads)
        bidi = BidiSockets(attaching, self._driver_access)
        sockets = DevToolsSockets(attaching, self._driver_access)
        devtools_http = DevToolsHttp(
            attaching,
            self._driver_access,
            self._threads.waiting,
            port=self.settings.port,
            probe_timeout=self.settings.health_timeout,
        )
        return [
            *webdriver.routes(),
            *sockets.routes(),
            *devtools_http.routes(),
            *bidi.routes(),
            *self._live.routes(),
            *self.stream.routes(),
        ]

    def _flask(self) -> Flask:
        app = Flask("drover", static_folder=None)
        app.json.sort_keys = False  # type: ignore[attr-defined]
        app.json.ensure_ascii = False  # type: ignore[attr-defined]
        app.url_map.strict_slashes = False
        app.url_map.merge_slashes = False
        app.url_map.converters |= SEGMENT_CONVERTERS
        app.before_request(admit_request)
        for routes in (session_routes, process_routes, service_routes, docs, dashboard):
            app.register_blueprint(routes.blueprint)
        handle_failures(app)
        offer(app.extensions, self._services())
        return app

    def _is_healthy(self) -> bool:
        return not (self.port_watch.trouble or self.manager.unavailable)

    def _services(self) -> Services:
        return Services(
            self.settings,
            access_policy_of(self.settings),
            self._capability_policy,
            self.manager,
            self._cleaner,
            self.emergency,
            self.drain,
            self._metrics,
            lambda: self.port_watch.trouble,
            time.monotonic(),
        )


def access_policy_of(settings: Settings) -> access.AccessPolicy:
    """Return what the access check compares requests with."""
    return access.access_policy(settings.host, settings.port, settings.allowed_hosts, token_of(settings))


def token_of(settings: Settings) -> str | None:
    """Return the token that clients have to present, if one is configured."""
    return settings.api_token.get_secret_value() if settings.api_token else None


def _pools(max_sessions: int) -> dict[JobKind, ThreadPool]:
    """Return the threads of the background jobs, so that a slow job of one kind delays no other kind."""
    # Each session may have a close beside the start that it has overtaken.
    sessions = ThreadPool("session", 2 * max_sessions + 4)
    watch = ThreadPool("watch", 4)
    return {
        JobKind.START: sessions,
        JobKind.RECOVERY: sessions,
        JobKind.CLOSE: sessions,
        JobKind.WATCH: watch,
        JobKind.MEMORY: watch,
        JobKind.SAVE: ThreadPool("save", 4),
        JobKind.PROFILE_LIMIT: ThreadPool("profile-limit", 2),
        JobKind.KEEP_ALIVE: ThreadPool("keep-alive", 2),
        JobKind.START_PROBE: ThreadPool("start-probe", 1),
        JobKind.CLEANUP: ThreadPool("cleanup", 1),
        JobKind.DATA_FOLDER: ThreadPool("data-folder", 1),
    }


def _is_root() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0
