"""The fake ChromeDriver follows the protocol, and misbehaves exactly as told."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from http.client import BadStatusLine, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from websockets.sync.client import connect

from tests.integration import fake_chromedriver
from tests.integration.fake_chromedriver import CHROME, START_ERROR, Fault, install
from tests.machine import family, is_living, kill, marked, wait_gone, wait_until

SHORT_S = 0.5


class Fake:
    """One running fake, its control file and its address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "out"
        with self.output.open("wb") as sink:
            command = [str(install(folder)), "--port=0", f"--log-path={folder}/chromedriver.log"]
            self.process = subprocess.Popen(command, stdout=sink, stderr=sink)
        self.url = f"http://127.0.0.1:{wait_until(self._port, 'the fake says its port')}"

    def set_fault(self, fault: Fault) -> None:
        """Set the fault."""
        temporary = self.folder / "control.new"
        temporary.write_text(f"{self.process.pid} {fault.value}\n", encoding="utf-8")
        temporary.replace(self.folder / "control")

    def call(self, path: str, body: object = None, method: str | None = None, timeout: float = 10) -> Any:  # noqa: ANN401
        """Send a command and return its value."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, method=method)  # noqa: S310 - it is http
        with urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return json.load(answer)["value"]

    def new_session(self, **options: object) -> tuple[str, dict[str, Any]]:
        """Create a session; return its id and capabilities."""
        options = options or {"args": [f"--user-data-dir={self.folder}/p"]}
        value = self.call("/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        return value["sessionId"], value["capabilities"]

    def _port(self) -> str | None:
        found = re.search(
            r"was started successfully on port (\d+)\.", self.output.read_text(encoding="utf-8")
        )
        return found[1] if found else None


@pytest.fixture
def start_fake(folder: Path) -> Iterator[Callable[[], Fake]]:
    """Yield a function that starts fakes; they end with the test, and their browsers too."""
    fakes: list[Fake] = []

    def start() -> Fake:
        home = folder / str(len(fakes))
        home.mkdir()
        fakes.append(Fake(home))
        return fakes[-1]

    yield start
    kill(marked(folder))
    for fake in fakes:
        fake.process.wait()


@pytest.fixture
def fake(start_fake: Callable[[], Fake]) -> Fake:
    """Run one fake."""
    return start_fake()


def test_a_session_has_a_browser_with_a_helper_and_real_names(fake: Fake) -> None:
    _, capabilities = fake.new_session()
    browser = psutil.Process(capabilities["goog:processID"])
    address = capabilities["goog:chromeOptions"]["debuggerAddress"]
    with urlopen(f"http://{address}/json/version", timeout=5) as answer:
        assert "/devtools/browser/" in json.load(answer)["webSocketDebuggerUrl"]
    assert Path(psutil.Process(fake.process.pid).exe()).stem == "chromedriver"
    assert Path(browser.exe()).name == CHROME
    assert fake.process.pid in {process.pid for process in browser.parents()}
    assert len(browser.children()) == 1


def test_its_browser_speaks_devtools(fake: Fake) -> None:
    session_id, capabilities = fake.new_session()
    address = capabilities["goog:chromeOptions"]["debuggerAddress"]
    with urlopen(f"http://{address}/json/version", timeout=5) as answer:
        url = json.load(answer)["webSocketDebuggerUrl"]
    with connect(url, compression=None, proxy=None) as socket:
        socket.send(
            json.dumps({"id": 1, "method": "Target.setDiscoverTargets", "params": {"discover": True}})
        )
        assert json.loads(socket.recv(5)) == {"id": 1, "result": {}}
        target = json.loads(socket.recv(5))["params"]["targetInfo"]["targetId"]
        socket.send(json.dumps({"id": 2, "method": "Page.navigate", "params": {"url": "x" * 70_000}}))
        assert json.loads(socket.recv(5))["id"] == 2
    assert fake.call(f"/session/{session_id}/window/handles") == [target]


def test_a_deleted_session_takes_its_browser_with_it(fake: Fake) -> None:
    session_id, capabilities = fake.new_session()
    tree = family(capabilities["goog:processID"])
    assert len(tree) > 1
    fake.call(f"/session/{session_id}", method="DELETE")
    wait_gone(tree)


def test_a_killed_driver_leaves_its_browser_to_the_next_one(
    fake: Fake, start_fake: Callable[[], Fake]
) -> None:
    _, capabilities = fake.new_session()
    fake.process.kill()
    fake.process.wait()
    other = start_fake()
    session_id, attached = other.new_session(
        debuggerAddress=capabilities["goog:chromeOptions"]["debuggerAddress"]
    )
    assert "goog:processID" not in attached
    assert other.call(f"/session/{session_id}/url") == "data:,"


@pytest.mark.parametrize("fault", [Fault.NOT_ACCEPTING, Fault.HUNG])
def test_a_silent_one_answers_again_when_the_fault_is_cleared(fake: Fake, fault: Fault) -> None:
    fake.set_fault(fault)
    with pytest.raises(TimeoutError):
        fake.call("/status", timeout=SHORT_S)
    fake.set_fault(Fault.NONE)
    assert fake.call("/status")["ready"] is True


def test_a_busy_one_answers_status_but_no_command(fake: Fake) -> None:
    session_id, _ = fake.new_session()
    fake.set_fault(Fault.BUSY)
    assert fake.call("/status")["ready"] is True
    with pytest.raises(TimeoutError):
        fake.call(f"/session/{session_id}/url", timeout=SHORT_S)


def test_one_that_dies_mid_command_leaves_its_browser(fake: Fake) -> None:
    session_id, capabilities = fake.new_session()
    fake.set_fault(Fault.DIES_MID_COMMAND)
    with pytest.raises(RemoteDisconnected):
        fake.call(f"/session/{session_id}/url")
    assert fake.process.wait(5) == 1
    assert is_living(capabilities["goog:processID"])


def test_garbage_is_not_http_and_html_is_not_json(fake: Fake) -> None:
    fake.set_fault(Fault.ANSWERS_GARBAGE)
    with pytest.raises(BadStatusLine):
        fake.call("/status")
    fake.set_fault(Fault.ANSWERS_HTML)
    with pytest.raises(json.JSONDecodeError):
        fake.call("/status")


@pytest.mark.parametrize("fault", [Fault.REFUSES_SESSION, Fault.BROWSER_DIES_AT_START])
def test_a_session_that_cannot_be_created_gets_the_w3c_error(fake: Fake, fault: Fault) -> None:
    (fake.folder / "control").write_text(fault.value, encoding="utf-8")
    with pytest.raises(HTTPError) as refusal:
        fake.new_session()
    with refusal.value as answer:
        assert json.load(answer)["value"]["error"] == "session not created"


def test_one_that_refuses_to_start_says_why(folder: Path) -> None:
    environment = os.environ | {fake_chromedriver.FAULT: Fault.REFUSES_TO_START.value}
    done = subprocess.run(
        [str(install(folder))], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert START_ERROR in done.stderr
