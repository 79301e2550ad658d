"""One look at a session for all who ask for it at the same moment.

ChromeDriver listens with a backlog of 5, Chrome with one of 10 (measured): where twenty callers probe the
same session at once, the kernel drops or resets some of their connections, and a session that is well
would seem to be silent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from drover.sessions.pool.acquire import complete

Shared = TypeVar("Shared")


class SingleFlight(Generic[Shared]):
    """Gives every caller a look that began after he asked, and shares it among those who asked meanwhile.

    Nobody is given a look that was under way already: what it has read may be older than his question.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Shared]] = {}
        self._next: dict[Hashable, Future[Shared]] = {}

    def take(self, what: Hashable, look: Callable[[], Shared]) -> Shared:
        """Look, or share the look of somebody else; waits for at most one look before its own.

        Args:
            what: What is looked at.
            look: Looks at it, within a bounded time.

        Raises:
            Exception: What `look` raises, for all who share it.
        """
        with self._lock:
            shared = self._next.get(what)
            before = self._under_way.get(what)
            if shared is None:
                mine = self._next[what] = Future[Shared]()
        if shared is not None:
            return shared.result()
        if before is not None:
            wait([before])
        with self._lock:
            self._under_way[what] = self._next.pop(what)
        complete(mine, look)
        with self._lock:
            # Another look may have begun as soon as this one was complete.
            if self._under_way[what] is mine:
                del self._under_way[what]
        return mine.result()
