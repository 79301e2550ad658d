"""Cut-off and sleeping machines: every node is asked for one session ten times a second."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.acceptance import machines
from tests.acceptance.machines import Node, Site
from tests.acceptance.served import Observer, browsers, errors, observed, served_twice
from tests.acceptance.service import Json, expect
from tests.machine import PATIENCE, wait_until
from tests.postgres import MISSING, Postgres, is_installed, postgres

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not is_installed(), reason=MISSING),
    pytest.mark.skipif(not machines.is_available(), reason=machines.MISSING),
    pytest.mark.timeout(400),
    pytest.mark.xdist_group(name="cluster"),
]
LOST_S = 40.0 * PATIENCE
"""Longer than a node is silent before the others declare it lost, and its sessions restored."""
FENCED = "500 storage_unavailable"
UNREACHABLE = "500 node_unreachable"
SERVED = "served"


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with machines.site() as site:
        yield site


@pytest.fixture(scope="module")
def database(place: Site) -> Iterator[Postgres]:
    with postgres(place.database_address) as server:
        yield server


@pytest.fixture(scope="module")
def nodes(place: Site, database: Postgres) -> tuple[Node, Node, Node]:
    one, two, three = (place.node(name, database.url, max_sessions=4) for name in ("one", "two", "three"))
    return one, two, three


@pytest.fixture
def session(nodes: tuple[Node, Node, Node]) -> Iterator[Json]:
    for node in nodes:
        wait_until(lambda node=node: node.get("/ready").status_code == 200, "every node is ready", LOST_S)  # type: ignore[misc]
    session = nodes[0].create(key="watched")
    yield session
    path = f"/sessions/{session['session_id']}"
    # On a busy machine the database may need longer than a node waits for it.
    wait_until(lambda: nodes[1].delete(path).status_code in {200, 404}, "the session is closed", LOST_S)


def outcomes(observer: Observer, node: Node, seconds: float) -> set[str]:
    """Return the errors of a node's answers of the last seconds, and `served` if there was one without."""
    since = time.monotonic() - seconds
    recent = [one for one in observer.answers if one.node == node.name and one.received > since]
    return {one.error or SERVED for one in recent}


def test_a_node_cut_off_from_the_database_serves_nothing_and_its_session_is_restored_elsewhere(
    nodes: tuple[Node, Node, Node], session: Json
) -> None:
    one, *others = nodes
    with observed(nodes, session["session_id"]) as observer:
        wait_until(lambda: browsers(observer.answers), "the session is served")
        one.machine.cut_off_from_database()
        try:
            wait_until(lambda: len(browsers(observer.answers)) > 1, "it is restored elsewhere", LOST_S)
            assert one.get("/health").status_code == 200
            wait_until(lambda: outcomes(observer, one, 2) == {FENCED}, "the old node serves nothing")
        finally:
            one.machine.connect()
        wait_until(lambda: one.get("/ready").status_code == 200, "the node serves again", LOST_S)
        wait_until(lambda: not one.session_folders(), "the old browser is ended", LOST_S)
        time.sleep(1)
    assert len(browsers(observer.answers)) == 2
    assert served_twice(observer.answers) == []
    assert errors(observer.answers).keys() <= {FENCED, UNREACHABLE}
    assert one.report(session["session_id"])["node"]["name"] in {other.name for other in others}


def test_a_node_cut_off_from_the_other_nodes_keeps_its_sessions(
    nodes: tuple[Node, Node, Node], session: Json
) -> None:
    one, two, _ = nodes
    with observed(nodes, session["session_id"]) as observer:
        wait_until(lambda: browsers(observer.answers), "the session is served")
        one.machine.cut_off_from_clients()
        try:
            wait_until(lambda: UNREACHABLE in outcomes(observer, two, 5), "the others say why", LOST_S)
            time.sleep(12)  # longer than a node may be silent
            assert outcomes(observer, one, 5) == {SERVED}
            states = {known["name"]: known["state"] for known in expect(two.get("/nodes"))["nodes"]}
            assert states["one"] == "up"
        finally:
            one.machine.connect()
        wait_until(lambda: outcomes(observer, two, 1) == {SERVED}, "the others reach it again", LOST_S)
    assert len(browsers(observer.answers)) == 1
    assert errors(observer.answers).keys() <= {UNREACHABLE, "ReadTimeout"}


def test_a_machine_that_slept_serves_nothing_of_what_was_given_away(
    nodes: tuple[Node, Node, Node], session: Json
) -> None:
    one, *_ = nodes
    with observed(nodes, session["session_id"]) as observer:
        wait_until(lambda: browsers(observer.answers), "the session is served")
        asleep = [one.process.pid, *(process.pid for process in one.processes())]
        for pid in asleep:
            psutil.Process(pid).send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: len(browsers(observer.answers)) > 1, "it is restored elsewhere", LOST_S)
        finally:
            for pid in asleep:
                psutil.Process(pid).send_signal(signal.SIGCONT)
        wait_until(lambda: not one.session_folders(), "the old browser is ended", LOST_S)
        wait_until(lambda: one.get("/ready").status_code == 200, "the node serves again", LOST_S)
    assert len(browsers(observer.answers)) == 2
    assert served_twice(observer.answers) == []
