"""Chance kills and stops ChromeDrivers, browsers, renderers and the service, under clients at every door.

    python bench/chaos.py [--seconds 300] [--seed N] [--clients 8]

Each client has a session of its own name and asks for it through every door by turns. What must hold: no
session is lost, no innocent is hurt, every answer is one of the contract and comes in time, and nothing is
left at the end.
The seed is printed, so that a run can be had again; the exit status is 0 when all held. Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import requests
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from tests.acceptance.faults import browsers, drivers
from tests.acceptance.foreign_programs import unrelated_processes
from tests.acceptance.service import Json, Service, running
from tests.machine import command_line, living, short_folder

ANSWER_S: Final = 120.0
STREAM_S: Final = 30.0
REST_S: Final = (0.02, 0.3)
FAULT_EVERY_S: Final = (0.5, 4.0)
SERVICE_STRUCK_IN: Final = 20
"""One fault in so many hits the service itself."""
PAGE: Final = "data:text/html,<title>chaos</title><p>here"
# What a client may be told of its own session while everything around it dies.
REST_ANSWERS: Final = {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}
SOCKET_ANSWERS: Final = {HTTPStatus.SERVICE_UNAVAILABLE}
COMMAND_ANSWERS: Final = {HTTPStatus.OK, HTTPStatus.INTERNAL_SERVER_ERROR}


@dataclass
class Findings:
    """What was done and what went wrong; written by many threads."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        """Note that something was done."""
        with self._lock:
            self.done[what] += 1

    def blame(self, what: str) -> None:
        """Note what must not be."""
        with self._lock:
            self.wrong.append(what)


class Client:
    """One client with one session, at every door by turns.

    Args:
        service: Where it asks.
        number: Names its session.
        chance: Chooses the doors.
        findings: Where it notes what it was told.
    """

    def __init__(self, service: Service, number: int, chance: random.Random, findings: Findings) -> None:
        self._service = service
        self.session_id = f"client-{number}"
        self._chance = chance
        self._findings = findings
        self._is_there = True
        self._doors: tuple[Callable[[], None], ...] = (
            self._acquire,
            self._begin_anew,
            self._webdriver_session,
            self._look,
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

    def run(self, over: threading.Event) -> None:
        """Ask through one door after the other until it is over, and have a session then."""
        had_by = float("inf")
        while not over.is_set() or not self._is_there:
            if over.is_set():
                had_by = min(had_by, time.monotonic() + ANSWER_S)
            if time.monotonic() > had_by:
                self._findings.blame(f"{self.session_id} cannot be had again")
                return
            door = self._chance.choice(self._doors) if self._is_there else self._acquire
            try:
                door()
            except (requests.Timeout, TimeoutError) as error:
                self._findings.blame(f"{self.session_id}, {door.__name__}: no answer, {error}")
            except InvalidStatus as error:
                status = error.response.status_code
                self._findings.count(f"{door.__name__} socket: {status}")
                # A page goes with its browser, also between the list and the socket.
                allowed = SOCKET_ANSWERS | ({HTTPStatus.NOT_FOUND} if door == self._page else set())
                if status not in allowed:
                    self._findings.blame(f"{self.session_id}, {door.__name__}: refused with {status}")
            except (requests.RequestException, WebSocketException, OSError):
                # The service is down at this moment, or went down in the middle of an answer.
                self._findings.count("no connection")
            time.sleep(self._chance.uniform(*REST_S))

    def _acquire(self) -> None:
        asked = {"session_id": self.session_id, "key": f"key of {self.session_id}"}
        allowed = REST_ANSWERS if self._is_there else {*REST_ANSWERS, HTTPStatus.CREATED}
        answer = self._ask("POST", "/sessions", json=asked)
        self._judge("POST /sessions", answer, allowed)
        self._is_there = self._is_there or answer.ok

    def _begin_anew(self) -> None:
        # Whether it is gone is not known until there is an answer.
        self._is_there = False
        answer = self._ask("DELETE", f"/sessions/{self.session_id}")
        self._judge("DELETE /sessions/{id}", answer, {HTTPStatus.OK})

    def _webdriver_session(self) -> None:
        asked = {"capabilities": {"alwaysMatch": {"webSocketUrl": True}}}
        answer = self._ask("POST", "/wd/hub/session", json=asked)
        self._judge("WebDriver new session", answer, COMMAND_ANSWERS)
        if not answer.ok:
            return
        made = answer.json()["value"]
        try:
            self._talk(made["capabilities"]["webSocketUrl"], "session.status")
        finally:
            gone = self._ask("DELETE", f"/wd/hub/session/{made['sessionId']}")
            self._judge("WebDriver delete session", gone, COMMAND_ANSWERS)

    def _look(self) -> None:
        self._judge("GET /sessions/{id}", self._ask("GET", f"/sessions/{self.session_id}"), REST_ANSWERS)

    def _list(self) -> None:
        self._judge("GET /sessions", self._ask("GET", "/sessions"), {HTTPStatus.OK})

    def _screenshot(self) -> None:
        path = f"/sessions/{self.session_id}/screenshot"
        self._judge("GET screenshot", self._ask("GET", path), REST_ANSWERS)

    def _command(self) -> None:
        hub = f"/wd/hub/session/{self.session_id}"
        if self._chance.random() < 0.5:
            answer = self._ask("POST", f"{hub}/url", json={"url": PAGE})
        else:
            answer = self._ask("GET", f"{hub}/title")
        self._judge("WebDriver command", answer, COMMAND_ANSWERS)

    def _devtools(self) -> None:
        address = f"ws://127.0.0.1:{self._service.port}/sessions/{self.session_id}/cdp"
        self._talk(address, "Browser.getVersion")

    def _page(self) -> None:
        listed = self._ask("GET", f"/sessions/{self.session_id}/json/list")
        self._judge("GET json/list", listed, REST_ANSWERS)
        pages = [one for one in listed.json() if one["type"] == "page"] if listed.ok else []
        # A command to a page whose renderer is stopped waits for ever, also without a service in between.
        for page in pages:
            self._talk(page["webSocketDebuggerUrl"], "Target.getTargetInfo")

    def _talk(self, address: str, method: str) -> None:
        with connect(address, open_timeout=ANSWER_S, close_timeout=1, max_size=None, proxy=None) as socket:
            socket.send(json.dumps({"id": 1, "method": method, "params": {}}))
            socket.recv(timeout=ANSWER_S)
        self._findings.count(f"{method} over a socket")

    def _live(self) -> None:
        self._stream(f"/sessions/{self.session_id}/live")

    def _events(self) -> None:
        self._stream("/events")

    def _stream(self, path: str) -> None:
        door = path.rpartition("/")[2]
        with requests.get(f"{self._service.url}{path}", stream=True, timeout=STREAM_S) as answer:
            if answer.status_code != HTTPStatus.OK:
                self._findings.blame(f"{self.session_id}, {door}: {answer.status_code} {answer.text[:300]}")
            next(answer.iter_content(1024), b"")
        self._findings.count(f"{door} stream")

    def _cleanup(self) -> None:
        self._judge("POST cleanup", self._ask("POST", "/cleanup_orphaned_processes"), {HTTPStatus.OK})

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 - requests' own
        return self._service.request(method, path, timeout=ANSWER_S, **options)

    def _judge(self, door: str, answer: requests.Response, allowed: set[HTTPStatus]) -> None:
        self._findings.count(f"{door}: {answer.status_code}")
        stopping = answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        if answer.status_code not in allowed or (stopping and "Retry-After" not in answer.headers):
            self._findings.blame(f"{self.session_id}, {door}: {answer.status_code} {answer.text[:300]}")


class Monkey:
    """Does harm where chance says.

    Args:
        service: What it harms.
        chance: Chooses the fault and its victim.
        findings: Where it notes what it did.
    """

    def __init__(self, service: Service, chance: random.Random, findings: Findings) -> None:
        self._service = service
        self._chance = chance
        self._findings = findings

    def run(self, seconds: float) -> None:
        """Do harm for so long."""
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            time.sleep(self._chance.uniform(*FAULT_EVERY_S))
            if self._chance.randrange(SERVICE_STRUCK_IN) == 0:
                self._strike_service()
            else:
                self._strike()

    def _strike_service(self) -> None:
        if self._chance.choice((signal.SIGKILL, signal.SIGSTOP)) is signal.SIGKILL:
            self._service.kill()
            self._service.start()
            self._findings.count("fault: SIGKILL of the service")
        else:
            self._service.process.send_signal(signal.SIGSTOP)
            time.sleep(self._chance.uniform(*FAULT_EVERY_S))
            self._service.process.send_signal(signal.SIGCONT)
            self._findings.count("fault: SIGSTOP of the service, SIGCONT later")

    def _strike(self) -> None:
        kind = self._chance.choice(("ChromeDriver", "browser", "renderer"))
        victims = sorted(self._victims(kind))
        if not victims:
            return
        number = self._chance.choice((signal.SIGKILL, signal.SIGSTOP))
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(self._chance.choice(victims)).send_signal(number)
            self._findings.count(f"fault: {number.name} of a {kind}")

    def _victims(self, kind: str) -> set[int]:
        if kind == "ChromeDriver":
            return drivers(self._service)
        if kind == "browser":
            return browsers(self._service)
        return {one.pid for one in self._service.processes() if "--type=renderer" in command_line(one)}


def sessions_that_are_lost(service: Service, clients: list[Client]) -> Iterator[str]:
    """Give the sessions that do not come back under their name once the harm is over."""
    for client in clients:
        answer = service.get(f"/sessions/{client.session_id}", timeout=ANSWER_S)
        if answer.status_code != HTTPStatus.OK:
            yield f"{client.session_id} is lost: {answer.status_code} {answer.text[:300]}"
            continue
        session: Json = answer.json()["session"]
        title = service.get(f"/wd/hub/session/{client.session_id}/title", timeout=ANSWER_S)
        if session["health"]["status"] not in {"healthy", "busy"} or title.status_code != HTTPStatus.OK:
            yield f"{client.session_id} is not well: {session['health']}, {title.text[:300]}"


def run(seconds: float, seed: int, number: int) -> Findings:
    """Have it all happen, and give what was found."""
    findings, chance = Findings(), random.Random(seed)  # noqa: S311 - to be had again, not to be secret
    settings = {"max_sessions": 2 * number, "watch_interval": 3, "health_timeout": 1}
    with unrelated_processes(short_folder()) as unrelated, running(**settings) as service:
        clients = [Client(service, one, random.Random(seed + one), findings) for one in range(number)]  # noqa: S311
        for client in clients:
            service.create(session_id=client.session_id, key=f"key of {client.session_id}")
        over = threading.Event()
        with ThreadPoolExecutor(number) as pool:
            running_clients = [pool.submit(client.run, over) for client in clients]
            try:
                Monkey(service, chance, findings).run(seconds)
            finally:
                over.set()
            for one in running_clients:
                one.result()
        findings.wrong += sessions_that_are_lost(service, clients)
        findings.wrong += [f"{name} was hurt" for name, pids in unrelated.items() if living(pids) != pids]
    return findings


def main() -> int:
    """Run, print what was found, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--clients", type=int, default=8)
    asked = parser.parse_args()
    print(f"{asked.seconds:g} s, {asked.clients} clients, --seed {asked.seed}", flush=True)
    findings = run(asked.seconds, asked.seed, asked.clients)
    for what, times in sorted(findings.done.items()):
        print(f"{times:7d}  {what}")
    for wrong in findings.wrong:
        print(f"WRONG  {wrong}")
    print(f"{len(findings.wrong)} things were wrong")
    return min(1, len(findings.wrong))


if __name__ == "__main__":
    sys.exit(main())
