"""Which of those who wait at a node for a place are sent to other nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from drover.cluster.cluster import Cluster
from drover.sessions.pool.acquire import Claim
from tests.unit.examples import NOW, session


def test_who_waits_to_restore_a_session_of_a_lost_node_keeps_the_place_in_the_queue() -> None:
    found: list[Any] = []
    registry = SimpleNamespace(waiting=1, send_away=lambda _, is_elsewhere, __: found.append(is_elsewhere))
    theirs, lost = session("theirs", key="k"), session("lost", key="l")
    node: Any = SimpleNamespace(
        _own=SimpleNamespace(registry=registry),
        _list=SimpleNamespace(served=(theirs,), others=(theirs, lost)),
        others=(theirs, lost),
        membership=SimpleNamespace(other_nodes=()),
    )
    Cluster._serve_queue(node)

    def is_elsewhere(session_id: str | None, key: str | None) -> bool:
        return bool(found[0](Claim(session_id, key, lambda: session(created_at=NOW))))

    assert is_elsewhere("theirs", None)
    assert is_elsewhere(None, "k")
    assert not is_elsewhere("lost", None)
    assert not is_elsewhere(None, "l")
    assert not is_elsewhere("new", None)
