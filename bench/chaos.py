"""Random faults in browsers, the service and the machine, under clients at every endpoint.

    python bench/chaos.py [--seconds 300] [--seed N] [--clients 8]

Each client has its own session and uses it through all endpoints by turns. The run passes if no session is
lost, no unrelated process ends, every answer is one of the contract and comes in time, every stop of the
service is orderly, and nothing is left at the end. The seed is printed, so that a run can be repeated. The
exit status is 0 if the run passed.

A full disk needs root on Linux, and missing threads need a cgroup that can be written. In a PID namespace of
its own it needs a first process that reaps what dies, or thousands of zombies slow down every scan. There are
no unrelated processes on Windows: `tests/windows/world python bench/chaos.py --clients 3`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import requests
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from bench.lasting_faults import (
    LastingFault,
    full,
    locked_database,
    no_threads,
    own_disk,
    pids_controller,
    unread_log,
)
from bench.random_faults import ANSWER_S, FaultInjector, Findings
from tests.acceptance.disks import Disk
from tests.acceptance.foreign_programs import unrelated_processes
from tests.acceptance.service import Json, Service, running, unexpected_traces
from tests.machine import PATIENCE, living, short_folder

STREAM_S: Final = 30.0 * PATIENCE
REST_S: Final = (0.02, 0.3)
PAGE: Final = "data:text/html,<title>chaos</title><p>here"
# The statuses a client may get for its own session while everything around it dies.
REST_ANSWERS: Final = {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}
SOCKET_ANSWERS: Final = {HTTPStatus.SERVICE_UNAVAILABLE}
COMMAND_ANSWERS: Final = {HTTPStatus.OK, HTTPStatus.INTERNAL_SERVER_ERROR}


class Client:
    """One client with one session, which uses all endpoints by turns.

    Args:
        service: The service that it uses.
        number: Names its session.
        chance: Chooses the endpoints.
        findings: Collects what it did and what failed.
    """

    def __init__(self, service: Service, number: int, chance: random.Random, findings: Findings) -> None:
        self._service = service
        self.session_id = f"client-{number}"
        self._chance = chance
        self._findings = findings
        self._is_there = True
        self._endpoints: tuple[Callable[[], None], ...] = (
            self._acquire,
            self._delete,
            self._webdriver_session,
            self._read,
            self._list,
            self._screenshot,
            self._command,
            self._command,
            self._devtools,
            self._page,
            self._live,
            self._events,
            self._cleanup,
        )

    def run(self, end: threading.Event) -> None:
        """Use random endpoints until the end, and then until its session exists."""
        deadline = float("inf")
        while not end.is_set() or not self._is_there:
            if end.is_set():
                deadline = min(deadline, time.monotonic() + ANSWER_S)
            if time.monotonic() > deadline:
                self._findings.fail(f"{self.session_id} cannot be acquired any more")
                return
            endpoint = self._chance.choice(self._endpoints) if self._is_there else self._acquire
            try:
                endpoint()
            except (requests.Timeout, TimeoutError) as error:
                self._findings.fail(f"{self.session_id}, {endpoint.__name__}: no answer, {error}")
            except InvalidStatus as error:
                status = error.response.status_code
                self._findings.count(f"{endpoint.__name__} socket: {status}")
                # A page is lost with its browser, possibly between the list and the socket.
                allowed = SOCKET_ANSWERS | ({HTTPStatus.NOT_FOUND} if endpoint == self._page else set())
                if status not in allowed:
                    self._findings.fail(f"{self.session_id}, {endpoint.__name__}: refused with {status}")
            except (requests.RequestException, WebSocketException, OSError):
                # The service is down at this moment, or went down during an answer.
                self._findings.count("no connection")
            time.sleep(self._chance.uniform(*REST_S))

    def _acquire(self) -> None:
        options = {"session_id": self.session_id, "key": f"key of {self.session_id}"}
        allowed = REST_ANSWERS if self._is_there else {*REST_ANSWERS, HTTPStatus.CREATED}
        answer = self._request("POST", "/sessions", json=options)
        self._check("POST /sessions", answer, allowed)
        self._is_there = self._is_there or answer.ok

    def _delete(self) -> None:
        # Whether it is gone is unknown until there is an answer.
        self._is_there = False
        answer = self._request("DELETE", f"/sessions/{self.session_id}")
        # 503: it is closed, but its deletion is not on disk yet; 404: an earlier request has deleted it.
        allowed = {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.NOT_FOUND}
        self._check("DELETE /sessions/{id}", answer, allowed)

    def _webdriver_session(self) -> None:
        options = {"capabilities": {"alwaysMatch": {"webSocketUrl": True}}}
        answer = self._request("POST", "/wd/hub/session", json=options)
        self._check("WebDriver new session", answer, COMMAND_ANSWERS)
        if not answer.ok:
            return
        made = answer.json()["value"]
        try:
            self._send_over_socket(made["capabilities"]["webSocketUrl"], "session.status")
        finally:
            gone = self._request("DELETE", f"/wd/hub/session/{made['sessionId']}")
            self._check("WebDriver delete session", gone, COMMAND_ANSWERS)

    def _read(self) -> None:
        self._check("GET /sessions/{id}", self._request("GET", f"/sessions/{self.session_id}"), REST_ANSWERS)

    def _list(self) -> None:
        self._check("GET /sessions", self._request("GET", "/sessions"), {HTTPStatus.OK})

    def _screenshot(self) -> None:
        path = f"/sessions/{self.session_id}/screenshot"
        self._check("GET screenshot", self._request("GET", path), REST_ANSWERS)

    def _command(self) -> None:
        hub = f"/wd/hub/session/{self.session_id}"
        if self._chance.random() < 0.5:
            answer = self._request("POST", f"{hub}/url", json={"url": PAGE})
        else:
            answer = self._request("GET", f"{hub}/title")
        self._check("WebDriver command", answer, COMMAND_ANSWERS)

    def _devtools(self) -> None:
        address = f"ws://127.0.0.1:{self._service.port}/sessions/{self.session_id}/cdp"
        self._send_over_socket(address, "Browser.getVersion")

    def _page(self) -> None:
        listed = self._request("GET", f"/sessions/{self.session_id}/json/list")
        self._check("GET json/list", listed, REST_ANSWERS)
        pages = [one for one in listed.json() if one["type"] == "page"] if listed.ok else []
        # A command to a page whose renderer is stopped never returns, also without the service in between.
        for page in pages:
            self._send_over_socket(page["webSocketDebuggerUrl"], "Target.getTargetInfo")

    def _send_over_socket(self, address: str, method: str) -> None:
        with connect(address, open_timeout=ANSWER_S, close_timeout=1, max_size=None, proxy=None) as socket:
            socket.send(json.dumps({"id": 1, "method": method, "params": {}}))
            socket.recv(timeout=ANSWER_S)
        self._findings.count(f"{method} over a socket")

    def _live(self) -> None:
        self._stream(f"/sessions/{self.session_id}/live")

    def _events(self) -> None:
        self._stream("/events")

    def _stream(self, path: str) -> None:
        endpoint = path.rpartition("/")[2]
        with requests.get(f"{self._service.url}{path}", stream=True, timeout=STREAM_S) as answer:
            if answer.status_code != HTTPStatus.OK:
                self._findings.fail(
                    f"{self.session_id}, {endpoint}: {answer.status_code} {answer.text[:300]}"
                )
            next(answer.iter_content(1024), b"")
        self._findings.count(f"{endpoint} stream")

    def _cleanup(self) -> None:
        self._check("POST cleanup", self._request("POST", "/cleanup_orphaned_processes"), REST_ANSWERS)

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 - requests' own
        return self._service.request(method, path, timeout=ANSWER_S, **options)

    def _check(self, endpoint: str, answer: requests.Response, allowed: set[HTTPStatus]) -> None:
        self._findings.count(f"{endpoint}: {answer.status_code}")
        stopping = answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        if answer.status_code not in allowed or (stopping and "Retry-After" not in answer.headers):
            self._findings.fail(f"{self.session_id}, {endpoint}: {answer.status_code} {answer.text[:300]}")


def lost_sessions(service: Service, clients: list[Client]) -> Iterator[str]:
    """Yield the sessions that do not recover under their id after the last fault."""
    for client in clients:
        answer = service.get(f"/sessions/{client.session_id}", timeout=ANSWER_S)
        if answer.status_code != HTTPStatus.OK:
            yield f"{client.session_id} is lost: {answer.status_code} {answer.text[:300]}"
            continue
        session: Json = answer.json()["session"]
        title = service.get(f"/wd/hub/session/{client.session_id}/title", timeout=ANSWER_S)
        if session["health"]["status"] not in {"healthy", "busy"} or title.status_code != HTTPStatus.OK:
            yield f"{client.session_id} is not well: {session['health']}, {title.text[:300]}"


def lasting_faults(disk: Disk | None) -> dict[str, LastingFault]:
    """Return the faults that last and that are possible on this machine, by name."""
    faults: dict[str, LastingFault] = {"locked database": locked_database, "unread log": unread_log}
    if disk is not None:
        faults["full disk"] = full(disk)
    controller = pids_controller()
    if controller is not None:
        faults["no threads"] = no_threads(controller)
    print(f"Lasting faults: {', '.join(sorted(faults))}", flush=True)
    return faults


@contextlib.contextmanager
def bystanders() -> Iterator[Mapping[str, set[int]]]:
    """Run unrelated processes, which must not end, and yield their pids by name; they are made for POSIX."""
    if sys.platform == "win32":
        yield {}
        return
    with unrelated_processes(short_folder()) as unrelated:
        yield unrelated


def run(seconds: float, seed: int, number: int, findings: Findings) -> None:
    """Run clients and faults, and collect the findings."""
    chance = random.Random(seed)  # noqa: S311 - to be had again, not to be secret
    # The start after a stop finds the sessions again. A WebDriver session stays if the service ends before
    # its client gets the id: there must be room for these, or the clients' sessions would be evicted.
    settings: dict[str, object] = {"max_sessions": 6 * number, "keep_browsers": True, "log_level": "debug"}
    settings |= {"watch_interval": 3, "health_timeout": PATIENCE}
    with (
        bystanders() as unrelated,
        own_disk(short_folder()) as (folder, disk),
        running(data_dir=folder / "d", **settings) as service,
    ):
        findings.logged = service.logs
        clients = [Client(service, one, random.Random(seed + one), findings) for one in range(number)]  # noqa: S311
        for client in clients:
            service.create(session_id=client.session_id, key=f"key of {client.session_id}")
        end = threading.Event()
        with ThreadPoolExecutor(number) as pool:
            running_clients = [pool.submit(client.run, end) for client in clients]
            try:
                FaultInjector(service, chance, findings, lasting_faults(disk)).run(seconds)
            finally:
                end.set()
            for one in running_clients:
                one.result()
        findings.wrong += lost_sessions(service, clients)
        findings.wrong += [f"{name} was ended" for name, pids in unrelated.items() if living(pids) != pids]
        findings.wrong += [f"stack trace after: {line}" for line in unexpected_traces(service.logs())]
        service.close_all()


def main() -> int:
    """Run, print the findings, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--log", type=Path, help="file for the service's log")
    options = parser.parse_args()
    print(f"{options.seconds:g} s, {options.clients} clients, --seed {options.seed}", flush=True)
    findings = Findings(log=options.log)
    try:
        run(options.seconds, options.seed, options.clients, findings)
    finally:
        findings.write_log()
        report(findings)
    return min(1, len(findings.wrong))


def report(findings: Findings) -> None:
    """Print what was done and what went wrong."""
    for what, times in sorted(findings.done.items()):
        print(f"{times:7d}  {what}")
    for wrong in findings.wrong:
        print(f"WRONG  {wrong}")
    print(f"{len(findings.wrong)} failures")


if __name__ == "__main__":
    sys.exit(main())
