from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from tests.machine import PORTS, SHARES, own_ports
from tests.scheduling import ALONE, GroupScheduling, tagged, untagged


class Worker:
    """A worker that runs a test once it knows the next one, or that there is none."""

    config = cast("pytest.Config", None)
    workerinput: dict[str, Any]

    def __init__(self) -> None:
        self.queue: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        assert not self.shutting_down
        self.queue.extend(indices)

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def can_run(self) -> bool:
        return len(self.queue) > 1 or (self.shutting_down and bool(self.queue))

    @property
    def is_done(self) -> bool:
        return self.shutting_down and not self.queue


class Run:
    """Workers and the tests that they have run, driven like by the controller of pytest-xdist."""

    def __init__(self, tests: Sequence[str], workers: int) -> None:
        self.tests = tests
        self.schedule = GroupScheduling(workers)
        self.ran: dict[Worker, list[str]] = {}
        self.run_both: dict[str, int] = {}
        for _ in range(workers):
            self.join()

    def join(self) -> Worker:
        worker = Worker()
        self.ran[worker] = []
        self.schedule.add_node(worker)
        self.schedule.add_node_collection(worker, self.tests)
        if self.schedule.collection_is_completed:
            self.schedule.schedule()
        return worker

    def step(self, worker: Worker) -> None:
        """Let a worker run one test, or exit."""
        if worker.can_run:
            index = worker.queue.pop(0)
            name = untagged(self.tests[index])[0]
            self.ran[worker].append(name)
            self.run_both[name] = len(self.schedule.nodes) - 1
            self.schedule.mark_test_complete(worker, index)
        elif worker.is_done and worker in self.schedule.nodes:
            assert self.schedule.remove_node(worker) is None

    def finish(self) -> None:
        """Let all workers run in turn until nothing is left to do."""
        for _ in range(10 * (len(self.tests) + len(self.ran))):
            for worker in list(self.ran):
                self.step(worker)
        assert self.schedule.nodes == []
        assert not self.schedule.has_pending

    def all_ran(self) -> list[str]:
        return sorted(name for names in self.ran.values() for name in names)


def names(module: str, number: int, group: str | None = None) -> list[str]:
    return [tagged(f"{module}::test[{index}@]", group) for index in range(number)]


def plain(tests: Sequence[str]) -> list[str]:
    return sorted(untagged(name)[0] for name in tests)


@pytest.mark.parametrize("workers", [1, 2, 3, 9])
def test_every_test_runs_once_and_those_of_a_module_or_a_group_on_one_worker_in_order(workers: int) -> None:
    tests = [*names("a", 5), *names("b", 1), *names("c", 2, "pair"), *names("d", 3), *names("e", 2, "pair")]
    run = Run(tests, workers)
    run.finish()
    assert run.all_ran() == plain(tests)
    for members in (names("a", 5), names("d", 3), [*names("c", 2), *names("e", 2)]):
        wanted = [untagged(name)[0] for name in members]
        assert wanted in [[name for name in ran if name in wanted] for ran in run.ran.values()]


@pytest.mark.parametrize("workers", [1, 2, 3, 9])
@pytest.mark.parametrize("others", [0, 1, 7])
def test_what_must_be_alone_runs_when_every_other_worker_has_left(workers: int, others: int) -> None:
    alone = [*names("a", 2, ALONE), *names("b", 1, ALONE)]
    run = Run([*alone, *names("b2", others), *names("c", others)], workers)
    run.finish()
    assert run.all_ran() == plain(run.tests)
    assert {run.run_both[name] for name in plain(alone)} == {0}
    last = next(ran for ran in run.ran.values() if plain(alone)[0] in ran)
    assert sorted(last[-3:]) == plain(alone)


def test_a_slow_worker_keeps_what_must_be_alone_waiting() -> None:
    run = Run([*names("a", 1), *names("b", 1), *names("c", 1, ALONE)], 2)
    slow, quick = run.ran
    for _ in range(20):
        run.step(quick)
    assert run.ran[quick] in ([], ["b::test[0@]"])
    run.finish()
    assert run.run_both["c::test[0@]"] == 0
    assert run.all_ran() == plain(run.tests)
    assert slow.is_done


@pytest.mark.parametrize("group", [None, ALONE])
def test_of_a_worker_that_crashed_only_the_test_that_it_ran_is_lost(group: str | None) -> None:
    run = Run(names("a", 4, group), 1)
    (crashed,) = run.ran
    run.step(crashed)
    assert run.schedule.remove_node(crashed) == "a::test[1@]"
    assert not run.schedule.tests_finished
    del run.ran[crashed]
    other = run.join()
    run.finish()
    assert run.ran == {other: ["a::test[2@]", "a::test[3@]"]}


def test_workers_that_found_different_tests_run_none() -> None:
    schedule = GroupScheduling(2)
    for number in (1, 2):
        worker = Worker()
        schedule.add_node(worker)
        schedule.add_node_collection(worker, names("a", number))
    with pytest.raises(RuntimeError, match="different tests"):
        schedule.schedule()


def test_a_test_without_a_reported_group_is_not_run() -> None:
    schedule, worker = GroupScheduling(1), Worker()
    schedule.add_node(worker)
    schedule.add_node_collection(worker, ["a::test"])
    with pytest.raises(RuntimeError, match="did not report the group of a::test"):
        schedule.schedule()


def test_workers_choose_among_different_ports() -> None:
    shares = [set(own_ports(f"gw{number}")) for number in range(SHARES)]
    assert set().union(*shares) == set(PORTS) == set(own_ports(None))
    assert sum(map(len, shares)) == len(PORTS)
    assert own_ports("gw12") == own_ports("gw0")
