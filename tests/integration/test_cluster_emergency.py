"""An emergency of all nodes, with real signs of life and without browsers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drover.cluster.cluster import Cluster, shared_of
from drover.core.deadline import Deadline
from drover.core.errors import Overloaded
from drover.core.settings import Settings
from drover.server.service import Drover
from drover.sessions.pool.registry import SessionRegistry
from drover.storage.postgres.ownership import Ownership
from tests.integration.service_harness import running_harness
from tests.machine import wait_until
from tests.postgres import MISSING, Postgres, is_installed, postgres

pytestmark = [pytest.mark.skipif(not is_installed(), reason=MISSING), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


class EmergencyNode:
    """A node whose part of an emergency is counted, and can fail."""

    def __init__(self, server: Postgres, name: str, folder: Path, stack: ExitStack) -> None:
        folder.mkdir()
        values: Any = {"database_url": server.url, "node_name": name, "data_dir": folder}
        settings = Settings(**values)
        self.runs = 0
        self.fails = False
        self.shared = shared_of(settings, "boot", lambda _: None)
        stack.callback(self.shared.database.close)
        self.shared.repository.open()
        self.registry = SessionRegistry(3, 3, self.shared.repository)
        own: Any = SimpleNamespace(
            registry=self.registry,
            closer=None,
            obstacle=lambda: None,
            emergency=SimpleNamespace(run=self._run),
        )
        self.cluster = Cluster(self.shared, settings, own, lambda _: None)
        self.cluster.start()
        self.cluster.begin_to_obey()
        stack.callback(self.cluster.stop)
        wait_until(self.may_serve, "it may serve", 20)

    def may_serve(self) -> bool:
        return self.cluster.membership.fence.may_serve()

    def _run(self, _: Deadline) -> Any:  # noqa: ANN401 - as much of a report as is needed
        self.runs += 1
        if self.fails:
            raise Overloaded("a cleanup runs")
        return SimpleNamespace(cleared=True)


@pytest.mark.exhaustive
def test_every_node_does_its_part_once_and_is_ready_at_once(server: Postgres, tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, two = (EmergencyNode(server, name, tmp_path / name, stack) for name in ("one", "two"))
        wait_until(lambda: len(one.cluster.membership.other_nodes) == 1, "it knows the other node", 20)
        report, silent = one.cluster.order_emergency(Deadline(30))
        assert (report.cleared, silent) == (True, ())
        assert one.may_serve()
        assert (one.runs, two.runs) == (1, 1)
        # The part of the node that is asked fails: it serves nothing until it is done.
        one.fails = True
        with pytest.raises(Overloaded):
            one.cluster.order_emergency(Deadline(30))
        wait_until(lambda: not one.may_serve(), "it serves nothing", 20)
        one.fails = False
        wait_until(one.may_serve, "it has done its part", 20)
        wait_until(lambda: two.runs == 2, "so has the other one", 20)
        wait_until(two.may_serve, "the other one serves", 20)


@pytest.mark.exhaustive
def test_a_node_that_was_away_during_an_emergency_has_nothing_of_before_when_it_is_back(
    server: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = {"database_url": server.url, "node_name": "away"}
    with running_harness(folder, monkeypatch, watch_interval=0, **address) as harness:
        wait_until(lambda: may_serve(harness.service), "it may serve", 20)
        harness.acquire("ended", "k")
        with monkeypatch.context() as patched:
            # As after a crash, the others do not know yet that it is gone.
            patched.setattr(Ownership, "leave", lambda _: None)
            harness.service.stop(keep_browsers=True)
        server.execute("UPDATE cluster SET emergency = emergency + 1")
        second = Drover(harness.service.settings)
        second.take_possession()
        second.start(lambda: False)
        try:
            wait_until(lambda: may_serve(second), "it has done its part", 30)
            assert second.sessions.registry.sessions() == ()
            assert server.execute("SELECT session_id FROM sessions") == []
        finally:
            second.stop()


def may_serve(service: Drover) -> bool:
    assert service.sessions.cluster is not None
    return service.sessions.cluster.membership.fence.may_serve()
