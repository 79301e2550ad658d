"""Three nodes, their clients, and what the clients were promised; for the programs on several machines."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from http import HTTPStatus
from typing import Final

import requests
from typing_extensions import Self

from tests.acceptance.disks import Disk
from tests.acceptance.machines import Node, Site
from tests.acceptance.served import ask
from tests.machine import remove, short_folder, wait_until
from tests.postgres import Postgres

ANSWER_S: Final = 90.0
READY_S: Final = 90.0
SETTLE_S: Final = 90.0
PAUSE_S: Final = (0.1, 0.6)
PLACES: Final = 20
DISK_MB: Final = 1000
# What a client may get while machines, networks and the database fail; 503 says when to retry.
REST_CODES: Final = frozenset(
    {
        "node_unreachable",
        "storage_unavailable",
        "at_capacity",
        "shutting_down",
        "browser_unavailable",
        "recovery_failed",
        "overloaded",
    }
)
DRIVER_ERRORS: Final = frozenset(
    {
        "unknown error",
        "session not created",
        "timeout",
        "script timeout",
        "no such window",
        "javascript error",
    }
)


@dataclass
class Promise:
    """A session that was answered with 201.

    Attributes:
        session_id: Its id.
        key: Its key, if it has one.
        node: The node that made it.
        browser: Identifies its first browser; None if it did not answer a command yet.
    """

    session_id: str
    key: str | None
    node: str
    browser: float | None = None


@dataclass
class Findings:
    """What was done and what went wrong; written by many threads."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        """Count an answer."""
        with self._lock:
            self.done[what] += 1

    def fail(self, what: str) -> None:
        """Record a violation, and print it."""
        with self._lock:
            self.wrong.append(what)
        print(f"{datetime.now(timezone.utc):%H:%M:%S} VIOLATION {what[:600]}", flush=True)


def judge(response: requests.Response, expected: Collection[int]) -> str:
    """Return what is wrong with an answer, empty if it is one of the contract."""
    try:
        body = response.json()
    except ValueError:
        return f"{response.status_code}, not JSON: {response.text[:200]}"
    if response.status_code in expected:
        return ""
    if isinstance(body.get("value"), dict) and "error" in body["value"]:
        return "" if body["value"]["error"] in DRIVER_ERRORS else f"{response.status_code} {body['value']}"
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE and body.get("code") in REST_CODES:
        return "" if int(response.headers.get("Retry-After", "0")) > 0 else f"no Retry-After: {body}"
    return f"{response.status_code} {body}"


class World:
    """Three nodes on machines of their own, with one database.

    Args:
        stack: Ends everything.
        settings: Settings of all nodes.

    Attributes:
        stack: Ends everything.
        disk: That of the database.
    """

    def __init__(self, stack: ExitStack, settings: dict[str, object] | None = None) -> None:
        self.stack = stack
        self.site = Site(stack)
        home = short_folder()
        stack.callback(remove, home)
        self.disk = Disk(home)
        assert self.disk.mount(DISK_MB), "no disk can be mounted here"
        stack.callback(self.disk.unmount)
        self.database = Postgres(home, self.site.database_address)
        stack.callback(self.database.stop)
        self.database.create()
        self.database.start()
        self._settings = settings or {}
        self.nodes: dict[str, Node] = {}
        self.promises: list[Promise] = []
        self.findings = Findings()
        self._lock = threading.Lock()

    def start(self, names: Sequence[str] = ("a", "b", "c")) -> None:
        """Start the nodes."""
        for name in names:
            self.nodes[name] = self.site.node(
                name, self.database.url, max_sessions=PLACES, drain_timeout=60, **self._settings
            )
        self.wait_until_ready()

    @property
    def all(self) -> list[Node]:
        """All nodes."""
        return list(self.nodes.values())

    def wait_until_ready(self) -> None:
        """Wait until every node accepts new sessions."""
        for node in self.all:
            wait_until(partial(is_ready, node), f"node {node.name} is ready", READY_S)

    def create(self, node: Node, key: str | None = None, session_id: str | None = None) -> Promise | None:
        """Ask a node for a new session; return the promise, None if it was refused."""
        named = {"key": key} if key is not None else {"session_id": session_id}
        try:
            response = node.post("/sessions", json=named, timeout=ANSWER_S)
        except requests.RequestException as error:
            self.findings.count(f"POST {type(error).__name__}")
            return None
        self.findings.count(f"POST {response.status_code}")
        if wrong := judge(response, {HTTPStatus.CREATED, HTTPStatus.OK}):
            self.findings.fail(f"POST /sessions at {node.name}: {wrong}")
        if response.status_code != HTTPStatus.CREATED:
            return None
        session = response.json()["session"]
        promise = Promise(session["session_id"], key, session["node"]["name"])
        with self._lock:
            self.promises.append(promise)
        with requests.Session() as client:
            client.trust_env = False
            promise.browser = ask(client, node.url, promise.session_id, node.name).browser
        return promise

    def check(self, may_move: frozenset[str] = frozenset(), may_end: frozenset[str] = frozenset()) -> None:
        """Check that every promise is kept: the same session everywhere, with its browser if it may not move.

        Args:
            may_move: Nodes whose sessions may have another browser by now.
            may_end: Nodes whose sessions without a key may be gone.
        """
        with requests.Session() as client:
            client.trust_env = False
            for promise in self.promises:
                found, errors = self._settled(client, promise)
                if not found and not (promise.key is None and promise.node in may_end):
                    self.findings.fail(f"{promise} is not served everywhere: {errors}")
                elif len(found) > 1:
                    self.findings.fail(f"{promise} has the browsers {found}")
                elif found and promise.browser not in {None, *found} and promise.node not in may_move:
                    self.findings.fail(f"{promise} has another browser: {found}")

    def forget(self) -> None:
        """Close all sessions."""
        for promise in self.promises:
            with suppress(requests.RequestException):
                self.all[0].delete(f"/sessions/{promise.session_id}", timeout=ANSWER_S)
        self.promises.clear()
        for node in self.all:
            wait_until(
                lambda node=node: not node.session_folders(),  # type: ignore[misc]
                f"the sessions of {node.name} are closed: {node.session_folders()}",
                SETTLE_S,
            )

    def _settled(self, client: requests.Session, promise: Promise) -> tuple[set[float], list[str]]:
        """Return the browsers that serve a session through all nodes, or else the last errors."""
        over = time.monotonic() + SETTLE_S
        while True:
            answers = [ask(client, node.url, promise.session_id, node.name, ANSWER_S) for node in self.all]
            found = {one.browser for one in answers if one.browser is not None}
            if all(one.browser is not None for one in answers):
                return found, []
            errors = [one.error for one in answers]
            if all(error.startswith("404") for error in errors) or time.monotonic() > over:
                return set(), errors
            time.sleep(0.5)


class Clients:
    """Clients that use the sessions of a world through all nodes, until they are stopped.

    Args:
        world: The nodes and the promises.
        count: How many clients.
        creates_every_s: How often one of them asks for a new session.
        limit: How many new sessions are made.
        may_end: Nodes whose sessions without a key may end.
    """

    def __init__(
        self,
        world: World,
        count: int = 3,
        creates_every_s: float = 4.0,
        limit: int = 6,
        may_end: frozenset[str] = frozenset(),
    ) -> None:
        self._world = world
        self._may_end = may_end
        self._end = threading.Event()
        self._creates_every_s = creates_every_s
        self._limit = limit
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]
        self._threads.append(threading.Thread(target=self._create))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _create(self) -> None:
        chance = random.Random(0)  # noqa: S311 - not a secret
        made = 0
        while not self._end.wait(self._creates_every_s) and made < self._limit:
            node = chance.choice(self._world.all)
            if node.is_running():
                key = f"made-{time.monotonic_ns()}"
                made += self._world.create(node, key) is not None

    def _run(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - not a secret
        while not self._end.wait(chance.uniform(*PAUSE_S)):
            promises = self._world.promises.copy()
            if not promises:
                continue
            node, promise = chance.choice(self._world.all), chance.choice(promises)
            if node.is_running():
                self._use(node, promise, chance)

    def _use(self, node: Node, promise: Promise, chance: random.Random) -> None:
        path = f"/sessions/{promise.session_id}"
        named = {"key": promise.key} if promise.key else {"session_id": promise.session_id}
        driver = f"/wd/hub/session/{promise.session_id}"
        uses: list[tuple[str, Callable[[], requests.Response]]] = [
            ("POST /sessions", partial(node.post, "/sessions", json=named, timeout=ANSWER_S)),
            ("GET session", partial(node.get, f"{path}?recover=false", timeout=ANSWER_S)),
            ("GET list", partial(node.get, "/sessions", timeout=ANSWER_S)),
            ("GET title", partial(node.get, f"{driver}/title", timeout=ANSWER_S)),
            (
                "POST timeouts",
                partial(node.post, f"{driver}/timeouts", json={"script": 9000}, timeout=ANSWER_S),
            ),
        ]
        name, use = chance.choice(uses)
        try:
            response = use()
        except requests.RequestException as error:
            # The node has died, or its cable is pulled.
            self._world.findings.count(f"{name}: {type(error).__name__}")
            return
        self._world.findings.count(f"{name}: {response.status_code}")
        expected = {HTTPStatus.OK}
        if promise.key is None and promise.node in self._may_end:
            expected |= {HTTPStatus.NOT_FOUND, HTTPStatus.CREATED}
        if wrong := judge(response, expected):
            self._world.findings.fail(f"{name} of {promise} at {node.name}: {wrong}")
        elif name == "POST /sessions" and response.status_code == HTTPStatus.OK:
            found = response.json()["session_id"]
            if found != promise.session_id:
                self._world.findings.fail(f"{promise} leads to {found} at {node.name}")


def end_orderly() -> None:
    """Have SIGTERM end this program as an exception does, so that it leaves no machines behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def is_ready(node: Node) -> bool:
    """Return whether a node accepts new sessions."""
    try:
        return node.get("/ready", timeout=5).status_code == HTTPStatus.OK
    except requests.RequestException:
        return False
