"""Who serves a session: a command through every node ten times a second, judged by its browser."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import requests

from tests.acceptance.machines import TOKEN, Node

EVERY_S: Final = 0.1
ANSWER_S: Final = 20.0
WITHHELD_S: Final = 1.0
"""How much later than the first answer of the new browser a client may read one of the old browser.

The client is a busy program as well.
"""
SCRIPT: Final = "return performance.timeOrigin"
"""No two browsers begin their page in the same microsecond."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a command.

    Attributes:
        node: The node that was asked.
        sent: When, by the monotonic clock.
        received: When it had come.
        browser: Identifies the browser that answered; None after an error.
        error: The status and code of an error, or why nothing was answered.
    """

    node: str
    sent: float
    received: float
    browser: float | None
    error: str = ""


def ask(client: requests.Session, base: str, session_id: str, name: str, timeout: float = ANSWER_S) -> Answer:
    """Send one command to a session."""
    sent = time.monotonic()
    try:
        response = client.post(
            f"{base}/wd/hub/session/{session_id}/execute/sync",
            json={"script": SCRIPT, "args": []},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=timeout,
        )
        value = response.json()["value"]
    except (requests.RequestException, ValueError) as error:
        return Answer(name, sent, time.monotonic(), None, type(error).__name__)
    received = time.monotonic()
    if response.status_code == requests.codes.ok:
        return Answer(name, sent, received, float(value))
    code = (value.get("data") or {}).get("code", value["error"])
    return Answer(name, sent, received, None, f"{response.status_code} {code}")


class Observer:
    """Asks for one session at every node, on the node's own machine: no cut of the network hides it."""

    def __init__(self, nodes: Sequence[Node], session_id: str) -> None:
        self._session_id = session_id
        self._lock = threading.Lock()
        self._answers: list[Answer] = []
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(node, turn), name=f"observer-{node.name}")
            for node in nodes
            for turn in range(2)
        ]

    @property
    def answers(self) -> list[Answer]:
        """All answers so far, in the order of their coming."""
        with self._lock:
            return sorted(self._answers, key=lambda one: one.received)

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, node: Node, turn: int) -> None:
        node.machine.enter()
        base = f"http://127.0.0.1:{node.port}"
        due = time.monotonic() + turn * EVERY_S
        with requests.Session() as client:
            client.trust_env = False
            while not self._end.wait(max(due - time.monotonic(), 0)):
                answer = ask(client, base, self._session_id, node.name)
                with self._lock:
                    self._answers.append(answer)
                due = max(due + 2 * EVERY_S, time.monotonic())


@contextmanager
def observed(nodes: Sequence[Node], session_id: str) -> Iterator[Observer]:
    """Observe a session during the `with` block."""
    observer = Observer(nodes, session_id)
    observer.start()
    try:
        yield observer
    finally:
        observer.stop()


def browsers(answers: Sequence[Answer]) -> list[float]:
    """Return the browsers that have answered, in the order of their first answers."""
    return list(dict.fromkeys(one.browser for one in answers if one.browser is not None))


def served_twice(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of a browser to commands that were sent after another one had taken its place.

    Also those that came long after, whenever they were sent: answers of the old browser are withheld.
    """
    first: dict[float, float] = {}
    for answer in answers:
        if answer.browser is not None:
            first.setdefault(answer.browser, answer.received)
    found = []
    for answer in answers:
        if answer.browser is None:
            continue
        replaced = min((at for at in first.values() if at > first[answer.browser]), default=float("inf"))
        if answer.sent > replaced or answer.received > replaced + WITHHELD_S:
            found.append(answer)
    return found


def gap_s(answers: Sequence[Answer]) -> float:
    """Return the longest time between two answers of a browser."""
    times = [one.received for one in answers if one.browser is not None]
    return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


def errors(answers: Sequence[Answer]) -> dict[str, int]:
    """Return how often each error was answered."""
    counts: dict[str, int] = {}
    for answer in answers:
        if answer.error:
            counts[answer.error] = counts.get(answer.error, 0) + 1
    return counts
