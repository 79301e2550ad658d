"""Distribution of tests over several pytest-xdist workers.

The tests of one module run on one worker, in their order, and so do modules of one `xdist_group`. Tests that
need the machine to themselves run last, on the last worker, after all others have ended.

Workers report their tests by name only; `tagged` and `untagged` put the group into the name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import pytest

ALONE: Final = "alone"
"""The group of the tests that must not run in parallel with any other."""
AHEAD: Final = 2
"""A worker starts a test only when it knows the next one, which decides what to close in between."""


class Worker(Protocol):
    """A worker process, as pytest-xdist represents it.

    Attributes:
        config: The controller's configuration.
        workerinput: Values that the worker receives before it starts.
    """

    config: pytest.Config
    workerinput: dict[str, Any]

    @property
    def shutting_down(self) -> bool:
        """Whether the worker was told to end."""

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        """Append tests to the worker's queue, by their index in the collection."""

    def shutdown(self) -> None:
        """Let the worker finish its queue, close everything and end."""


@dataclass(slots=True)
class Work:
    """The tests of one worker: those already sent, and those of its group that are still to be sent."""

    sent: list[int] = field(default_factory=list)
    ahead: deque[int] = field(default_factory=deque)


def tagged(nodeid: str, group: str | None) -> str:
    """Return a test's name with its group; by default the group is its module."""
    return f"{group or nodeid.partition('::')[0]}\n{nodeid}"


def untagged(name: str) -> tuple[str, str]:
    """Return a test's name and its group.

    Raises:
        RuntimeError: The name has no group.
    """
    group, line_feed, nodeid = name.partition("\n")
    if not line_feed:
        raise RuntimeError(f"a worker did not report the group of {name}: see tests/conftest.py")
    return nodeid, group


class GroupScheduling:
    """Distributes tests to workers by group; a `Scheduling` of pytest-xdist.

    Args:
        workers: The number of workers at the start. Tests are sent when all workers have collected.
    """

    def __init__(self, workers: int) -> None:
        self._expected = workers
        self._work: dict[Worker, Work] = {}
        self._collections: dict[Worker, tuple[str, ...]] = {}
        self._tests: tuple[str, ...] = ()
        self._groups: deque[deque[int]] = deque()
        self._alone: deque[int] = deque()
        self._begun = False

    @property
    def nodes(self) -> list[Worker]:
        """The workers that run."""
        return list(self._work)

    @property
    def collection_is_completed(self) -> bool:
        """Whether every worker has reported its tests."""
        return self._begun or len(self._collections) >= self._expected

    @property
    def has_pending(self) -> bool:
        """Whether any test has not ended."""
        return bool(self._groups or self._alone) or any(
            work.sent or work.ahead for work in self._work.values()
        )

    @property
    def tests_finished(self) -> bool:
        """Whether the workers have everything they need to finish, so that they can be told to end."""
        handed_out = not self._groups and not self._alone
        enough = all(len(work.sent) < AHEAD and not work.ahead for work in self._work.values())
        return self._begun and handed_out and enough

    def add_node(self, node: Worker) -> None:
        """Add a worker, at the start or as the replacement of one that crashed."""
        self._work[node] = Work()

    def add_node_collection(self, node: Worker, collection: Sequence[str]) -> None:
        """Record which tests a worker collected."""
        self._collections[node] = tuple(collection)

    def schedule(self) -> None:
        """Send tests to all workers that have collected.

        Raises:
            RuntimeError: The workers collected different tests.
        """
        if not self._begun:
            self._begun = True
            self._tests = next(iter(self._collections.values()))
            self._divide()
        if set(self._collections.values()) != {self._tests}:
            raise RuntimeError(
                "the workers collected different tests: is a parameter's id random, or a set's order?"
            )
        for node in self.nodes:
            self._feed(node)

    def mark_test_complete(self, node: Worker, item_index: int, duration: float = 0) -> None:
        """Record that a test has ended, and send its worker the next one."""
        self._work[node].sent.remove(item_index)
        self._feed(node)

    def mark_test_pending(self, item: str) -> None:
        """Raise: no test runs twice."""
        raise NotImplementedError

    def remove_pending_tests_from_node(self, node: Worker, indices: Sequence[int]) -> None:
        """Raise: tests are never withdrawn from a worker."""
        raise NotImplementedError

    def remove_node(self, node: Worker) -> str | None:
        """Remove a worker that ended; if it crashed, return its current test and reschedule the rest."""
        work = self._work.pop(node)
        self._collections.pop(node, None)
        left = deque([*work.sent[1:], *work.ahead])
        if left and self._group(left[0]) == ALONE:
            self._alone = left
        elif left:
            self._groups.appendleft(left)
        for other in self.nodes:
            self._feed(other)
        return untagged(self._tests[work.sent[0]])[0] if work.sent else None

    def _divide(self) -> None:
        groups: dict[str, deque[int]] = {}
        for index in range(len(self._tests)):
            groups.setdefault(self._group(index), deque()).append(index)
        self._alone = groups.pop(ALONE, deque())
        self._groups = deque(groups.values())

    def _group(self, index: int) -> str:
        return untagged(self._tests[index])[1]

    def _feed(self, node: Worker) -> None:
        if node.shutting_down or node not in self._collections:
            return
        work = self._work[node]
        while len(work.sent) < AHEAD and (work.ahead or self._take(node, work)):
            index = work.ahead.popleft()
            work.sent.append(index)
            node.send_runtest_some([index])
        if len(work.sent) < AHEAD and not self._has_to_wait(node):
            node.shutdown()

    def _take(self, node: Worker, work: Work) -> bool:
        if self._groups:
            work.ahead = self._groups.popleft()
        elif self._alone and self.nodes == [node]:
            work.ahead, self._alone = self._alone, deque()
        return bool(work.ahead)

    def _has_to_wait(self, node: Worker) -> bool:
        others = [other for other in self.nodes if other is not node]
        return bool(self._alone) and all(other.shutting_down for other in others)
