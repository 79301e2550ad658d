"""The state machine of the persistence, over PostgreSQL: what was answered is true after the next start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from hypothesis import settings

from drover.core.errors import StorageUnavailable
from drover.sessions.persistence.cluster_repository import ClusterRepository
from drover.sessions.persistence.repository import SessionRepository
from drover.storage.changes import Change, Owner
from drover.storage.cluster_values import NodeIdentity
from drover.storage.postgres.database import ClusterDatabase
from drover.storage.postgres.ownership import Ownership
from tests.postgres import MISSING, Postgres, is_installed, postgres
from tests.unit.sessions.test_persistence_state_machine import BOOT, Fault, Faulty, PersistenceMachine

pytestmark = [pytest.mark.skipif(not is_installed(), reason=MISSING), pytest.mark.timeout(600)]
NODE = NodeIdentity("one", "data-1", "http://127.0.0.1:1", "0", 10)


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[Postgres]:
    with postgres() as running:
        ClusterMachine.server = running
        yield running


class FailingClusterDatabase(ClusterDatabase):
    """A real database whose writes can fail, before they are done or after."""

    fault: Fault = "none"
    during_write: Callable[[], None] | None = None

    def write(self, changes: Sequence[Change]) -> frozenset[Owner]:
        """Write, or fail."""
        if self.during_write is not None:
            self.during_write()
        if self.fault == "before":
            raise StorageUnavailable("the database does not answer")
        refused = super().write(changes)
        if self.fault == "after":
            raise StorageUnavailable("the answer was lost")
        return refused


class ClusterMachine(PersistenceMachine):
    """The same service as a node of a cluster."""

    server: Postgres
    clears_kept = False

    def __init__(self) -> None:
        self._links = ExitStack()
        self._forget_earlier_examples()
        super().__init__()

    def _store(self) -> tuple[Faulty, SessionRepository]:
        database = FailingClusterDatabase(self.server.url, lambda: NODE, lambda _: None)
        self._links.callback(database.close)
        return database, ClusterRepository(database, Ownership(database), BOOT, lambda _: None)

    def _forget_earlier_examples(self) -> None:
        known = self.server.execute("SELECT 1 FROM pg_tables WHERE tablename = 'nodes'")
        if known:
            self.server.execute("TRUNCATE sessions, states, kept, nodes")

    def teardown(self) -> None:
        """Close every connection of the example."""
        try:
            super().teardown()
        finally:
            self._links.close()


TestClusterPersistence = ClusterMachine.TestCase
TestClusterPersistence.settings = settings(stateful_step_count=30)
