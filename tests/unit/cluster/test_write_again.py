"""What a node writes again if its database may have lost its last transactions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from drover.cluster.cluster import Cluster
from drover.sessions.pool.session import SessionState
from tests.unit.examples import session


def test_every_session_that_clients_know_is_written_once_for_each_loss() -> None:
    states = {"ready": SessionState.READY, "recovers": SessionState.RECOVERING}
    others = {"starts": SessionState.STARTING, "closes": SessionState.CLOSING}
    sessions = [session(name, state=state) for name, state in (states | others).items()]
    written: list[tuple[str, str]] = []
    database = SimpleNamespace(losses=0)
    node: Any = SimpleNamespace(
        _losses=0,
        _own=SimpleNamespace(
            registry=SimpleNamespace(sessions=lambda: sessions),
            state_saver=SimpleNamespace(state_of=lambda one: f"state of {one.session_id}"),
        ),
        _shared=SimpleNamespace(
            database=database,
            repository=SimpleNamespace(
                write_again=lambda one, state: written.append((one.session_id, state))
            ),
        ),
    )
    Cluster._write_again(node)
    assert written == []
    database.losses = 2
    for _ in range(2):
        Cluster._write_again(node)
    assert written == [(name, f"state of {name}") for name in states]
