"""Which test runs when, where several workers of pytest-xdist share them.

The tests of one module run on one worker, in their order, and so do modules of one `xdist_group`. Tests that
must have the machine to themselves run at the very end, on the last worker, when all others have ended.

Workers tell their tests by name only; `tagged` and `untagged` carry the group with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import pytest

ALONE: Final = "alone"
"""The group of the tests beside which no other test may run."""
AHEAD: Final = 2
"""A worker begins a test when it knows the one after it, which tells it what to close in between."""


class Worker(Protocol):
    """What pytest-xdist hands out for each of its worker processes.

    Attributes:
        config: That of the controller.
        workerinput: What the worker is told before it starts.
    """

    config: pytest.Config
    workerinput: dict[str, Any]

    @property
    def shutting_down(self) -> bool:
        """Whether it was told to end."""

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        """Put tests into its queue, by their place in the collection."""

    def shutdown(self) -> None:
        """Let it run what is in its queue, close everything and end."""


@dataclass(slots=True)
class Work:
    """What one worker has to do: the tests in its queue, and those of its group that are not there yet."""

    sent: list[int] = field(default_factory=list)
    ahead: deque[int] = field(default_factory=deque)


def tagged(nodeid: str, group: str | None) -> str:
    """Give a test's name with its group; without one it belongs to its module."""
    return f"{group or nodeid.partition('::')[0]}\n{nodeid}"


def untagged(name: str) -> tuple[str, str]:
    """Give a test's name and its group.

    Raises:
        RuntimeError: The worker has told no group.
    """
    group, line_feed, nodeid = name.partition("\n")
    if not line_feed:
        raise RuntimeError(f"a worker has not told the group of {name}: see tests/conftest.py")
    return nodeid, group


class GroupScheduling:
    """Hands the tests out to the workers; a `Scheduling` of pytest-xdist.

    Args:
        workers: How many workers there are at the start; tests are handed out when all have collected.
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
        """Whether every worker has said which tests there are."""
        return self._begun or len(self._collections) >= self._expected

    @property
    def has_pending(self) -> bool:
        """Whether there is a test that has not ended."""
        return bool(self._groups or self._alone) or any(
            work.sent or work.ahead for work in self._work.values()
        )

    @property
    def tests_finished(self) -> bool:
        """Whether the workers have all they need to finish, so that they can be told to end."""
        handed_out = not self._groups and not self._alone
        enough = all(len(work.sent) < AHEAD and not work.ahead for work in self._work.values())
        return self._begun and handed_out and enough

    def add_node(self, node: Worker) -> None:
        """Take in a worker, at the start or in the place of one that crashed."""
        self._work[node] = Work()

    def add_node_collection(self, node: Worker, collection: Sequence[str]) -> None:
        """Note which tests a worker has found."""
        self._collections[node] = tuple(collection)

    def schedule(self) -> None:
        """Hand out tests to all workers that have collected.

        Raises:
            RuntimeError: The workers have found different tests.
        """
        if not self._begun:
            self._begun = True
            self._tests = next(iter(self._collections.values()))
            self._divide()
        if set(self._collections.values()) != {self._tests}:
            raise RuntimeError(
                "the workers have found different tests: is a parameter's id random, or a set's order?"
            )
        for node in self.nodes:
            self._feed(node)

    def mark_test_complete(self, node: Worker, item_index: int, duration: float = 0) -> None:
        """Note that a test has ended, and give its worker the next one."""
        self._work[node].sent.remove(item_index)
        self._feed(node)

    def mark_test_pending(self, item: str) -> None:
        """Refuse to run a test twice."""
        raise NotImplementedError

    def remove_pending_tests_from_node(self, node: Worker, indices: Sequence[int]) -> None:
        """Refuse to take tests away; none was asked for."""
        raise NotImplementedError

    def remove_node(self, node: Worker) -> str | None:
        """Forget a worker that has ended; of one that crashed, give the test it ran and hand out the rest."""
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
