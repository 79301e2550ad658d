"""Background jobs: who joins whom, what is reported, and the stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from drover.core import events
from drover.core.errors import BrowserUnavailable, Overloaded, ShuttingDown
from drover.core.jobs import Job, JobKind, Jobs
from drover.core.threads import ThreadPool
from tests.machine import ThreadLimit, wait_until
from tests.unit.examples import EventRecorder

TIMEOUT_S = 10.0
SAVE = Job(JobKind.SAVE, "a", "first birth")
WATCH = Job(JobKind.WATCH, "a", "first birth")


@pytest.fixture
def recorder() -> EventRecorder:
    return EventRecorder()


@pytest.fixture
def jobs(recorder: EventRecorder) -> Iterator[Jobs]:
    jobs = Jobs({JobKind.SAVE: ThreadPool("save", 2), JobKind.WATCH: ThreadPool("watch", 1)}, recorder)
    yield jobs
    assert jobs.close(TIMEOUT_S) == ()


class Stalled:
    """A job that ends when it is let go, and returns how often it has begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = threading.Event()

    def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        assert self.go_on.wait(TIMEOUT_S)
        return number

    def await_begin(self, times: int = 1) -> None:
        wait_until(lambda: self.begun >= times, "the job has begun")


@pytest.fixture
def stalled() -> Iterator[Stalled]:
    stalled = Stalled()
    yield stalled
    stalled.go_on.set()


def test_a_second_caller_joins_the_job_in_progress(jobs: Jobs, stalled: Stalled) -> None:
    first = jobs.begin(SAVE, stalled)
    assert jobs.begin(SAVE, stalled) is first
    stalled.await_begin()
    assert jobs.begin(SAVE, stalled) is first
    stalled.go_on.set()
    assert first.result(TIMEOUT_S) == 1
    assert jobs.begin(SAVE, stalled).result(TIMEOUT_S) == 2


def test_jobs_of_other_sessions_births_and_kinds_are_other_jobs(jobs: Jobs, stalled: Stalled) -> None:
    others = (Job(JobKind.SAVE, "b", "first birth"), Job(JobKind.SAVE, "a", "second birth"), WATCH)
    running = jobs.begin(SAVE, stalled)
    stalled.await_begin()
    for other in others:
        assert jobs.begin(other, lambda: "done").result(TIMEOUT_S) == "done"
    assert running.running()


def test_a_job_that_must_begin_anew_waits_for_the_one_in_progress(jobs: Jobs, stalled: Stalled) -> None:
    first = jobs.begin(SAVE, stalled)
    stalled.await_begin()
    last = jobs.begin(SAVE, stalled, anew=True)
    assert jobs.begin(SAVE, stalled, anew=True) is last, "it has not begun yet, so it serves every caller"
    assert jobs.begin(SAVE, stalled) is first
    assert not last.running()
    stalled.go_on.set()
    assert (first.result(TIMEOUT_S), last.result(TIMEOUT_S)) == (1, 2)


def test_a_job_that_must_begin_anew_joins_one_that_has_not_begun(jobs: Jobs, stalled: Stalled) -> None:
    for name in ("b", "c"):
        jobs.begin(Job(JobKind.SAVE, name), stalled)
    stalled.await_begin(2)
    waiting = jobs.begin(SAVE, stalled)
    assert jobs.begin(SAVE, stalled, anew=True) is waiting


def test_every_exception_is_logged_with_its_session_and_does_not_end_the_thread(
    jobs: Jobs, recorder: EventRecorder
) -> None:
    def fail(error: Exception) -> None:
        raise error

    for session_id, error, reason in (
        ("a", KeyError("cookies"), "KeyError: 'cookies'"),
        ("b", BrowserUnavailable("Chrome does not answer"), "Chrome does not answer"),
        (None, OSError("no table"), "OSError: no table"),
    ):
        failed = jobs.begin(Job(JobKind.WATCH, session_id), lambda error=error: fail(error))  # type: ignore[misc]
        assert failed.exception(TIMEOUT_S) is error
        assert recorder.events[-1] == events.JobFailed("watch", session_id, reason)
    assert recorder.lines == [
        "Background job failed: watch of session a: KeyError: 'cookies'",
        "Background job failed: watch of session b: Chrome does not answer",
        "Background job failed: watch: OSError: no table",
    ]
    assert jobs.begin(WATCH, lambda: 1).result(TIMEOUT_S) == 1


def test_a_job_that_fails_every_second_is_logged_once_a_minute_and_counted_each_time(
    jobs: Jobs, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("drover.core.jobs.time", SimpleNamespace(monotonic=lambda: now))
    for second in range(130):
        now = float(second)
        assert jobs.begin(WATCH, lambda: 1 // 0).exception(TIMEOUT_S)
    line = "Background job failed: watch of session a: ZeroDivisionError: integer division or modulo by zero"
    logged = [event.message for event in recorder.events if event.level > logging.DEBUG]
    assert logged == [line, *2 * [f"{line} (and 59 times since the last such line)"]]
    assert sum(isinstance(event, events.JobFailed) for event in recorder.events) == 130


def test_another_error_of_the_same_job_is_logged_at_once(jobs: Jobs, recorder: EventRecorder) -> None:
    assert jobs.begin(WATCH, lambda: 1 // 0).exception(TIMEOUT_S)
    assert jobs.begin(WATCH, lambda: int("a")).exception(TIMEOUT_S)
    assert [event.level for event in recorder.events] == [logging.ERROR, logging.ERROR]


def test_a_job_that_failed_runs_again_for_the_next_caller(jobs: Jobs) -> None:
    assert jobs.begin(WATCH, lambda: 1 // 0).exception(TIMEOUT_S)
    assert jobs.begin(WATCH, lambda: 2).result(TIMEOUT_S) == 2


def test_a_job_for_which_there_is_no_thread_has_failed(
    recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs({JobKind.SAVE: ThreadPool("save", 1)}, recorder)
    limit = ThreadLimit(monkeypatch, 0)
    failed = jobs.begin(SAVE, lambda: 1).exception(TIMEOUT_S)
    assert isinstance(failed, Overloaded)
    assert recorder.events == [events.JobFailed("state save", "a", str(failed))]
    limit.left = 1
    assert jobs.begin(SAVE, lambda: 1).result(TIMEOUT_S) == 1
    assert jobs.close(TIMEOUT_S) == ()


def test_the_close_waits_and_names_what_did_not_end(recorder: EventRecorder, stalled: Stalled) -> None:
    jobs = Jobs({JobKind.SAVE: ThreadPool("save", 1), JobKind.CLEANUP: ThreadPool("cleanup", 1)}, recorder)
    ended = threading.Event()
    hung = [jobs.begin(SAVE, stalled), jobs.begin(Job(JobKind.CLEANUP), stalled)]
    stalled.await_begin(2)
    queued = jobs.begin(Job(JobKind.SAVE, "b"), ended.set)
    assert jobs.close(0.05) == ("state save of session a", "cleanup")
    assert queued.cancelled()
    late = jobs.begin(Job(JobKind.SAVE, "c"), ended.set)
    assert isinstance(late.exception(TIMEOUT_S), ShuttingDown)
    anew = jobs.begin(SAVE, ended.set, anew=True)
    stalled.go_on.set()
    assert isinstance(anew.exception(TIMEOUT_S), ShuttingDown)
    assert jobs.close(TIMEOUT_S) == ()
    assert all(one.done() for one in hung)
    assert not ended.is_set()
