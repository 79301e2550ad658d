"""Several machines, one service: three nodes with one PostgreSQL, each with its own browsers."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psutil
import pytest
import requests
from websockets.sync.client import connect

from tests.acceptance.clusters import LOST_S, Nodes, die, restored, state_of
from tests.acceptance.pages import Pages
from tests.acceptance.saved_state import assert_saved_state, create_saved_state
from tests.acceptance.service import Service, expect, expect_error
from tests.machine import PATIENCE, marked, run_concurrently, short_folder, wait_until
from tests.postgres import MISSING, Postgres, is_installed

pytestmark = [
    pytest.mark.skipif(not is_installed(), reason=MISSING),
    pytest.mark.timeout(400),
    pytest.mark.xdist_group(name="cluster"),
]


@pytest.fixture(scope="module")
def trio(database: Postgres) -> Iterator[tuple[Service, Service, Service]]:
    with contextlib.ExitStack() as stack:
        nodes = Nodes(database, stack)
        yield nodes.start("one"), nodes.start("two"), nodes.start("three")


def test_one_key_has_one_session_however_many_nodes_are_asked_at_once(
    trio: tuple[Service, Service, Service],
) -> None:
    asking = [partial(node.post, "/sessions", json={"key": "race"}) for node in trio for _ in range(3)]
    answers = run_concurrently(asking)
    assert sorted(answer.status_code for answer in answers) == [200] * 8 + [201]
    assert len({answer.json()["session_id"] for answer in answers}) == 1
    expect(trio[0].delete(f"/sessions/{answers[0].json()['session_id']}"))


def test_any_node_leads_to_a_session(trio: tuple[Service, Service, Service], pages: Pages) -> None:
    one, two, three = trio
    session = one.create(session_id="led-to")
    assert session["node"] == {"name": "one", "url": one.url}
    assert expect(two.get("/sessions/led-to"))["session"]["node"]["name"] == "one"
    command = "/wd/hub/session/led-to/url"
    assert two.post(command, json={"url": pages.url("/form")}).status_code == 200
    assert three.get(command).json()["value"] == pages.url("/form")
    assert three.get("/sessions/led-to/screenshot").content.startswith(b"\x89PNG")
    with connect(f"ws://127.0.0.1:{three.port}/sessions/led-to/cdp") as socket:
        socket.send('{"id": 1, "method": "Browser.getVersion"}')
        assert '"id":1' in str(socket.recv(timeout=20)).replace(" ", "")
    # A client may reach only the node, or the proxy, that it has asked.
    version = three.get("/sessions/led-to/json/version").json()
    assert version["webSocketDebuggerUrl"].startswith(f"ws://localhost:{three.port}/")
    lease = expect(two.post("/sessions/led-to/lease", json={"ttl": 60}))["lease"]
    expect_error(three.post("/sessions", json={"session_id": "led-to"}), 409, "session_in_use")
    expect(three.delete("/sessions/led-to/lease", headers={"Lease-Token": lease["token"]}))
    expect(three.delete("/sessions/led-to"))
    expect_error(one.get("/sessions/led-to"), 404, "session_not_found")
    expect_error(two.get("/sessions/led-to"), 404, "session_not_found")


def test_a_bidi_address_works_at_every_node(trio: tuple[Service, Service, Service]) -> None:
    one, two, _ = trio
    wanted = {"browserName": "chrome", "webSocketUrl": True, "drover:options": {"session_id": "talks"}}
    answer = one.post("/wd/hub/session", json={"capabilities": {"alwaysMatch": wanted}})
    address = answer.json()["value"]["capabilities"]["webSocketUrl"]
    secret = address.rpartition("/")[2]
    with connect(f"ws://127.0.0.1:{two.port}/bidi/{secret}") as socket:
        socket.send('{"id": 1, "method": "session.status", "params": {}}')
        assert '"id":1' in str(socket.recv(timeout=20)).replace(" ", "")
    assert two.delete("/wd/hub/session/talks").json() == {"value": None}


def test_the_last_window_is_closed_at_one_node_and_the_session_quit_at_another(
    trio: tuple[Service, Service, Service],
) -> None:
    one, two, three = trio
    wanted = {"browserName": "chrome", "drover:options": {"session_id": "closes"}}
    assert one.post("/wd/hub/session", json={"capabilities": {"alwaysMatch": wanted}}).status_code == 200
    for node in (two, three):
        assert node.get("/wd/hub/session/closes/title").status_code == 200
    assert two.delete("/wd/hub/session/closes/window").json() == {"value": []}
    for node in (three, two, one):
        assert node.delete("/wd/hub/session/closes").json() == {"value": None}


def test_id_and_key_of_two_sessions_conflict_across_nodes(trio: tuple[Service, Service, Service]) -> None:
    one, two, three = trio
    one.create(session_id="has-key", key="mine")
    two.create(session_id="no-key")
    named = {"session_id": "no-key", "key": "mine"}
    for node in trio:
        expect_error(node.post("/sessions", json=named), 409, "key_conflict")
    given = expect(three.post("/sessions", json={"session_id": "no-key", "key": "other"}))
    assert given["session"]["key"] == "other"
    assert expect(one.post("/sessions", json={"key": "other"}))["session_id"] == "no-key"
    for session_id in ("has-key", "no-key"):
        expect(three.delete(f"/sessions/{session_id}"))


def test_every_node_lists_all_sessions_and_nodes(trio: tuple[Service, Service, Service]) -> None:
    one, two, three = trio
    one.create(session_id="of-one")
    two.create(session_id="of-two")
    wait_until(
        lambda: {"of-one", "of-two"} <= three.listed().keys(), "the third node lists both", 20 * PATIENCE
    )
    listed = expect(three.get("/sessions"))
    owners = {one["session_id"]: one["node"]["name"] for one in listed["sessions"]}
    assert owners == {"of-one": "one", "of-two": "two"}
    assert all("as_of" in session for session in listed["sessions"])
    assert (listed["active_sessions"], listed["max_sessions"]) == (0, 3)
    assert listed["cluster"]["max_sessions"] == 9
    assert "incomplete" not in listed
    states = {node["name"]: node["state"] for node in expect(one.get("/nodes"))["nodes"]}
    assert {name: states[name] for name in ("one", "two", "three")} == dict.fromkeys(
        ("one", "two", "three"), "up"
    )
    for session_id in owners:
        expect(three.delete(f"/sessions/{session_id}"))


def test_a_session_of_a_dead_machine_is_restored_on_another_one(nodes: Nodes, pages: Pages) -> None:
    dying, heir = nodes.start("dying"), nodes.start("heir")
    session = dying.create(key="login")
    create_saved_state(session, pages)
    time.sleep(5)  # what was there five seconds before the death is never lost
    die(dying)
    found = restored(heir, "login")
    assert found["session_id"] == session["session_id"]
    assert found["session"]["node"]["name"] == "heir"
    assert found["session"]["last_recovery"]["cause"] == "node_gone"
    assert_saved_state(found["session"], pages)


@pytest.mark.exhaustive
def test_a_machine_that_comes_back_ends_what_was_given_away(nodes: Nodes) -> None:
    back, heir = nodes.start("back"), nodes.start("keeper")
    given = back.create(key="moves")
    back.kill()  # its browsers live on
    assert marked(back.data_dir)
    found = restored(heir, "moves")
    back.start()
    wait_until(lambda: not marked_browsers(back), "the old browser is ended", LOST_S)
    assert expect(back.get(f"/sessions/{given['session_id']}"))["session"]["node"]["name"] == "keeper"
    assert expect(back.post("/sessions", json={"key": "moves"}))["session_id"] == found["session_id"]


def marked_browsers(node: Service) -> list[object]:
    """Return the processes of a node's sessions."""
    return [process for process in marked(node.data_dir) if process.pid != node.process.pid]


@pytest.mark.exhaustive
def test_a_stopped_node_serves_nothing_when_it_goes_on(nodes: Nodes) -> None:
    frozen, heir = nodes.start("frozen"), nodes.start("thawed-heir")
    session = frozen.create(key="fenced")
    frozen.send(signal.SIGSTOP)
    try:
        found = restored(heir, "fenced")
        with ThreadPoolExecutor(1) as pool:
            # The request waits in the kernel for the stopped process.
            asked = pool.submit(frozen.get, f"/wd/hub/session/{session['session_id']}/title")
            time.sleep(1)
            frozen.send(signal.SIGCONT)
            answer = asked.result()
    finally:
        frozen.send(signal.SIGCONT)
    if answer.status_code == 200:
        # It was forwarded to the new owner; the old browser may not have answered.
        assert (
            expect(frozen.get(f"/sessions/{session['session_id']}"))["session"]["node"]["name"]
            == "thawed-heir"
        )
    wait_until(lambda: not marked_browsers(frozen), "the old browser is ended", LOST_S)
    wait_until(lambda: frozen.get("/ready").status_code == 200, "the node serves again", LOST_S)
    assert expect(frozen.post("/sessions", json={"key": "fenced"}))["session_id"] == found["session_id"]


@pytest.mark.exhaustive
def test_a_node_without_the_database_serves_nothing_until_it_answers_again(
    nodes: Nodes, database: Postgres
) -> None:
    one, two = nodes.start("cut-one"), nodes.start("cut-two")
    session = one.create(key="outage")
    title = f"/wd/hub/session/{session['session_id']}/title"
    database.pause()
    try:
        assert one.get(title, timeout=20).status_code == 200
        wait_until(lambda: one.get("/ready").status_code == 503, "the node is not ready", LOST_S)
        assert one.get("/health", timeout=20).status_code == 200
        error = one.get(title, timeout=20).json()["value"]
        assert error["data"]["code"] == "storage_unavailable"
        listed = expect(one.get("/sessions", timeout=20))
        assert listed["incomplete"] is True
        assert session["session_id"] in {known["session_id"] for known in listed["sessions"]}
    finally:
        database.go_on()
    for node in (one, two):
        wait_until(lambda node=node: node.get("/ready").status_code == 200, "the node is ready again", LOST_S)  # type: ignore[misc]
    assert one.get(title).status_code == 200
    assert expect(two.post("/sessions", json={"key": "outage"}))["session_id"] == session["session_id"]
    assert expect(one.get("/sessions/" + session["session_id"]))["session"]["recoveries"] == 0


@pytest.mark.exhaustive
def test_a_restart_of_the_database_ends_no_session(nodes: Nodes, database: Postgres) -> None:
    node = nodes.start("patient")
    session = node.create(key="survives")
    database.stop()
    time.sleep(3)
    database.start()
    wait_until(
        lambda: node.post("/sessions", json={"key": "survives"}).status_code == 200,
        "the session is served again",
        LOST_S,
    )
    found = expect(node.post("/sessions", json={"key": "survives"}))["session"]
    assert (found["session_id"], found["recoveries"]) == (session["session_id"], 0)


@pytest.mark.exhaustive
def test_a_drained_node_leaves_its_keyed_sessions_to_the_others(nodes: Nodes, pages: Pages) -> None:
    leaving, staying = nodes.start("leaving"), nodes.start("staying")
    session = leaving.create(key="upgrade")
    create_saved_state(session, pages)
    assert leaving.stop() == 0
    found = expect(staying.post("/sessions", json={"key": "upgrade"}))
    assert (found["session_id"], found["session"]["node"]["name"]) == (session["session_id"], "staying")
    assert_saved_state(found["session"], pages)


def test_a_start_without_the_database_is_alive_and_not_ready_and_requests_wait_for_it(
    nodes: Nodes, database: Postgres
) -> None:
    node = nodes.add("early")
    database.stop()
    try:
        node.launch()
        wait_until(lambda: answer_of(node, "/ready") == (503, "starting"), "it says that it starts", LOST_S)
        assert answer_of(node, "/health") == (200, "healthy")
        with ThreadPoolExecutor(1) as pool:
            opened = pool.submit(node.post, "/sessions", json={"session_id": "patient"}, timeout=60)
            database.start()
            assert opened.result().status_code == 201
    finally:
        if not database.is_running:
            database.start()
    assert answer_of(node, "/ready") == (200, "ready")


@pytest.mark.exhaustive
def test_a_start_that_waits_for_the_database_can_be_stopped(nodes: Nodes, database: Postgres) -> None:
    node = nodes.add("gives-up")
    database.stop()
    try:
        node.launch()
        wait_until(lambda: answer_of(node, "/ready") == (503, "starting"), "it says that it starts", LOST_S)
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(node.post, "/sessions", json={"session_id": "impatient"}, timeout=60)
            wait_until(lambda: is_connected(node), "the request waits", LOST_S)
            assert node.stop() == 0
            expect_error(held.result(), 503, "storage_unavailable")
    finally:
        database.start()


def is_connected(node: Service) -> bool:
    """Return whether a client has an open connection to a node."""
    known = psutil.Process(node.process.pid).net_connections()
    return any(one.laddr.port == node.port and one.status == psutil.CONN_ESTABLISHED for one in known)


def answer_of(node: Service, path: str) -> tuple[int, str] | None:
    """Return the status code of an answer and the status in it; None if nothing answers."""
    try:
        response = node.get(path, timeout=5 * PATIENCE)
    except requests.RequestException:
        return None
    return response.status_code, response.json()["status"]


@pytest.mark.exhaustive
def test_a_draining_node_hands_new_sessions_on_and_is_listed_as_draining(nodes: Nodes) -> None:
    leaving, staying = nodes.start("drains"), nodes.start("takes")
    session = leaving.create(session_id="works-on", lease={"ttl": 60})
    assert leaving.post("/drain").status_code == 200
    wait_until(lambda: state_of(staying, "drains") == "draining", "the others know it", LOST_S)
    handed = expect(leaving.post("/sessions", json={"session_id": "comes-late"}), 201)["session"]
    assert handed["node"]["name"] != "drains"
    # What is there goes on, and is reached by any node.
    assert expect(staying.get("/sessions/works-on"))["session"]["driver"] == session["driver"]


@pytest.mark.exhaustive
def test_two_nodes_with_one_name_do_not_fight(nodes: Nodes, database: Postgres) -> None:
    first = nodes.start("twin")
    second = Service(short_folder(), database_url=database.url, node_name="twin")
    try:
        second.launch()
        assert second.wait_for_exit(LOST_S) != 0
        refusal = second.wait_for_log("DROVER_NODE_NAME")
    finally:
        second.reap()
    assert first.url in refusal
    assert expect(first.get("/ready"))["status"] == "ready"
