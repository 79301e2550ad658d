"""The distribution of tests to workers."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there are no workers")
def test_workers_know_the_group_of_each_test(request: pytest.FixtureRequest) -> None:
    # pytest-xdist appends the group to a test's id, and distributes by that alone.
    assert "@" in request.node.nodeid
