"""A node's part of an emergency of all nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from drover.cluster.cluster import Cluster


@pytest.mark.parametrize("cleared", [False, True])
def test_an_emergency_is_obeyed_when_everything_is_deleted(*, cleared: bool) -> None:
    obeyed: list[int] = []
    report = SimpleNamespace(cleared=cleared)
    node: Any = SimpleNamespace(
        _own=SimpleNamespace(emergency=SimpleNamespace(run=lambda _: report)),
        _shared=SimpleNamespace(ownership=SimpleNamespace(obeyed=obeyed.append)),
        _obeying=True,
    )
    Cluster._end_everything(node, 3)
    assert obeyed == ([3] if cleared else [])
    assert not node._obeying
