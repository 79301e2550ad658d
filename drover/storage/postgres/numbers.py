"""The one sequence of a database, from which epochs and versions come: it never gives a number twice.

A failover to a replica that lacks the last transactions sets it back. A node that finds it behind a number
that it has seen moves it ahead before it takes another one.
"""

from __future__ import annotations

import threading
from typing import Final

from drover.storage.postgres.link import Connection

MARGIN: Final = 1000
"""How far beyond its own numbers a node moves the sequence: others may have had later ones."""
MOST: Final = 500_000
"""Numbers that one statement takes, some tenths of a second; the next one goes on."""
_LAST: Final = "SELECT last_value FROM epochs"
# `setval` could set the sequence back, as others may take numbers between its look and its write.
_TAKE_SOME: Final = "SELECT max(nextval('epochs')) FROM generate_series(1, %s)"


class Numbers:
    """The greatest number that this node has seen; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._greatest = 0

    def note(self, number: int) -> None:
        """Note a number that the database has given to any node."""
        with self._lock:
            self._greatest = max(self._greatest, number)

    def check(self, last: int, connection: Connection) -> None:
        """Move the sequence ahead if its last number is behind those seen."""
        if last < self._greatest:
            self._move_ahead(last, connection)
        else:
            self.note(last)

    def look(self, connection: Connection) -> None:
        """Read the last number of the sequence, and check it."""
        if not self._greatest:
            # There may be no sequence yet.
            return
        row = connection.execute(_LAST).fetchone()
        assert row is not None
        self.check(row[0], connection)

    def _move_ahead(self, last: int, connection: Connection) -> None:
        wanted = self._greatest + MARGIN
        while last < wanted:
            row = connection.execute(_TAKE_SOME, [min(wanted - last, MOST)]).fetchone()
            assert row is not None
            last = row[0]
        self.note(last)
