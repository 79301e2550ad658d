"""What runs in the background: the threads of the jobs, and the periodic tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from drover.browser.browsers import Browsers
from drover.core.events import Emit
from drover.core.jobs import Job, JobKind, Jobs
from drover.core.settings import Settings
from drover.core.threads import ThreadPool
from drover.net.grid_node import GridNode
from drover.processes.defunct import reap_orphans
from drover.server.session_parts import SessionParts
from drover.server.storage_parts import StorageParts
from drover.sessions.background.disk_limits import DiskLimits, KeptLimit
from drover.sessions.background.grid_slots import GridSlots
from drover.sessions.background.keep_alive import KeepAliveVisitor
from drover.sessions.background.memory_meter import RECYCLING_S, USUAL_S, MemoryMeter
from drover.sessions.background.periodic_tasks import PeriodicTasks, Task
from drover.sessions.background.recycling import RecycleLimits, Recycler
from drover.sessions.background.start_probe import StartProbe
from drover.sessions.background.warm_pool import WarmPool
from drover.storage.session_history import SessionHistory

IDLE_TICK_S = 0.5
RETRY_CLOSE_S = 5.0
TIDY_TICK_S = 30.0
EXPIRY_TICK_S = 600.0
SIGN_OF_LIFE_S = 10.0
SAVE_TICK_S = 1.0
USE_TICK_S = 5.0
DISK_TICK_S = 1.0
RECYCLE_TICK_S = 1.0
REAP_TICK_S = 5.0
MEMORY_TICK_S = 2.0
SHARE_TICK_S = 2.0
CLUSTER_TIDY_S = 60.0


def job_pools(max_sessions: int) -> dict[JobKind, ThreadPool]:
    """Return the threads of the background jobs, so that a slow job of one kind delays no other kind."""
    # Each session may have a close beside the start that it has overtaken.
    sessions = ThreadPool("session", 2 * max_sessions + 4)
    watch, disk = ThreadPool("watch", 4), ThreadPool("data-folder", 1)
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
        JobKind.DATA_FOLDER: disk,
        JobKind.ROOM: disk,
        JobKind.OLD_PROFILES: disk,
        JobKind.ORPHANED_FOLDERS: disk,
        JobKind.GRID_NOTICE: ThreadPool("grid", 4),
        JobKind.KEPT_PROFILES: ThreadPool("kept-profiles", 1),
        JobKind.HISTORY: ThreadPool("history", 1),
        JobKind.CLUSTER: ThreadPool("other-nodes", 1),
        JobKind.CLUSTER_TIDY: ThreadPool("cluster-tidy", 1),
    }


def grid_slots(settings: Settings, sessions: SessionParts, jobs: Jobs, emit: Emit) -> GridSlots | None:
    """Return what tells the node of a Selenium Grid of ended sessions; None if there is no such node."""
    if settings.grid_node_url is None:
        return None
    node = GridNode(settings.grid_node_url, settings.grid_secret.get_secret_value())
    return GridSlots(node, partial(sessions.registry.has, key=None), jobs, emit)


def periodic_tasks(
    settings: Settings,
    storage: StorageParts,
    browsers: Browsers,
    sessions: SessionParts,
    jobs: Jobs,
    emit: Emit,
    *,
    is_whole_program: bool,
) -> PeriodicTasks:
    """Return the periodic tasks; none runs yet."""
    return PeriodicTasks(
        (
            *_storage_tasks(settings, storage, jobs, emit),
            *_memory_tasks(settings, sessions, jobs, emit),
            *_disk_tasks(settings, storage, browsers, sessions, jobs, emit),
            *_browser_tasks(browsers, sessions, jobs, emit),
            *_session_tasks(settings, storage, browsers, sessions, jobs),
            *_cluster_tasks(sessions, jobs),
            Task("defunct processes", REAP_TICK_S, partial(reap_orphans, is_whole_program=is_whole_program)),
        ),
        emit,
    )


def _storage_tasks(settings: Settings, storage: StorageParts, jobs: Jobs, emit: Emit) -> Iterator[Task]:
    kept = KeptLimit(storage.folders.kept, jobs, emit, settings.max_kept_mb)
    yield Task("kept profiles", REAP_TICK_S, kept.tick)
    yield Task("history of sessions", SAVE_TICK_S, partial(_save_history, storage.history, jobs))
    yield Task("expired histories", EXPIRY_TICK_S, storage.history.forget_expired)
    remove = partial(jobs.begin, Job(JobKind.OLD_PROFILES), storage.profiles.remove_expired)
    yield Task("profiles that were set aside", EXPIRY_TICK_S, remove)
    check = partial(jobs.begin, Job(JobKind.DATA_FOLDER), storage.data_folder.check)
    yield Task("data folder", SIGN_OF_LIFE_S, check)


def _save_history(history: SessionHistory, jobs: Jobs) -> None:
    if history.is_unsaved:
        jobs.begin(Job(JobKind.HISTORY), history.save)


def _cluster_tasks(sessions: SessionParts, jobs: Jobs) -> Iterator[Task]:
    if sessions.cluster is not None:
        share = partial(jobs.begin, Job(JobKind.CLUSTER), sessions.cluster.share)
        yield Task("other nodes", SHARE_TICK_S, share)
        tidy = partial(jobs.begin, Job(JobKind.CLUSTER_TIDY), sessions.cluster.tidy)
        yield Task("what no node has", CLUSTER_TIDY_S, _when_serving(sessions, tidy))


def _when_serving(sessions: SessionParts, work: Callable[[], object]) -> Callable[[], object]:
    """Return work that is left out while another machine may have the sessions."""
    return work if sessions.cluster is None else sessions.cluster.when_serving(work)


def _memory_tasks(settings: Settings, sessions: SessionParts, jobs: Jobs, emit: Emit) -> Iterator[Task]:
    registry = sessions.registry
    limits = RecycleLimits(settings.recycle_after, settings.recycle_memory_mb)
    meter = MemoryMeter(registry, jobs, RECYCLING_S if limits.memory_mb else USUAL_S)
    yield Task("available memory", MEMORY_TICK_S, sessions.memory_watch.tick)
    yield Task("memory of sessions", REAP_TICK_S, meter.tick)
    if limits.are_set:
        recycler = Recycler(registry, sessions.worker, emit, limits)
        yield Task("recycling", RECYCLE_TICK_S, _when_serving(sessions, recycler.tick))


def _disk_tasks(
    settings: Settings,
    storage: StorageParts,
    browsers: Browsers,
    sessions: SessionParts,
    jobs: Jobs,
    emit: Emit,
) -> Iterator[Task]:
    disk_limits = DiskLimits(
        sessions.registry, browsers, jobs, emit, settings.max_downloads_mb, settings.max_profile_mb
    )
    yield Task("cancelled downloads", DISK_TICK_S, disk_limits.report_downloads)
    room = storage.folders.room
    # A disk that hangs must not delay leases and idle ends.
    look = partial(jobs.begin, Job(JobKind.ROOM), lambda: disk_limits.measure_if_due(room.read()))
    yield Task("room on the disk", DISK_TICK_S, look)


def _browser_tasks(browsers: Browsers, sessions: SessionParts, jobs: Jobs, emit: Emit) -> Iterator[Task]:
    registry = sessions.registry
    keep_alive = KeepAliveVisitor(registry, browsers, jobs, emit)
    yield Task("keep-alive", SAVE_TICK_S, _when_serving(sessions, keep_alive.tick))
    save = _when_serving(sessions, lambda: sessions.state_saver.tick(registry.sessions()))
    yield Task("saved state", SAVE_TICK_S, save)
    yield Task("ended ChromeDrivers", REAP_TICK_S, browsers.launcher.reap)


def _session_tasks(
    settings: Settings, storage: StorageParts, browsers: Browsers, sessions: SessionParts, jobs: Jobs
) -> Iterator[Task]:
    registry, worker, folders = sessions.registry, sessions.worker, storage.folders
    start_probe = StartProbe(registry, browsers, worker, folders, jobs)
    yield Task("idle sessions", IDLE_TICK_S, _when_serving(sessions, sessions.closer.close_idle))
    yield Task("last use of sessions", USE_TICK_S, registry.record_uses)
    yield Task("drain", IDLE_TICK_S, sessions.drain.tick)
    yield Task("leases", IDLE_TICK_S, sessions.manager.expire_leases)
    yield Task("retry of closes", RETRY_CLOSE_S, sessions.closer.close_again)
    tidy = partial(jobs.begin, Job(JobKind.ORPHANED_FOLDERS), sessions.cleaner.tidy)
    yield Task("orphaned folders", TIDY_TICK_S, tidy)
    yield Task("start probe", IDLE_TICK_S, start_probe.begin)
    if settings.watch_interval > 0:
        yield Task("watch", settings.watch_interval, _when_serving(sessions, sessions.monitor.watch))
    if settings.warm_sessions > 0:
        warm = WarmPool(registry, worker, folders, settings.warm_sessions, settings.idle_timeout)
        yield Task("warm browsers", IDLE_TICK_S, warm.refill)
    if settings.cleanup_interval > 0:
        yield Task("cleanup", settings.cleanup_interval, sessions.cleaner.by_interval)
