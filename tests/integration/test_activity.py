"""Whether a process has worked, by a number that the system counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drover.processes import activity
from drover.processes.activity import activity_of
from drover.processes.table import ProcessIdentity, identify
from tests.machine import wait_until

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


def work(process: subprocess.Popen[str]) -> None:
    """Have the process read and write a line."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("x\n")
    process.stdin.flush()
    assert process.stdout.readline() == "x\n"


@pytest.mark.parametrize("counted_by", ["the scheduler", "psutil"])
def test_the_number_changes_when_the_process_works_and_not_while_it_waits(
    monkeypatch: pytest.MonkeyPatch, counted_by: str
) -> None:
    if counted_by == "psutil":
        monkeypatch.setattr(activity, "_times_scheduled", lambda _: None)
    elif sys.platform != "linux":
        pytest.skip("only Linux has schedstat")
    with subprocess.Popen(
        [sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        work(process)
        identity = identify(process.pid)
        assert identity is not None
        if activity_of(identity) is None:
            process.kill()
            pytest.skip("this system counts nothing, as Wine does")
        before = wait_until(lambda: _settled(identity), "the process waits")
        work(process)
        wait_until(lambda: activity_of(identity) != before, "the work is counted")
        process.kill()


def test_a_process_that_has_ended_has_no_number(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"], cwd=tmp_path) as process:
        process.wait()
    assert activity_of(ProcessIdentity(process.pid, 1.0)) is None


def _settled(identity: ProcessIdentity) -> int | None:
    """Return the number if it is the same twenty times."""
    seen = {activity_of(identity) for _ in range(20)}
    return seen.pop() if len(seen) == 1 else None
