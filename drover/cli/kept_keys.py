"""What is kept for keys, for the command line: asked of the running service, or read from the data folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from drover.api.key_requests import KeyList, KeyObject
from drover.core.errors import StartObstructed, StorageUnavailable
from drover.core.settings import Settings
from drover.sessions.persistence.kept_logins import kept_keys
from drover.storage.changes import ForgetKey
from drover.storage.database import SessionDatabase
from drover.storage.instance_lock import InstanceLock
from drover.storage.kept_profiles import KeptProfiles


@dataclass(eq=False, repr=False)
class KeptByService:
    """What the running service keeps.

    Args:
        ask: Sends a request with a method and a path to it, and returns its answer.
    """

    _ask: Callable[[str, str], Mapping[str, Any]]

    def list(self) -> Mapping[str, Any]:
        """Return the answer of `GET /keys`."""
        return self._ask("GET", "/keys")

    def forget(self, key: str) -> None:
        """Forget what is kept for a key."""
        self._ask("DELETE", f"/keys/{quote(key, safe='')}")


class KeptOnDisk:
    """What the data folder keeps, in which no service runs."""

    def __init__(self, database: SessionDatabase, settings: Settings) -> None:
        self._database = database
        self._profiles = KeptProfiles(settings.data_dir)
        self._limit_mb = settings.max_kept_mb

    def list(self) -> Mapping[str, Any]:
        """Return what `GET /keys` would answer."""
        found = kept_keys(self._database.load_kept(), self._profiles.all())
        keys = [KeyObject.of(one) for one in found]
        return KeyList(success=True, keys=keys, max_kept_mb=self._limit_mb).json_object()

    def forget(self, key: str) -> None:
        """Forget what is kept for a key."""
        self._profiles.forget(key)
        self._database.write((ForgetKey(None, key),))


@contextmanager
def on_disk(settings: Settings) -> Iterator[KeptOnDisk]:
    """Yield what is kept in the data folder, in which no service runs; none can start in the `with` block.

    Raises:
        StartRefused: The folder or the database cannot be used.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock, database = InstanceLock(settings.data_dir), SessionDatabase(settings.data_dir / "drover.db")
    lock.acquire()
    try:
        database.open()
        yield KeptOnDisk(database, settings)
    except StorageUnavailable as error:
        raise StartObstructed(error.message) from error
    finally:
        database.close()
        lock.release()
