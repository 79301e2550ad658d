"""The object graph of what is on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drover.core.errors import StartRefused
from drover.core.events import Emit
from drover.core.settings import Settings
from drover.processes.host.boot import boot_id
from drover.sessions.persistence.repository import SessionRepository
from drover.storage.data_folder import DataFolder
from drover.storage.database import SessionDatabase
from drover.storage.instance_lock import InstanceLock
from drover.storage.profiles import Profiles
from drover.storage.session_folders import SessionFolders
from drover.storage.session_history import SessionHistory

if TYPE_CHECKING:
    from drover.cluster.membership import Shared


@dataclass(frozen=True, slots=True)
class StorageParts:
    """The data folder and what is in it.

    Attributes:
        shared: The database that several machines share; None if there is only one.
    """

    folders: SessionFolders
    profiles: Profiles
    lock: InstanceLock
    repository: SessionRepository
    shared: Shared | None
    data_folder: DataFolder
    boot_id: str
    history: SessionHistory


def storage_parts(settings: Settings, emit: Emit) -> StorageParts:
    """Return the parts; nothing is read or written yet."""
    data_dir, boot = settings.data_dir, boot_id()
    folders, lock = SessionFolders(data_dir), InstanceLock(data_dir)
    shared = shared_database(settings, boot, emit)
    database = SessionDatabase(data_dir / "drover.db") if shared is None else shared.database
    repository = SessionRepository(database, boot, emit) if shared is None else shared.repository
    data_folder = DataFolder(
        {
            str(data_dir): folders.put_back,
            f"The lock of {data_dir}": lock.renew,
            f"The session database in {data_dir}": database.check_files,
        },
        repository.hold,
        emit,
    )
    history = SessionHistory(data_dir)
    return StorageParts(folders, Profiles(folders), lock, repository, shared, data_folder, boot, history)


def shared_database(settings: Settings, boot: str, emit: Emit) -> Shared | None:
    """Return the database that several machines share, if the settings name one.

    Raises:
        StartRefused: A setting is invalid, or the package for the database is missing.
    """
    if settings.database_url is None:
        return None
    try:
        import psycopg  # noqa: F401, PLC0415 - an extra, needed with a database only
    except ImportError as error:
        raise StartRefused(
            f"DROVER_DATABASE_URL is set, and psycopg cannot be imported ({error}): install it with "
            "`pip install -r requirements-cluster.txt`, or `pip install 'drover[cluster]'`"
        ) from error
    from drover.cluster.cluster import shared_of  # noqa: PLC0415 - imports psycopg

    return shared_of(settings, boot, emit)
