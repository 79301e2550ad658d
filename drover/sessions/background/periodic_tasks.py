"""One thread for what has to be done by itself, each task at its own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drover.core.events import Emit, UpkeepFailed


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do every `interval_s` seconds; it must be quick, and hand slow work to others."""

    name: str
    interval_s: float
    run: Callable[[], None]


class PeriodicTasks:
    """Runs tasks until it is stopped; a task that fails is logged and runs again when it is next due."""

    def __init__(self, tasks: Sequence[Task], emit: Emit) -> None:
        self._tasks = tuple(tasks)
        self._emit = emit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="upkeep", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait until its current task is done; before the start, nothing will run."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _loop(self) -> None:
        due = {task.name: time.monotonic() + task.interval_s for task in self._tasks}
        while not self._stop.wait(max(0.0, min(due.values()) - time.monotonic())):
            now = time.monotonic()
            for task in self._tasks:
                if due[task.name] <= now:
                    due[task.name] = now + task.interval_s
                    self._run(task)

    def _run(self, task: Task) -> None:
        try:
            task.run()
        except Exception as error:  # noqa: BLE001 - one failing task must not end the others
            self._emit(UpkeepFailed(task.name, str(error) or type(error).__name__))
