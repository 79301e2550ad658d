"""The object graph of the browsers, and of what works on sessions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from drover.browser.binaries import matching, resolve
from drover.browser.browsers import Browsers
from drover.browser.devtools import DevTools
from drover.browser.installed import InstalledBrowser
from drover.browser.launcher import Launcher
from drover.browser.reattach import Reattacher
from drover.browser.recovery import Recoverer
from drover.browser.survival import examine
from drover.cluster.own_sessions import OwnSessions
from drover.core.events import Emit
from drover.core.jobs import Jobs
from drover.core.settings import Settings
from drover.processes.host.memory import is_shared_memory_small
from drover.processes.host.permissions import is_root
from drover.server.storage_parts import StorageParts
from drover.sessions.background.memory_watch import MemoryWatch, wait_for_memory
from drover.sessions.lifecycle.adopter import SessionAdopter
from drover.sessions.lifecycle.close_work import CloseWork
from drover.sessions.lifecycle.closer import Closer
from drover.sessions.lifecycle.drain import Drain
from drover.sessions.lifecycle.health_monitor import HealthMonitor
from drover.sessions.lifecycle.recovery_work import RecoveryWork
from drover.sessions.lifecycle.session_pool import PoolPolicy, SessionPool
from drover.sessions.lifecycle.session_steps import SessionSteps
from drover.sessions.lifecycle.session_worker import SessionWorker
from drover.sessions.lifecycle.shutdown import Shutdown
from drover.sessions.lifecycle.start_work import StartWork
from drover.sessions.persistence.kept_logins import KeptLogins
from drover.sessions.persistence.state_saver import StateSaver
from drover.sessions.pool.driver_access import DriverAccess
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.session_history import SessionHistory
from process_cleanup import EmergencyRecovery, ProcessCleaner
from session_manager import SessionManager

if TYPE_CHECKING:
    from drover.cluster.cluster import Cluster

_SPARING_SHARED_MEMORY = ("--disable-dev-shm-usage",)


def browsers_of(settings: Settings, storage: StorageParts, registry: SessionRegistry) -> Browsers:
    """Return the browsers and their parts; nothing runs yet."""
    sparing = _SPARING_SHARED_MEMORY if is_shared_memory_small() else ()
    devtools = DevTools(settings.max_downloads_mb)
    launcher = Launcher(
        InstalledBrowser(
            partial(resolve, settings.chrome_binary, settings.chromedriver),
            partial(matching, chromedriver_setting=settings.chromedriver),
        ),
        devtools.connecting,
        headless=settings.headless,
        no_sandbox=is_root(),
        chrome_args=(*sparing, *settings.chrome_args),
    )
    recoverer = Recoverer(
        launcher,
        Reattacher(launcher, devtools),
        devtools,
        storage.profiles,
        partial(examine, timeout=settings.health_timeout),
        partial(wait_for_memory, registry, settings.queue_timeout),
    )
    return Browsers(launcher, storage.folders, recoverer, devtools, settings.health_timeout)


@dataclass(frozen=True, slots=True)
class SessionParts:
    """The sessions, and what works on them."""

    registry: SessionRegistry
    memory_watch: MemoryWatch
    cleaner: ProcessCleaner
    state_saver: StateSaver
    worker: SessionWorker
    monitor: HealthMonitor
    closer: Closer
    manager: SessionManager
    adopter: SessionAdopter
    drain: Drain
    shutdown: Shutdown
    emergency: EmergencyRecovery
    driver_access: DriverAccess
    devtools: DevTools
    kept_logins: KeptLogins
    history: SessionHistory
    cluster: Cluster | None


def session_parts(
    settings: Settings,
    storage: StorageParts,
    registry: SessionRegistry,
    browsers: Browsers,
    jobs: Jobs,
    emit: Emit,
) -> SessionParts:
    """Return the parts; nothing runs yet."""
    repository = storage.repository
    cleaner = _cleaner(settings, storage, registry, jobs, emit)
    state_saver = StateSaver(browsers, repository.save_state, jobs)
    kept = KeptLogins(registry, repository, state_saver, storage.folders.kept)
    steps = SessionSteps(registry, browsers, storage.folders, state_saver, emit)
    close_work = CloseWork(registry, browsers, kept, steps, emit)
    worker = SessionWorker(
        registry,
        jobs,
        StartWork(browsers, storage.folders, kept, close_work, steps, emit),
        RecoveryWork(registry, browsers, state_saver, cleaner.upon_connection_error, steps, emit),
        close_work,
    )
    monitor = HealthMonitor(registry, worker, browsers, jobs)
    closer = Closer(registry, worker, state_saver, kept)
    pool = SessionPool(registry, worker, closer, storage.folders, repository, _policy(settings))
    emergency = EmergencyRecovery(registry, cleaner, browsers.launcher.reap, state_saver, repository, emit)
    own = OwnSessions(
        registry, pool, closer, state_saver, kept, emergency, partial(_obstacle, storage, browsers)
    )
    return SessionParts(
        registry,
        MemoryWatch(registry, worker, emit, settings.min_free_memory_mb),
        cleaner,
        state_saver,
        worker,
        monitor,
        closer,
        SessionManager(pool, closer, monitor, browsers, repository, emit),
        SessionAdopter(registry, worker, repository, state_saver, browsers, emit),
        Drain(registry, worker, emit, settings.drain_timeout),
        Shutdown(registry, closer, browsers, state_saver, repository, kept),
        emergency,
        DriverAccess(registry, browsers.devtools, worker.evict),
        browsers.devtools,
        kept,
        storage.history,
        _cluster(settings, storage, own, emit),
    )


def _cleaner(
    settings: Settings, storage: StorageParts, registry: SessionRegistry, jobs: Jobs, emit: Emit
) -> ProcessCleaner:
    return ProcessCleaner(
        storage.folders,
        registry.protected,
        jobs,
        emit,
        adopt_grace=settings.adopt_grace,
        owned_only=settings.cleanup_scope == "owned",
    )


def _policy(settings: Settings) -> PoolPolicy:
    return PoolPolicy(
        settings.queue_timeout,
        settings.idle_timeout,
        hands_out_warm=settings.warm_sessions > 0,
        keeps_profiles=settings.profile == "keep",
    )


def _obstacle(storage: StorageParts, browsers: Browsers) -> str | None:
    """Return why this machine can start no browser now, as other machines hear it; None if it can."""
    return storage.folders.room.shortage or browsers.launcher.unavailable


def _cluster(settings: Settings, storage: StorageParts, own: OwnSessions, emit: Emit) -> Cluster | None:
    """Return this node's part of the cluster; None if there is only one machine."""
    if storage.shared is None:
        return None
    from drover.cluster.cluster import Cluster  # noqa: PLC0415 - imports psycopg

    return Cluster(storage.shared, settings, own, emit)
