"""New sessions where a node has no free place: made on another one, or waited for. No other nodes may run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.clusters import LOST_S, Nodes
from tests.acceptance.service import expect
from tests.machine import wait_until
from tests.postgres import MISSING, is_installed

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not is_installed(), reason=MISSING),
    pytest.mark.timeout(400),
    pytest.mark.xdist_group(name="cluster"),
]


def test_a_full_node_hands_new_sessions_to_one_with_room(nodes: Nodes) -> None:
    small, large = nodes.start("small"), nodes.start("large")
    for number in range(3):
        expect(small.post("/sessions", json={"session_id": f"first-{number}"}), 201)
    handed = expect(small.post("/sessions", json={"session_id": "handed-on"}), 201)["session"]
    assert handed["node"]["name"] == "large"
    assert len(expect(small.get("/sessions"))["sessions"]) >= 3
    assert large.is_running()


def test_a_request_that_waits_goes_to_a_node_that_has_a_place_by_now(nodes: Nodes) -> None:
    asked, other = nodes.start("is-full", max_sessions=1), nodes.start("full-too", max_sessions=1)
    asked.create(session_id="stays", lease={"ttl": 300})
    other.create(session_id="leaves", lease={"ttl": 300})
    with ThreadPoolExecutor(2) as pool:
        first, second = (
            pool.submit(asked.post, "/sessions", json={"key": "queued", "lease": {"ttl": 300}}),
            pool.submit(asked.post, "/sessions", json={}),
        )
        wait_until(lambda: "drover_waiting_requests 2.0" in asked.get("/metrics").text, "both wait", LOST_S)
        expect(other.delete("/sessions/leaves"))
        wait_until(lambda: first.done() or second.done(), "one has its place", LOST_S)
        expect(asked.delete("/sessions/stays"))
        answers = [expect(one.result(), 201)["session"] for one in (first, second)]
    assert {answer["node"]["name"] for answer in answers} == {"is-full", "full-too"}
