"""One thread that runs periodic tasks, each at its own interval."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drover.core.events import Emit, UpkeepFailed, UpkeepFailedAgain
from drover.core.jobs import Repetitions
from drover.core.threads import start_thread

STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Task:
    """A function to run every `interval_s` seconds; it must be fast, and delegate slow work."""

    name: str
    interval_s: float
    run: Callable[[], object]


def next_due(now: float, interval_s: float) -> float:
    """Return when a task is due next: at a multiple of its interval.

    So tasks are due together, and the thread wakes up as often as the most frequent one, not as all of them.
    """
    due = (now // interval_s + 1) * interval_s
    return due if due > now else due + interval_s


class PeriodicTasks:
    """A thread that runs tasks until it is stopped; a failed task runs again when it is due."""

    def __init__(self, tasks: Sequence[Task], emit: Emit) -> None:
        self._tasks = tuple(tasks)
        self._emit = emit
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._repetitions = Repetitions()

    def start(self) -> None:
        """Start the thread.

        Raises:
            Overloaded: No thread can be started.
        """
        self._thread = start_thread(self._loop, "periodic-tasks")

    def stop(self) -> None:
        """Stop the thread and wait until its current task is done; if not started yet, nothing will run.

        Raises:
            TimeoutError: A task does not end.
        """
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            raise TimeoutError(f"a periodic task did not end within {STOP_S:.0f} s")

    def _loop(self) -> None:
        now = time.monotonic()
        due = {task.name: next_due(now, task.interval_s) for task in self._tasks}
        while not self._stop.wait(max(0.0, min(due.values()) - time.monotonic())):
            now = time.monotonic()
            for task in self._tasks:
                if due[task.name] <= now:
                    due[task.name] = next_due(now, task.interval_s)
                    self._run(task)

    def _run(self, task: Task) -> None:
        try:
            task.run()
        except Exception as error:  # noqa: BLE001 - one failed task must not stop the others
            reason = str(error) or type(error).__name__
            unlogged = self._repetitions.note((task.name, type(error)))
            if unlogged is None:
                self._emit(UpkeepFailedAgain(task.name, reason))
            else:
                self._emit(UpkeepFailed(task.name, reason, unlogged))
