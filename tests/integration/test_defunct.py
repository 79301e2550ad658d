"""Zombies that are re-parented to the first process of a container are reaped by pid; nothing else is."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from drover.processes import children as service_children
from drover.processes.defunct import reap_orphans
from tests.integration.child_processes import Children, children, state
from tests.machine import living, wait_until

PR_SET_CHILD_SUBREAPER: Final = 36
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux re-parents processes to the test")


@pytest.fixture(name="kids")
def _kids(folder: Path) -> Iterator[Children]:
    with children(folder) as made:
        yield made


def zombie() -> int:
    """Start a program that its parent does not wait for, and wait until it is a zombie."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    wait_until(lambda: state(pid) == "Z", "a zombie")
    return pid


@pytest.fixture
def adopting() -> Iterator[None]:
    """Adopt orphans below this process, as the first process of a container does."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.usefixtures("adopting")
def test_an_orphan_of_any_name_is_reaped_and_a_child_of_this_program_is_not() -> None:
    # The first program of a new session starts another one and ends.
    starter = subprocess.run(
        ["setsid", "sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE, check=True
    )
    orphan, own = int(starter.stdout), zombie()
    try:
        wait_until(lambda: state(orphan) == "Z", "a zombie")
        assert reap_orphans() == (orphan,)
        assert (state(orphan), state(own)) == (None, "Z")
    finally:
        os.waitpid(own, 0)


@pytest.mark.parametrize("leads_a_session", [False, True])
def test_if_nothing_else_runs_every_child_is_reaped_that_is_not_waited_for(
    kids: Children, *, leads_a_session: bool
) -> None:
    alive = kids.start(name="chromium")
    awaited = service_children.start(["/bin/false"], start_new_session=leads_a_session)
    wait_until(lambda: state(awaited.pid) == "Z", "a zombie")
    forgotten = zombie()
    assert set(reap_orphans(is_whole_program=True)) == {forgotten}
    assert living([alive.pid]) == {alive.pid}
    assert awaited.wait() == 1


def test_no_exit_status_is_lost_while_orphans_are_reaped() -> None:
    stop = threading.Event()

    def reap_all_the_time() -> None:
        while not stop.is_set():
            reap_orphans(is_whole_program=True)

    reaper = threading.Thread(target=reap_all_the_time)
    reaper.start()
    try:
        done = [service_children.run(["sh", "-c", f"echo {n}; exit {n}"], 30) for n in range(1, 60)]
    finally:
        stop.set()
        reaper.join()
    assert [(one.returncode, int(one.stdout)) for one in done] == [(n, n) for n in range(1, 60)]


def test_a_child_that_takes_too_long_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        service_children.run(["sleep", "1000"], 0.1)
