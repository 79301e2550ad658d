"""Periodic tasks: due tasks run, and failed tasks run again."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from drover.core.events import UpkeepFailed
from drover.sessions.background.periodic_tasks import PeriodicTasks, Task, next_due
from tests.unit.examples import EventRecorder

TIMEOUT_S = 10.0


class Counter:
    """A task that counts its runs and signals the last expected one."""

    def __init__(self, enough: int, error: Exception | None = None) -> None:
        self.runs = 0
        self.was_run = threading.Event()
        self._enough = enough
        self._error = error

    def __call__(self) -> None:
        self.runs += 1
        if self.runs >= self._enough:
            self.was_run.set()
        if self._error is not None:
            raise self._error


def test_a_task_runs_repeatedly_until_the_stop() -> None:
    task, never = Counter(3), Counter(1)
    periodic = PeriodicTasks([Task("often", 0.001, task), Task("never", 3600, never)], EventRecorder())
    periodic.start()
    assert task.was_run.wait(TIMEOUT_S)
    periodic.stop()
    runs = task.runs
    assert never.runs == 0
    assert task.runs == runs


@given(st.floats(0, 1e9), st.sampled_from([0.5, 1.0, 2.0, 15.0, 600.0]))
def test_a_task_is_due_within_its_interval_together_with_those_of_multiples(now: float, every: float) -> None:
    due = next_due(now, every)
    assert now < due <= now + every
    assert next_due(now, 0.5) <= due
    assert due % 0.5 == 0


def test_a_failed_task_is_reported_and_runs_again_and_does_not_stop_others() -> None:
    bad, worse, good, recorder = (
        Counter(2, ValueError("broken")),
        Counter(2, KeyError()),
        Counter(2),
        EventRecorder(),
    )
    tasks = [Task("bad", 0.001, bad), Task("worse", 0.001, worse), Task("good", 0.001, good)]
    periodic = PeriodicTasks(tasks, recorder)
    periodic.start()
    assert all(task.was_run.wait(TIMEOUT_S) for task in (bad, worse, good))
    periodic.stop()
    assert UpkeepFailed("bad", "broken") in recorder.events
    assert UpkeepFailed("worse", "KeyError") in recorder.events


def test_a_stop_before_the_start_is_allowed_and_nothing_runs_after_it() -> None:
    task = Counter(1)
    periodic = PeriodicTasks([Task("task", 0.001, task)], EventRecorder())
    periodic.stop()
    periodic.start()
    periodic.stop()
    assert task.runs == 0


def test_the_stop_waits_for_the_running_task() -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def slow() -> None:
        begun.set()
        go_on.wait(TIMEOUT_S)
        ended.append(True)

    periodic = PeriodicTasks([Task("slow", 0.001, slow)], EventRecorder())
    periodic.start()
    assert begun.wait(TIMEOUT_S)
    stopping = threading.Thread(target=periodic.stop)
    stopping.start()
    assert stopping.is_alive()
    go_on.set()
    stopping.join(TIMEOUT_S)
    assert ended
