"""Where sessions are: this node's memory first, then a short memory of others, then the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import UUID

from drover.cluster.membership import Shared
from drover.cluster.requests import Names
from drover.core.errors import StorageUnavailable
from drover.net.asgi import on_thread
from drover.sessions.persistence.pending_writes import secret_hash
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.cluster_values import Located

REMEMBERED_S: Final = 10.0
REMEMBERED: Final = 10_000
WITHOUT_DATABASE_S: Final = 2.0
"""How long a place counts that was found without the database."""


@dataclass(eq=False, repr=False)
class Locations:
    """Finds the node of a session.

    Args:
        is_living: Returns whether an incarnation was a living node at the last answer.
        copied: Returns where a session was when the list of all sessions was last read; None if not in it.
        threads: Where the database is asked.
    """

    _registry: SessionRegistry
    _shared: Shared
    _is_living: Callable[[UUID | None], bool]
    _copied: Callable[[Names], Located | None]
    _threads: Executor
    _found: dict[Names, tuple[Located, float]] = field(default_factory=dict, init=False)

    def is_here(self, names: Names) -> bool:
        """Return whether this node has the session that a request names.

        Only the database knows whose it is while it closes here: it may have been given away.
        """
        return self._registry.has_open(names.session_id, names.key, names.socket_secret)

    @property
    def may_lack_some(self) -> bool:
        """Whether `find` may not find sessions that a living node has: the database may have failed over."""
        return self._shared.database.may_lack_rows

    async def find(self, names: Names) -> Located | None:
        """Return where a session is; None if there is none.

        While the database does not answer, that is where it was: a living node goes on to serve its sessions
        for some seconds, and says so if it does not have one any more.

        Raises:
            KeyConflict: Id and key name two sessions.
            StorageUnavailable: The database does not answer, and no living node is known to have the session.
        """
        known, until = self._found.get(names, (None, 0.0))
        if known is not None and time.monotonic() < until and self._is_living(known.owner):
            return known
        secret = secret_hash(names.socket_secret) if names.socket_secret is not None else None
        try:
            found = await on_thread(
                self._threads, partial(self._shared.ownership.locate, names.session_id, names.key, secret)
            )
        except StorageUnavailable:
            # The copy is a few seconds old; what was remembered may be older, and its node may be gone.
            before = self._copied(names) or known
            if before is None or not self._is_living(before.owner):
                raise
            self._remember(names, before, WITHOUT_DATABASE_S)
            return before
        if found is not None and not found.is_free:
            self._remember(names, found, REMEMBERED_S)
        return found

    def _remember(self, names: Names, found: Located, seconds: float) -> None:
        if len(self._found) >= REMEMBERED:
            self._found.clear()
        self._found[names] = found, time.monotonic() + seconds

    def forget(self, names: Names) -> None:
        """Ask the database at the next request: what was remembered is not true any more."""
        self._found.pop(names, None)
