"""Requests to a Grid's node, against a server that answers as Selenium Grid 4.48 does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drover.net.grid_node import GridNode, GridNodeFailed
from tests.integration.grid_nodes import NODE, SECRET, fake_node
from tests.machine import free_port


@pytest.fixture
def url() -> Iterator[str]:
    with fake_node() as url:
        yield url


def test_a_slot_is_freed_also_if_the_node_has_no_such_session(url: str) -> None:
    node = GridNode(url, SECRET)
    node.free_slot("known")
    node.free_slot("unknown")


def test_a_drain_is_accepted(url: str) -> None:
    GridNode(url, SECRET).drain()


def test_a_wrong_secret_is_named(url: str) -> None:
    for request in (lambda node: node.free_slot("known"), GridNode.drain):
        with pytest.raises(GridNodeFailed, match="DROVER_GRID_SECRET"):
            request(GridNode(url, "wrong"))


def test_any_other_error_is_a_failure(url: str) -> None:
    with pytest.raises(GridNodeFailed, match="HTTP 500"):
        GridNode(url, SECRET).free_slot("broken")


def test_a_node_that_is_not_there_is_a_failure() -> None:
    node = GridNode(f"http://127.0.0.1:{free_port()}", SECRET)
    for request in (lambda: node.free_slot("a"), node.drain, node.status):
        with pytest.raises(GridNodeFailed):
            request()


def test_the_status_is_that_of_the_node(url: str) -> None:
    assert GridNode(url).status() == NODE


def test_a_program_that_is_no_node_is_named(url: str) -> None:
    with pytest.raises(GridNodeFailed, match="not that of a node"):
        GridNode(f"{url}/other").status()


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(GridNode("http://127.0.0.1:5555", SECRET))
