"""Where sessions are: this node's memory first, then a short memory of others, then the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final
from uuid import UUID

from drover.cluster.requests import Names
from drover.net.asgi import on_thread
from drover.sessions.persistence.pending_writes import secret_hash
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.cluster_values import Located
from drover.storage.postgres.ownership import Ownership

REMEMBERED_S: Final = 10.0
REMEMBERED: Final = 10_000


class Locations:
    """Finds the node of a session.

    Args:
        registry: The sessions of this node.
        ownership: Who has a session, by the database.
        is_living: Returns whether an incarnation was a living node at the last answer.
        threads: Where the database is asked.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        ownership: Ownership,
        is_living: Callable[[UUID | None], bool],
        threads: Executor,
    ) -> None:
        self._registry = registry
        self._is_living = is_living
        self._ownership = ownership
        self._threads = threads
        self._found: dict[Names, tuple[Located, float]] = {}

    def is_here(self, names: Names) -> bool:
        """Return whether this node has the session that a request names.

        Only the database knows whose it is while it closes here: it may have been given away.
        """
        return self._registry.has_open(names.session_id, names.key, names.socket_secret)

    @property
    def may_lack_some(self) -> bool:
        """Whether `find` may not find sessions that a living node has: the database may have failed over."""
        return self._ownership.may_lack_rows

    async def find(self, names: Names) -> Located | None:
        """Return where a session is; None if there is none.

        Raises:
            KeyConflict: Id and key name two sessions.
            StorageUnavailable: The database does not answer.
        """
        found, at = self._found.get(names, (None, 0.0))
        if found is not None and time.monotonic() - at < REMEMBERED_S and self._is_living(found.owner):
            return found
        secret = secret_hash(names.socket_secret) if names.socket_secret is not None else None
        found = await on_thread(
            self._threads, partial(self._ownership.locate, names.session_id, names.key, secret)
        )
        if found is not None and not found.is_free:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            self._found[names] = found, time.monotonic()
        return found

    def forget(self, names: Names) -> None:
        """Ask the database at the next request: what was remembered is not true any more."""
        self._found.pop(names, None)
