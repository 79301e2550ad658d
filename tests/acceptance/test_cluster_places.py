"""New sessions where a node has no free place: made on another one, or waited for. No other nodes may run."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from tests.acceptance.clusters import LOST_S, Nodes, state_of
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


def test_requests_that_come_at_once_evict_nothing_while_another_node_has_places(nodes: Nodes) -> None:
    asked, empty = nodes.start("one-left", max_sessions=2), nodes.start("has-places", max_sessions=6)
    asked.create(session_id="idle")
    wait_until(lambda: state_of(asked, "has-places") == "up", "it knows the other node", LOST_S)
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(contextlib.closing(HTTPConnection("127.0.0.1", asked.port, timeout=60)))
            for _ in range(5)
        ]
        for connection in connections:
            connection.connect()
        for connection in connections:
            connection.request("POST", "/sessions", headers={"Content-Length": "0"})
        answers = [json.loads(connection.getresponse().read()) for connection in connections]
    names = [answer["session"]["node"]["name"] for answer in answers]
    assert sorted(names) == 4 * ["has-places"] + ["one-left"]
    assert "idle" in asked.listed()
    assert empty.is_running()


@pytest.mark.parametrize("comes", ["before", "after"])
def test_a_request_at_a_draining_node_waits_for_a_place_at_another_one(nodes: Nodes, comes: str) -> None:
    drains, full = (
        nodes.start(f"drains-{comes}", max_sessions=1),
        nodes.start(f"full-{comes}", max_sessions=1),
    )
    drains.create(session_id=f"works-{comes}", lease={"ttl": 300})
    full.create(session_id=f"leaves-{comes}", lease={"ttl": 300})
    wait_until(lambda: state_of(drains, f"full-{comes}") == "up", "it knows the other node", LOST_S)
    with ThreadPoolExecutor(1) as pool:
        if comes == "after":
            assert drains.post("/drain").status_code == 200
        asked = pool.submit(drains.post, "/sessions", json={"key": f"late-{comes}"})
        waiting = drains if comes == "before" else full
        wait_until(lambda: "drover_waiting_requests 1.0" in waiting.get("/metrics").text, "it waits", LOST_S)
        if comes == "before":
            assert drains.post("/drain").status_code == 200
            wait_until(
                lambda: "drover_waiting_requests 1.0" in full.get("/metrics").text, "it waits there", LOST_S
            )
        expect(full.delete(f"/sessions/leaves-{comes}"))
        assert expect(asked.result(), 201)["session"]["node"]["name"] == f"full-{comes}"


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


class CuttingProxy:
    """Passes connections on to a node, and cuts each one before the answer to its `POST /sessions`.

    Attributes:
        bodies: The bodies of these requests.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.target = 0
        self.bodies: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.target)) as node,
        ):
            while readable := select.select([client, node], [], [])[0]:
                for one in readable:
                    content = one.recv(65536)
                    if not content:
                        return
                    if one is client:
                        creates = content.startswith(b"POST /sessions ")
                        if creates:
                            self.bodies.append(content.partition(b"\r\n\r\n")[2])
                        node.sendall(content)
                    elif creates:
                        return
                    else:
                        client.sendall(content)


def test_a_session_whose_answer_is_lost_on_its_way_is_closed_where_it_was_made(nodes: Nodes) -> None:
    with contextlib.closing(CuttingProxy()) as proxy:
        maker = nodes.add("maker", node_url=f"http://127.0.0.1:{proxy.port}")
        proxy.target = maker.port
        maker.start()
        asked = nodes.start("asked", max_sessions=1)
        asked.create(session_id="fills-it", lease={"ttl": 300})
        response = asked.post("/sessions", json={})
    assert (response.status_code, response.json()["code"]) == (503, "node_unreachable")
    (body,) = proxy.bodies
    session_id = json.loads(body)["session_id"]
    assert session_id not in maker.listed()
    happened = [event["event"] for event in expect(maker.get(f"/sessions/{session_id}/history"))["history"]]
    assert (happened[0], happened[-1]) == ("created", "closed")
