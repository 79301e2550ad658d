"""Two nodes whose database is full, fails over, or is behind a pooler, and whose clocks differ by an hour."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Final

import pytest
import requests

from tests.acceptance.disks import Disk
from tests.acceptance.service import Json, Service, expect
from tests.machine import PATIENCE, kill, marked, remove, short_folder, wait_until
from tests.postgres import (
    MISSING,
    Postgres,
    disconnect,
    has_pgbouncer,
    is_installed,
    pgbouncer,
    postgres,
    standby,
)

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not is_installed(), reason=MISSING),
    pytest.mark.timeout(400),
    pytest.mark.xdist_group(name="cluster"),
]
LOST_S: Final = 60.0 * PATIENCE
DISK_MB: Final = 500


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, url: str, name: str, **settings: object) -> Service:
    """Start a node that leaves nothing when the test ends."""
    node = Service(short_folder(), database_url=url, node_name=name, max_sessions=4, **settings)
    stack.callback(node.reap)
    return node.start()


def leads_to(node: Service, key: str) -> Json:
    """Ask for the session of a key until it is answered; every other answer has to be one of the contract."""
    over = time.monotonic() + LOST_S
    while True:
        response = node.post("/sessions", json={"key": key})
        if response.status_code != requests.codes.unavailable:
            return expect(response)
        assert response.json()["code"] in {"node_unreachable", "storage_unavailable", "shutting_down"}
        assert time.monotonic() < over, response.text
        time.sleep(0.5)


@pytest.mark.skipif(not has_pgbouncer(), reason="needs PgBouncer, such as Debian's package pgbouncer")
def test_nodes_work_behind_a_pooler_in_transaction_mode(stack: ExitStack) -> None:
    database = stack.enter_context(postgres())
    url = stack.enter_context(pgbouncer(database))
    dying, heir = start(stack, url, "dying"), start(stack, url, "heir")
    session = dying.create(key="pooled")
    assert leads_to(heir, "pooled")["session_id"] == session["session_id"]
    title = f"/wd/hub/session/{session['session_id']}/title"
    assert heir.get(title).status_code == 200
    dying.kill()
    kill(marked(dying.data_dir))
    found = leads_to(heir, "pooled")
    assert (found["session_id"], found["session"]["node"]["name"]) == (session["session_id"], "heir")
    expect(heir.delete(f"/sessions/{session['session_id']}"))


def test_a_failover_that_loses_the_last_transactions_ends_no_session(stack: ExitStack) -> None:
    database = stack.enter_context(postgres())
    one, two = start(stack, database.url, "one"), start(stack, database.url, "two")
    sessions = {"old": one.create(key="old")}
    with standby(database) as follower:
        disconnect(follower)
        sessions |= {"new": one.create(key="new"), "other": two.create(key="other")}
        database.fail_over_to(follower)
        for node in (one, two):
            wait_until(lambda node=node: knows_its_own(database, node), "the rows are written again", LOST_S)  # type: ignore[misc]
        for key, session in sessions.items():
            for node in (one, two):
                found = leads_to(node, key)
                assert (found["session_id"], found["created"]) == (session["session_id"], False)
                assert found["session"]["recoveries"] == 0


def knows_its_own(database: Postgres, node: Service) -> bool:
    """Return whether the database has every session that a node serves."""
    rows = {str(row[0]) for row in database.execute("SELECT session_id FROM sessions")}
    own = node.settings["node_name"]
    return {
        session["session_id"] for session in node.listed().values() if session["node"]["name"] == own
    } <= rows


def test_a_full_disk_of_the_database_ends_no_session(stack: ExitStack) -> None:
    folder = short_folder()
    stack.callback(remove, folder)
    disk = Disk(folder)
    if not disk.mount(DISK_MB):
        pytest.skip("no disk can be mounted here")
    stack.callback(disk.unmount)
    database = Postgres(folder)
    stack.callback(database.stop)
    database.create()
    database.start()
    node = start(stack, database.url, "full")
    session = node.create(key="full")
    disk.leave(0)
    over = time.monotonic() + 15
    while time.monotonic() < over:
        response = node.post("/sessions", json={"key": "more"})
        assert response.status_code in {200, 201, 503}, response.text
        assert node.get("/health").status_code == 200
        if response.status_code != 503:
            response = node.delete(f"/sessions/{response.json()['session_id']}")
            assert response.status_code in {200, 503}, response.text
        if response.status_code == 503:
            assert response.json()["code"] == "storage_unavailable"
            break
    disk.leave(DISK_MB)
    if not database.is_running:
        database.start()
    found = leads_to(node, "full")
    assert (found["session_id"], found["session"]["recoveries"]) == (session["session_id"], 0)


AHEAD: Final = """
import datetime, time

class OfReal(type):
    def __instancecheck__(cls, one):
        return isinstance(one, real)

class Ahead(datetime.datetime, metaclass=OfReal):
    def __new__(cls, *arguments, **named):
        return real(*arguments, **named)

    @classmethod
    def now(cls, zone=None):
        return real.now(zone) + datetime.timedelta(hours=1)

real, wall = datetime.datetime, time.time
datetime.datetime = Ahead
time.time = lambda: wall() + 3600
"""
"""Sets the clock of a Python program an hour ahead. libfaketime would keep ChromeDriver from starting."""


def test_clocks_that_differ_by_an_hour_change_nothing(stack: ExitStack) -> None:
    database = stack.enter_context(postgres())
    now = start(stack, database.url, "now")
    ahead = Service(short_folder(), database_url=database.url, node_name="ahead", max_sessions=4)
    stack.callback(ahead.reap)
    (ahead.folder / "sitecustomize.py").write_text(AHEAD)
    ahead.environment = {"PYTHONPATH": str(ahead.folder)}
    ahead.start()
    lease = {"ttl": 600, "holder": "person"}
    leased = ahead.create(key="leased", lease=lease, idle_timeout=900)
    used = now.create(key="used", idle_timeout=900)
    time.sleep(13)  # longer than a node may be silent
    for node in (now, ahead):
        states = {known["name"]: known["state"] for known in expect(node.get("/nodes"))["nodes"]}
        assert states == {"now": "up", "ahead": "up"}
        assert leads_to(node, "used")["session_id"] == used["session_id"]
    ahead.kill()
    kill(marked(ahead.data_dir))

    def is_refused() -> bool:
        answer = now.post("/sessions", json={"key": "leased"})
        return answer.status_code == 409 and answer.json()["code"] == "session_in_use"

    wait_until(is_refused, "the lease goes on at the other node", LOST_S)
    found = now.report(leased["session_id"])
    assert (found["node"]["name"], found["lease"]["holder"]) == ("now", "person")


def test_a_drain_lets_a_command_finish_and_leaves_its_session_to_another_node(stack: ExitStack) -> None:
    database = stack.enter_context(postgres())
    leaving = start(stack, database.url, "leaving", drain_timeout=8)
    staying = start(stack, database.url, "staying")
    session = leaving.create(key="drained")
    command = f"/wd/hub/session/{session['session_id']}/execute/async"
    script = "const [done] = arguments; setTimeout(() => done('finished'), 4000)"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(staying.post, command, json={"script": script, "args": []})
        time.sleep(1)
        expect(leaving.post("/drain"))
        assert running.result().json()["value"] == "finished"
    assert leaving.wait_for_exit(LOST_S) == 0
    found = leads_to(staying, "drained")
    assert (found["session_id"], found["session"]["node"]["name"]) == (session["session_id"], "staying")


def ask_until(over: threading.Event, node: Service, keys: dict[str, str]) -> list[requests.Response]:
    """Ask a node for all keys again and again, and return its answers; it may be away for a while."""
    answers = []
    while not over.wait(0.2):
        for key in keys:
            with suppress(requests.ConnectionError):
                answers.append(node.post("/sessions", json={"key": key}))
    return answers


def test_a_rolling_upgrade_loses_no_session_while_clients_ask(stack: ExitStack) -> None:
    database = stack.enter_context(postgres())
    nodes = [start(stack, database.url, name) for name in ("first", "second")]
    ids: dict[str, str] = {
        f"key-{node.port}": node.create(key=f"key-{node.port}")["session_id"] for node in nodes
    }
    over = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask_until, over, node, ids) for node in nodes]
        for node in nodes:
            assert node.stop(signal.SIGTERM, LOST_S) == 0
            node.start()
        over.set()
        answers = [answer for one in asking for answer in one.result()]
    assert {answer.status_code for answer in answers} <= {200, 503}
    served = [answer.json() for answer in answers if answer.status_code == 200]
    assert {one["session"]["key"]: one["session_id"] for one in served} == ids
    for key, session_id in ids.items():
        for node in nodes:
            assert leads_to(node, key)["session_id"] == session_id
