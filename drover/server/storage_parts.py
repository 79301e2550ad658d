"""The object graph of what is on disk."""

from __future__ import annotations

from dataclasses import dataclass

from drover.core.events import Emit
from drover.core.settings import Settings
from drover.processes.host.boot import boot_id
from drover.sessions.persistence.repository import SessionRepository
from drover.storage.data_folder import DataFolder, Part
from drover.storage.database import SessionDatabase
from drover.storage.instance_lock import InstanceLock
from drover.storage.profiles import Profiles
from drover.storage.session_folders import SessionFolders
from drover.storage.session_history import SessionHistory


@dataclass(frozen=True, slots=True)
class StorageParts:
    """The data folder and what is in it."""

    folders: SessionFolders
    profiles: Profiles
    lock: InstanceLock
    repository: SessionRepository
    data_folder: DataFolder
    boot_id: str
    history: SessionHistory


def storage_parts(settings: Settings, emit: Emit) -> StorageParts:
    """Return the parts; nothing is read or written yet."""
    data_dir, boot = settings.data_dir, boot_id()
    folders, lock = SessionFolders(data_dir), InstanceLock(data_dir)
    repository = SessionRepository(SessionDatabase(data_dir / "drover.db"), boot, emit)
    data_folder = DataFolder(
        (
            Part(str(data_dir), folders.put_back),
            Part(f"The lock of {data_dir}", lock.renew),
            Part(f"The session database in {data_dir}", repository.put_back_files),
        ),
        repository.hold,
        emit,
    )
    history = SessionHistory(data_dir)
    return StorageParts(folders, Profiles(folders), lock, repository, data_folder, boot, history)
